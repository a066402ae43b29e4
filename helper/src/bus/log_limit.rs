//! Limits each person's log lines about messages without effect.
//!
//! The journal accepts a number of lines from a service in a period, by default 10,000 in 30 s
//! (journald.conf(5)). It drops the rest, whatever they contain. Without this limit a flood of
//! refused calls could hide the line of another user's change.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zruntime::SharedRuntime;

use super::person::Person;
use super::{locked, or_unknown};
use crate::log::{Line, Log};

/// The number of such lines that a person gets in each [`PERIOD`].
const LINES: u64 = 100;
/// The same as journald's default `RateLimitIntervalSec=`. It begins with a person's first line.
const PERIOD: Duration = Duration::from_secs(30);

/// The log for such lines.
pub(super) struct LimitedLog {
    log: Log,
    runtime: SharedRuntime,
    /// The lines of each person in their period, withheld ones included. Unidentified callers share
    /// one count.
    counts: Mutex<HashMap<Option<Person>, u64>>,
}

impl fmt::Debug for LimitedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedLog").finish_non_exhaustive()
    }
}

impl LimitedLog {
    pub(super) fn new(log: Log, runtime: SharedRuntime) -> Arc<Self> {
        Arc::new(Self { log, runtime, counts: Mutex::default() })
    }

    /// Writes a line, unless the person has had too many in this period.
    pub(super) fn write(self: &Arc<Self>, person: Option<Person>, line: impl FnOnce() -> Line) {
        // Root is not limited: it could fill the journal anyway.
        if person == Some(Person::ROOT) {
            return self.log.write(line());
        }
        let count = {
            let mut counts = locked(&self.counts);
            let count = counts.entry(person).or_default();
            *count += 1;
            *count
        };
        if count == 1 {
            let limited = Arc::clone(self);
            let end = async move {
                limited.runtime.sleep(PERIOD).await;
                let count = locked(&limited.counts).remove(&person);
                limited.log_withheld(person, count.unwrap_or_default());
            };
            self.runtime.spawn("count withheld lines", end).detach();
        }
        match count.cmp(&LINES) {
            Ordering::Less => self.log.write(line()),
            Ordering::Equal => {
                self.log.write(line().with("note", "more such lines of this user are withheld for a while"));
            }
            Ordering::Greater => {}
        }
    }

    /// Logs the numbers of lines withheld so far, at the end of the process.
    pub(super) fn end(&self) {
        for (person, count) in std::mem::take(&mut *locked(&self.counts)) {
            self.log_withheld(person, count);
        }
    }

    fn log_withheld(&self, person: Option<Person>, lines: u64) {
        if lines > LINES {
            let uid = or_unknown(person.map(|person| person.0));
            self.log.write(Line::warning("log-lines-withheld").with("uid", uid).with("count", lines - LINES));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use zruntime::block_on;

    use super::*;
    use crate::doubles::LinesKept;

    const ALICE: Option<Person> = Some(Person(1000));
    const BOB: Option<Person> = Some(Person(1001));
    const ROOT: Option<Person> = Some(Person::ROOT);

    /// Writes a flood of lines of these persons. Returns the lines that were written, first those
    /// of the flood, then those of the end.
    fn written(flood: &[(Option<Person>, u64)]) -> (Vec<Line>, Vec<Line>) {
        block_on(async {
            let (log, lines) = LinesKept::log();
            let limited = LimitedLog::new(log, SharedRuntime::current().unwrap());
            for (person, count) in flood {
                for _ in 0..*count {
                    limited.write(*person, || Line::info("a-line").with("person", format!("{person:?}")));
                }
            }
            let during = lines.all();
            limited.end();
            assert!(locked(&limited.counts).is_empty());
            (during.clone(), lines.all().split_off(during.len()))
        })
    }

    #[test]
    fn a_flood_is_logged_up_to_a_limit_and_counted_beyond_it() {
        let (during, after) = written(&[(ALICE, LINES + 5), (BOB, LINES), (None, 1)]);
        assert_eq!(during.len() as u64, 2 * LINES + 1);
        let noted: Vec<_> = (0..).zip(&during).filter(|(_, line)| line.field("note").is_some()).collect();
        assert_eq!(noted.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [LINES - 1, 2 * LINES - 1]);
        let counts: Vec<_> = after.iter().map(|line| (line.field("uid"), line.field("count"))).collect();
        assert_eq!(counts, [(Some("1000"), Some("5"))]);
    }

    #[test]
    fn one_users_flood_takes_no_log_line_from_another() {
        let (during, _) = written(&[(ALICE, LINES * 2), (None, LINES * 2), (BOB, 1), (ROOT, LINES * 2)]);
        let of = |person: Option<Person>| {
            let person = format!("{person:?}");
            during.iter().filter(|line| line.field("person") == Some(&person)).count() as u64
        };
        assert_eq!([ALICE, None, BOB, ROOT].map(of), [LINES, LINES, 1, LINES * 2]);
    }
}
