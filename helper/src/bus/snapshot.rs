//! One snapshot of the kernel for all callers that wait for one.
//!
//! A status reads the links and the table, and blocks everything else meanwhile. Any user can ask
//! for one, as often as they like. So all callers that wait at the same time get the same snapshot.
//! It began after the last of them had called, so no caller gets older data than their call.
//! Between two snapshots there is a cooldown, in which the helper answers calls and reacts to
//! events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use airpods_dbus::{Error, Status};
use zruntime::lock::Mutex;

/// Upper bound on the cooldown after a snapshot.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(1);

/// The result of a snapshot, shared by the callers that are answered from it.
pub(super) type Read = Result<Arc<Status>, Error>;

/// The last snapshot. The task that gets the lock takes the next one, unless another task has done
/// so meanwhile.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Option<Snapshot>>);

struct Snapshot {
    begun: Instant,
    took: Duration,
    read: Read,
}

impl Snapshots {
    /// A snapshot that began after this call. Before it takes one, it awaits `cooldown` with the
    /// end of the cooldown; `cooldown` may return earlier.
    pub(super) async fn next<R: Future<Output = ()>>(
        &self,
        read: impl FnOnce() -> Result<Status, Error>,
        cooldown: impl FnOnce(Instant) -> R,
    ) -> Read {
        let called = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(last) = &*last {
            if last.begun > called {
                return last.read.clone();
            }
            cooldown(last.cooldown_end()).await;
        }
        let begun = Instant::now();
        let read = read().map(Arc::new);
        *last = Some(Snapshot { begun, took: begun.elapsed(), read: read.clone() });
        read
    }
}

impl Snapshot {
    /// The cooldown lasts as long as the snapshot took, so snapshots take at most half of the time.
    fn cooldown_end(&self) -> Instant {
        self.begun + self.took + self.took.min(LONGEST_COOLDOWN)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use futures_lite::future::{poll_once, yield_now, zip};
    use zruntime::block_on;

    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "it stands for what a reconciler returns")]
    fn status(number: usize) -> Result<Status, Error> {
        Ok(Status { version: number.to_string(), ..Status::default() })
    }

    #[test]
    fn waiting_callers_are_answered_from_one_snapshot_begun_after_their_calls() {
        let (snapshots, times) = (Snapshots::default(), Cell::new(0));
        let read = || {
            times.set(times.get() + 1);
            status(times.get())
        };
        let one = async || snapshots.next(read, |_| async {}).await.unwrap().version.clone();
        assert_eq!(block_on(one()), "1");
        // The second caller waits for the cooldown, and meanwhile the third calls.
        let after_cooldown =
            async || snapshots.next(read, |_| async { yield_now().await }).await.unwrap().version.clone();
        assert_eq!(block_on(zip(after_cooldown(), one())), ("2".to_owned(), "2".to_owned()));
        assert_eq!(block_on(one()), "3", "nobody is told what was so before their call");
    }

    #[test]
    fn a_caller_who_leaves_the_queue_does_not_delay_other_snapshots() {
        let snapshots = Snapshots::default();
        block_on(snapshots.next(|| status(1), |_| async {})).unwrap();
        let never = snapshots.next(|| status(2), |_| std::future::pending());
        assert!(block_on(poll_once(never)).is_none());
        assert_eq!(block_on(snapshots.next(|| status(3), |_| async {})).unwrap().version, "3");
    }

    #[test]
    fn after_a_snapshot_there_is_a_rest_of_the_same_length_up_to_a_bound() {
        let begun = Instant::now();
        for (took, cooldown) in [(3, 3), (700, 700), (5_000, 1_000)]
            .map(|pair: (u64, u64)| (Duration::from_millis(pair.0), Duration::from_millis(pair.1)))
        {
            let snapshot = Snapshot { begun, took, read: status(0).map(Arc::new) };
            assert_eq!(snapshot.cooldown_end(), begun + took + cooldown);
        }
    }
}
