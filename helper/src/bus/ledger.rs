//! Which calls without effect get a line of their own in the log, when somebody makes very many.
//!
//! The journal takes a number of lines from a service in some time (10,000 in 30 s unless it is told otherwise,
//! journald.conf(5)) and drops the rest, whatever they say. So nobody may use that number up: a flood of calls that are
//! refused would hide the line of somebody else's change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines without effect a user gets in each [`PERIOD`].
const LINES: u32 = 100;
/// As long as journald's own.
const PERIOD: Duration = Duration::from_secs(30);

/// Root could fill the journal anyway.
const ROOT: Option<u32> = Some(0);

/// Counts lines. Those whose user is not known share one page.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<Option<u32>, Page>>);

/// One user's lines.
#[derive(Clone, Copy, Debug)]
struct Page {
    begun: Instant,
    written: u32,
    withheld: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Write it.
    Whole,
    /// Write it, and that so many before it were not.
    After(u64),
    /// Write it as the last one for some time, and say that.
    Last,
    /// Only count it.
    Withheld,
}

impl Ledger {
    /// Enters a line about a call of `uid` that had no effect.
    pub(super) fn enter(&self, uid: Option<u32>, now: Instant) -> Entry {
        if uid == ROOT {
            return Entry::Whole;
        }
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is over and has nothing left to tell is forgotten.
        pages.retain(|_, page| page.withheld > 0 || !page.is_over(now));
        let page = pages.entry(uid).or_insert(Page { begun: now, written: 0, withheld: 0 });
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

    const ALICE: Option<u32> = Some(1000);
    const BOB: Option<u32> = Some(1001);

    fn entries(ledger: &Ledger, uid: Option<u32>, count: u32, now: Instant) -> Vec<Entry> {
        (0..count).map(|_| ledger.enter(uid, now)).collect()
    }

    #[test]
    fn a_flood_is_told_to_a_bound_and_counted_beyond_it() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        let told = entries(&ledger, ALICE, LINES + 5, now);
        assert!(told[..99].iter().all(|entry| *entry == Entry::Whole));
        assert_eq!(told[99], Entry::Last);
        assert_eq!(told[100..], [Entry::Withheld; 5]);
        assert_eq!(ledger.enter(ALICE, now + PERIOD / 2), Entry::Withheld);
        assert_eq!(entries(&ledger, ALICE, 2, now + PERIOD), [Entry::After(6), Entry::Whole]);
    }

    #[test]
    fn nobodys_flood_takes_a_line_from_somebody_else() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        entries(&ledger, ALICE, LINES * 2, now);
        entries(&ledger, None, LINES * 2, now);
        assert_eq!(ledger.enter(BOB, now), Entry::Whole);
        assert!(entries(&ledger, ROOT, LINES * 2, now).iter().all(|entry| *entry == Entry::Whole));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        for uid in 1000..2000 {
            ledger.enter(Some(uid), now);
        }
        ledger.enter(BOB, now + PERIOD);
        assert_eq!(ledger.0.lock().map_or(0, |pages| pages.len()), 1);
    }
}
