//! One reading of the kernel for everybody who waits for one.
//!
//! A status costs a look at links, routes, the table and everybody's rules, during which nothing else is done, and anybody may
//! ask for one, as often as they like. So those who wait at the same time are answered from one reading, which was begun
//! after the last of them had called: nobody is told what was so before their call. And between two readings there is a
//! rest, in which calls are answered and events reacted to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use airpods_dbus::{Error, Status};
use zruntime::lock::Mutex as Turn;

/// The longest rest, however long a reading took.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What a reading came to. It is shared by those who are answered from it.
pub(super) type Read = Result<Arc<Status>, Error>;

/// Readings of the kernel.
#[derive(Default)]
pub(super) struct Readings {
    /// Whoever has it reads, or finds that it was read meanwhile.
    turn: Turn<()>,
    past: Mutex<Past>,
}

/// The readings so far.
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

impl Readings {
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
        // As long as the reading took: readings have half of the time, at most.
        self.rest_until = now.checked_add(took.min(LONGEST_REST));
    }

    /// The last reading, if it was begun when so many others had been begun already.
    fn since(&self, seen: u64) -> Option<Read> {
        self.last.as_ref().filter(|(number, _)| *number > seen).map(|(_, read)| read.clone())
    }
}

/// Somebody who waits for a reading.
struct Waiting<'a> {
    readings: &'a Readings,
    seen: u64,
}

impl<'a> Waiting<'a> {
    fn begin(readings: &'a Readings) -> Self {
        let mut past = readings.past();
        past.waiting += 1;
        Self { readings, seen: past.begun }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut past = self.readings.past();
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
    fn those_who_wait_are_answered_from_one_reading_that_was_begun_after_they_called() {
        let (readings, times) = (Readings::default(), Cell::new(0));
        let read = || {
            times.set(times.get() + 1);
            status(times.get())
        };
        let one = async || readings.next(read, |_| async {}).await.unwrap().version.clone();
        assert_eq!(block_on(one()), "1");
        // The second rests, and meanwhile the third calls.
        let resting = async || readings.next(read, |_| async { yield_now().await }).await.unwrap().version.clone();
        assert_eq!(block_on(zip(resting(), one())), ("2".to_owned(), "2".to_owned()));
        assert_eq!(block_on(one()), "3", "nobody is told what was so before their call");
    }

    #[test]
    fn a_caller_who_leaves_the_queue_keeps_nobody_from_their_reading() {
        let readings = Readings::default();
        block_on(readings.next(|| status(1), |_| async {})).unwrap();
        let never = readings.next(|| status(2), |_| std::future::pending());
        assert!(block_on(poll_once(never)).is_none());
        assert_eq!(block_on(readings.next(|| status(3), |_| async {})).unwrap().version, "3");
    }

    #[test]
    fn after_a_reading_there_is_a_rest_of_the_same_length_up_to_a_bound() {
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
        let readings = Readings::default();
        block_on(readings.next(|| status(1), |_| async {})).unwrap();
        assert!(readings.past().last.is_none());
    }
}
