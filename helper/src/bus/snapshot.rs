//! One snapshot of the kernel for everybody who waits for one.
//!
//! A status costs a look at links, routes, the table and everybody's rules, during which nothing else is done, and anybody may
//! ask for one, as often as they like. So those who wait at the same time are answered from one snapshot, which was begun
//! after the last of them had called: nobody is told what was so before their call. And between two snapshots there is a
//! rest, in which calls are answered and events reacted to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use airpods_dbus::{Error, Status};
use zruntime::lock::Mutex as Turn;

/// The longest rest, however long a snapshot took.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What a snapshot came to. It is shared by those who are answered from it.
pub(super) type Read = Result<Arc<Status>, Error>;

/// Snapshots of the kernel.
#[derive(Default)]
pub(super) struct Snapshots {
    /// Whoever has it reads, or finds that it was read meanwhile.
    turn: Turn<()>,
    past: Mutex<Past>,
}

/// The snapshots so far.
#[derive(Default)]
struct Past {
    /// How many have been begun.
    begun: u64,
    /// The last one that is over, with its number.
    last: Option<(u64, Read)>,
    /// How many callers wait for one.
    waiting: usize,
    rest_until: Option<Instant>,
}

impl Snapshots {
    /// What is read by `read` from now on. `rest` waits until an instant before that; it may be shorter.
    pub(super) async fn next<R: Future<Output = ()>>(
        &self,
        read: impl FnOnce() -> Result<Status, Error>,
        rest: impl FnOnce(Instant) -> R,
    ) -> Read {
        let waiting = Waiting::begin(self);
        let _turn = self.turn.lock().await;
        if let Some(read) = self.past().since(waiting.seen) {
            return read;
        }
        let rest_until = self.past().rest_until;
        if let Some(until) = rest_until {
            rest(until).await;
        }
        let (number, begun) = (self.past().begin(), Instant::now());
        let read = read().map(Arc::new);
        self.past().end((number, read.clone()), begun.elapsed(), Instant::now());
        read
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Nothing here panics half-way.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    fn end(&mut self, last: (u64, Read), took: Duration, now: Instant) {
        self.last = Some(last);
        // As long as the snapshot took: snapshots have half of the time, at most.
        self.rest_until = now.checked_add(took.min(LONGEST_REST));
    }

    /// The last snapshot, if it was begun when so many others had been begun already.
    fn since(&self, seen: u64) -> Option<Read> {
        self.last.as_ref().filter(|(number, _)| *number > seen).map(|(_, read)| read.clone())
    }
}

/// Somebody who waits for a snapshot.
struct Waiting<'a> {
    snapshots: &'a Snapshots,
    seen: u64,
}

impl<'a> Waiting<'a> {
    fn begin(snapshots: &'a Snapshots) -> Self {
        let mut past = snapshots.past();
        past.waiting += 1;
        Self { snapshots, seen: past.begun }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut past = self.snapshots.past();
        past.waiting -= 1;
        if past.waiting == 0 {
            // Nobody can be answered from it any more.
            past.last = None;
        }
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
    fn those_who_wait_are_answered_from_one_snapshot_that_was_begun_after_they_called() {
        let (snapshots, times) = (Snapshots::default(), Cell::new(0));
        let read = || {
            times.set(times.get() + 1);
            status(times.get())
        };
        let one = async || snapshots.next(read, |_| async {}).await.unwrap().version.clone();
        assert_eq!(block_on(one()), "1");
        // The second rests, and meanwhile the third calls.
        let resting = async || snapshots.next(read, |_| async { yield_now().await }).await.unwrap().version.clone();
        assert_eq!(block_on(zip(resting(), one())), ("2".to_owned(), "2".to_owned()));
        assert_eq!(block_on(one()), "3", "nobody is told what was so before their call");
    }

    #[test]
    fn a_caller_who_leaves_the_queue_keeps_nobody_from_their_snapshot() {
        let snapshots = Snapshots::default();
        block_on(snapshots.next(|| status(1), |_| async {})).unwrap();
        let never = snapshots.next(|| status(2), |_| std::future::pending());
        assert!(block_on(poll_once(never)).is_none());
        assert_eq!(block_on(snapshots.next(|| status(3), |_| async {})).unwrap().version, "3");
    }

    #[test]
    fn after_a_snapshot_there_is_a_rest_of_the_same_length_up_to_a_bound() {
        let (mut past, now) = (Past::default(), Instant::now());
        for (took, rest) in [(3, 3), (700, 700), (5_000, 1_000)]
            .map(|pair: (u64, u64)| (Duration::from_millis(pair.0), Duration::from_millis(pair.1)))
        {
            let number = past.begin();
            past.end((number, status(0).map(Arc::new)), took, now);
            assert_eq!(past.rest_until, Some(now + rest));
        }
    }

    #[test]
    fn what_nobody_waits_for_is_not_kept() {
        let snapshots = Snapshots::default();
        block_on(snapshots.next(|| status(1), |_| async {})).unwrap();
        assert!(snapshots.past().last.is_none());
    }
}
