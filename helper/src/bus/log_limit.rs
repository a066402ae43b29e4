//! Limits each person's log lines about messages without effect.
//!
//! The journal accepts a number of lines from a service in a period, by default 10,000 in 30 s
//! (journald.conf(5)). It drops the rest, whatever they contain. Without this limit a flood of
//! refused calls could hide the line of another user's change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::person::Person;

/// The number of such lines that a person gets in each [`PERIOD`].
const LINES: u32 = 100;
/// The same as journald's default `RateLimitIntervalSec=`.
const PERIOD: Duration = Duration::from_secs(30);

/// Counts lines. Lines of unidentified callers share one count.
#[derive(Debug, Default)]
pub(super) struct LogLimit(Mutex<HashMap<Option<Person>, Page>>);

/// The count of one person's lines in the current period.
#[derive(Clone, Copy, Debug)]
struct Page {
    begun: Instant,
    written: u32,
    withheld: u64,
}

/// The decision about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Write it.
    Whole,
    /// Write it, with the number of lines withheld before it.
    After(u64),
    /// Write it, and note that further lines are withheld for a while.
    Last,
    /// Do not write it, only count it.
    Withheld,
}

impl LogLimit {
    /// Counts a line about a call without effect, and decides about it.
    pub(super) fn enter(&self, person: Option<Person>, now: Instant) -> Entry {
        // Root is not limited: it could fill the journal anyway.
        if person == Some(Person::ROOT) {
            return Entry::Whole;
        }
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Forget pages whose period is over, unless they have withheld lines to report.
        pages.retain(|_, page| page.withheld > 0 || !page.is_over(now));
        let page = pages.entry(person).or_insert(Page { begun: now, written: 0, withheld: 0 });
        let withheld = page.withheld;
        if page.is_over(now) {
            *page = Page { begun: now, written: 0, withheld: 0 };
        }
        if page.written == LINES {
            page.withheld += 1;
            return Entry::Withheld;
        }
        page.written += 1;
        match (page.written, withheld) {
            (1, 1..) => Entry::After(withheld),
            (LINES, _) => Entry::Last,
            _ => Entry::Whole,
        }
    }
}

impl Page {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= PERIOD
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
    fn a_flood_is_told_to_a_bound_and_counted_beyond_it() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        let told = entries(&limit, ALICE, LINES + 5, now);
        assert!(told[..99].iter().all(|entry| *entry == Entry::Whole));
        assert_eq!(told[99], Entry::Last);
        assert_eq!(told[100..], [Entry::Withheld; 5]);
        assert_eq!(limit.enter(ALICE, now + PERIOD / 2), Entry::Withheld);
        assert_eq!(entries(&limit, ALICE, 2, now + PERIOD), [Entry::After(6), Entry::Whole]);
    }

    #[test]
    fn nobodys_flood_takes_a_line_from_somebody_else() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        entries(&limit, ALICE, LINES * 2, now);
        entries(&limit, None, LINES * 2, now);
        assert_eq!(limit.enter(BOB, now), Entry::Whole);
        assert!(entries(&limit, ROOT, LINES * 2, now).iter().all(|entry| *entry == Entry::Whole));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        for uid in 1000..2000 {
            limit.enter(Some(Person(uid)), now);
        }
        limit.enter(BOB, now + PERIOD);
        assert_eq!(limit.0.lock().map_or(0, |pages| pages.len()), 1);
    }
}
