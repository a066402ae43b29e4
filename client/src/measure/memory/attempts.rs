//! The attempts of starts to measure by themselves: one that shows nothing is not repeated soon.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Fingerprint, Known, MAX_AGE, Memory, Network, age, measured_link, replace, seconds};
use crate::cure::{Remedy, remedy};
use crate::measure::report::{PlaceReport, Report};

/// Time between two attempts in the same network.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// The same after [`FAILURES`] attempts that showed nothing.
const LONG_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The number of failures in a row after which the pause is long.
const FAILURES: u32 = 2;

/// The place from which a measurement can see the services' packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenFrom {
    /// The host, whose sockets send them.
    Host,
    /// Their network, if services run there already.
    Network,
    /// Their network, because services run there now.
    RunningNetwork,
}

/// The latest attempt in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempt {
    network: Fingerprint,
    /// Seconds since 1970.
    at: u64,
    /// Attempts in a row that measured nothing.
    failures: u32,
    /// It tried to measure from within the services' network.
    inside: bool,
}

impl Memory {
    /// Whether a start may measure by itself; `known` is the valid result.
    #[must_use]
    pub fn may_measure(&self, network: &Network, known: Option<&Known>, from: SeenFrom, now: SystemTime) -> bool {
        if known.is_some_and(|known| known.from_network || from == SeenFrom::Host) {
            return false;
        }
        let here = network.fingerprint(&self.salt);
        let latest = self.attempts.iter().rfind(|attempt| attempt.network.is_of(&here));
        let Some((attempt, age)) = latest.and_then(|attempt| Some((attempt, age(attempt.at, now)?))) else {
            return true;
        };
        let pause = match known {
            None if attempt.failures >= FAILURES => LONG_PAUSE,
            // This user may not enter the network.
            Some(_) if attempt.inside => MAX_AGE,
            Some(_) if from == SeenFrom::RunningNetwork => Duration::ZERO,
            _ => PAUSE,
        };
        age >= pause
    }

    /// Adds an attempt, and removes an earlier one in the same network.
    fn note(&mut self, network: &Network, measured: bool, inside: bool, now: SystemTime) {
        let here = network.fingerprint(&self.salt);
        let earlier = self.attempts.iter().rfind(|attempt| attempt.network.is_of(&here));
        let failures = if measured { 0 } else { earlier.map_or(0, |earlier| earlier.failures) + 1 };
        let attempt = Attempt { network: here, at: seconds(now), failures, inside };
        replace(&mut self.attempts, attempt, |attempt| &attempt.network);
    }
}

/// Keeps the report of a start that has tried to measure behind a link, and notes the attempt.
/// There is no report if that did not end in time. Returns the valid result.
#[must_use]
pub fn remember_attempt(folder: &Path, link: &str, report: Option<&Report>) -> Option<Known> {
    let change = |memory: &mut Memory| {
        let (network, now) = (Network::of(link), SystemTime::now());
        if let Some((report, link)) = report.and_then(|report| Some((report, measured_link(report)?))) {
            memory.take(&Network::of(&link.name), report, now);
        }
        let measured = report.is_some_and(|report| remedy(report, link) != Remedy::NotMeasured);
        let inside = report.is_some_and(|report| report.places.iter().any(PlaceReport::is_tried_inside));
        memory.note(&network, measured, inside, now);
        memory.known(&network, now)
    };
    Memory::change(folder, change)?
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::measure::Code;

    fn network() -> Network {
        Network { link: "wg0".to_owned(), shape: None, gateways: Vec::new() }
    }

    fn at(minutes: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + minutes * 60)
    }

    fn known(from_network: bool) -> Known {
        let (link, verdict, remedy, age) = ("wg0".to_owned(), Code::Fine, Remedy::Nothing, Duration::ZERO);
        Known { link, verdict, remedy, from_network, age }
    }

    #[test]
    fn after_an_attempt_that_showed_nothing_starts_wait_longer_and_longer() {
        let mut memory = Memory::default();
        let may = |memory: &Memory, minutes| memory.may_measure(&network(), None, SeenFrom::Host, at(minutes));
        assert!(may(&memory, 0), "nothing was tried");
        memory.note(&network(), false, false, at(0));
        assert!(!may(&memory, 9) && may(&memory, 10));
        memory.note(&network(), false, false, at(10));
        assert!(!may(&memory, 69) && may(&memory, 70));
        memory.note(&network(), true, false, at(70));
        assert!(!may(&memory, 79) && may(&memory, 80), "a result ends the series");
        let elsewhere = Network { link: "wg1".to_owned(), ..network() };
        assert!(memory.may_measure(&elsewhere, None, SeenFrom::Host, at(70)));
    }

    #[test]
    fn a_network_that_cannot_be_entered_is_tried_once_a_day() {
        use SeenFrom::{Host, Network, RunningNetwork};
        let mut memory = Memory::default();
        let may = |memory: &Memory, inside, from, minutes| {
            memory.may_measure(&network(), Some(&known(inside)), from, at(minutes))
        };
        assert!(may(&memory, false, Network, 0) && !may(&memory, false, Host, 0));
        assert!(!may(&memory, true, RunningNetwork, 0), "it was measured from there");
        memory.note(&network(), true, false, at(0));
        assert!(may(&memory, false, RunningNetwork, 0), "nothing ran there before");
        assert!(!may(&memory, false, Network, 9) && may(&memory, false, Network, 10));
        memory.note(&network(), true, true, at(10));
        for from in [Network, RunningNetwork] {
            assert!(!may(&memory, false, from, 100) && may(&memory, false, from, 1500));
        }
    }
}
