//! Limits each person's log lines about messages without effect.
//!
//! The journal accepts a number of lines from a service in a period, by default 10,000 in 30 s
//! (journald.conf(5)). It drops the rest, whatever they contain. Without this limit a flood of
//! refused calls could hide the line of another user's change.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::locked;
use super::person::Person;

/// The number of such lines that a person gets in each [`PERIOD`].
const LINES: u32 = 100;
/// The same as journald's default `RateLimitIntervalSec=`.
const PERIOD: Duration = Duration::from_secs(30);

/// Counts lines. Lines of unidentified callers share one count.
#[derive(Debug, Default)]
pub(super) struct LogLimit(Mutex<HashMap<Option<Person>, Window>>);

/// The count of one person's lines in the current period.
#[derive(Clone, Copy, Debug)]
struct Window {
    begun: Instant,
    written: u32,
    withheld: u64,
}

/// The decision about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Write it.
    Write,
    /// Write it, and note that further lines are withheld until then.
    WriteLast(Instant),
    /// Do not write it, only count it.
    Withhold,
}

impl LogLimit {
    /// Counts a line about a call without effect, and decides about it.
    pub(super) fn enter(&self, person: Option<Person>, now: Instant) -> Entry {
        // Root is not limited: it could fill the journal anyway.
        if person == Some(Person::ROOT) {
            return Entry::Write;
        }
        let mut windows = locked(&self.0);
        let window = windows.entry(person).or_insert(Window { begun: now, written: 0, withheld: 0 });
        if window.written == LINES {
            window.withheld += 1;
            return Entry::Withhold;
        }
        window.written += 1;
        if window.written == LINES { Entry::WriteLast(window.begun + PERIOD) } else { Entry::Write }
    }

    /// Forgets the counts whose period is over. Returns the numbers of lines withheld in them.
    pub(super) fn take_over(&self, now: Instant) -> Vec<(Option<Person>, u64)> {
        self.take(|window| now.saturating_duration_since(window.begun) >= PERIOD)
    }

    /// Forgets all counts, and returns them.
    pub(super) fn take_all(&self) -> Vec<(Option<Person>, u64)> {
        self.take(|_| true)
    }

    fn take(&self, is_taken: impl Fn(&Window) -> bool) -> Vec<(Option<Person>, u64)> {
        let taken = locked(&self.0).extract_if(|_, window| is_taken(window)).collect::<Vec<_>>();
        taken.into_iter().map(|(person, window)| (person, window.withheld)).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Option<Person> = Some(Person(1000));
    const BOB: Option<Person> = Some(Person(1001));
    const ROOT: Option<Person> = Some(Person::ROOT);

    fn entries(limit: &LogLimit, person: Option<Person>, count: u32, now: Instant) -> Vec<Entry> {
        (0..count).map(|_| limit.enter(person, now)).collect()
    }

    #[test]
    fn a_flood_is_logged_up_to_a_limit_and_counted_beyond_it() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        let decisions = entries(&limit, ALICE, LINES + 5, now);
        assert!(decisions[..99].iter().all(|entry| *entry == Entry::Write));
        assert_eq!(decisions[99], Entry::WriteLast(now + PERIOD));
        assert_eq!(decisions[100..], [Entry::Withhold; 5]);
        let later = now + PERIOD / 2;
        entries(&limit, BOB, LINES + 1, later);
        assert_eq!(limit.enter(ALICE, later), Entry::Withhold);
        assert_eq!(limit.take_over(later), []);
        assert_eq!(limit.take_over(now + PERIOD), [(ALICE, 6)], "those whose period is over, once");
        assert_eq!(limit.enter(ALICE, now + PERIOD), Entry::Write);
        assert_eq!(limit.take_all(), [(BOB, 1)], "in the end all");
    }

    #[test]
    fn one_users_flood_takes_no_log_line_from_another() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        entries(&limit, ALICE, LINES * 2, now);
        entries(&limit, None, LINES * 2, now);
        assert_eq!(limit.enter(BOB, now), Entry::Write);
        assert!(entries(&limit, ROOT, LINES * 2, now).iter().all(|entry| *entry == Entry::Write));
    }

    #[test]
    fn expired_log_windows_are_forgotten() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        for uid in 1000..2000 {
            limit.enter(Some(Person(uid)), now);
        }
        limit.enter(None, now + PERIOD / 2);
        assert_eq!(limit.take_over(now + PERIOD), [], "none of them had lines withheld");
        assert_eq!(locked(&limit.0).len(), 1);
    }
}
