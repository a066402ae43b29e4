//! Decides whether a clamp cured hanging transfers: plain transfers before and after it, and the
//! counters of its rules.

use airpods_dbus::Counters;
use serde::Serialize;

use crate::measure::report::{Family, PlaceReport};

/// Plain transfers from one place over one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trial {
    /// `host`, or the name of a network.
    pub place: String,
    /// The address family.
    pub family: Family,
    /// How many transfers completed.
    pub completed: u32,
    /// How many transfers were made.
    pub of: u32,
    /// Whether the server answers small packets. If not, the transfers fail for another reason than
    /// their size.
    pub answers: bool,
}

impl Trial {
    /// The transfers in a report. A place that was judged from the host made none of its own.
    #[must_use]
    pub fn all(places: &[PlaceReport]) -> Vec<Self> {
        let each = |place: &PlaceReport| {
            let trials = place.paths.iter().filter_map(|path| {
                let made = path.transfers.as_ref()?;
                Some(Self {
                    place: place.place.clone(),
                    family: path.family,
                    completed: made.completed,
                    of: made.of,
                    answers: made.completed > 0 || made.answers,
                })
            });
            trials.collect::<Vec<_>>()
        };
        places.iter().flat_map(each).collect()
    }

    fn is_whole(&self) -> bool {
        self.completed == self.of
    }
}

/// The proof that the transfers give about a clamp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Proof {
    /// Hanging transfers now complete, and the rules counted their packets.
    Proven {
        /// Transfers that completed before.
        before: u32,
        /// The number of transfers made.
        of: u32,
        /// Handshake packets that the rules have counted.
        packets: u64,
    },
    /// All transfers completed before and after: nothing hung in the places where they were made.
    WorkedBefore {
        /// The number of transfers that complete.
        of: u32,
    },
    /// Transfers do not complete, or something else made them complete.
    NotProven {
        /// The reason.
        why: String,
    },
    /// There was nothing to prove the clamp with.
    NotMeasured {
        /// The reason.
        why: String,
    },
}

/// Compares transfers from the same places, before and after a change. `counted` is the number of
/// packets that the rules counted during the second ones.
#[must_use]
pub fn prove(before: &[Trial], after: &[Trial], counted: u64) -> Proof {
    let known: Vec<(&Trial, &Trial)> = after
        .iter()
        .filter(|trial| trial.answers)
        .filter_map(|trial| {
            let same = |earlier: &&Trial| earlier.place == trial.place && earlier.family == trial.family;
            Some((before.iter().find(same)?, trial))
        })
        .collect();
    let of = known.iter().map(|(_, after)| after.of).sum();
    if let Some((_, hangs)) = known.iter().find(|(_, after)| !after.is_whole()) {
        let Trial { place, family, completed, of, .. } = hangs;
        let from = if place == "host" { "the host".to_owned() } else { format!("the network `{place}`") };
        return Proof::NotProven {
            why: format!("{completed} of {of} transfers over {family} from {from} complete with it"),
        };
    }
    if before.is_empty() {
        return Proof::NotMeasured { why: "no transfer was made before the change".to_owned() };
    }
    if of == 0 {
        return Proof::NotMeasured { why: "the server does not answer, not even small packets".to_owned() };
    }
    if known.iter().all(|(before, _)| before.is_whole()) {
        return Proof::WorkedBefore { of };
    }
    // Every connection sends at least one SYN, so the rules must have counted that many packets.
    if counted < u64::from(of) {
        let why = format!(
            "transfers complete now, but its rules saw {counted} handshake packets of {of} connections: something else made the difference"
        );
        return Proof::NotProven { why };
    }
    Proof::Proven { before: known.iter().map(|(before, _)| before.completed).sum(), of, packets: counted }
}

/// The sum of all counters of the rules.
#[must_use]
pub fn total(counters: Counters) -> u64 {
    let Counters { ipv4_out, ipv4_in, ipv6_out, ipv6_in } = counters;
    [ipv4_out, ipv4_in, ipv6_out, ipv6_in].into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(place: &str, completed: u32, answers: bool) -> Trial {
        Trial { place: place.to_owned(), family: Family::Ipv4, completed, of: 3, answers }
    }

    #[test]
    fn a_transfer_that_hung_and_completes_is_proof_if_the_rules_counted_it() {
        let (hung, whole) = (trial("host", 0, true), trial("host", 3, true));
        assert_eq!(
            prove(std::slice::from_ref(&hung), std::slice::from_ref(&whole), 6),
            Proof::Proven { before: 0, of: 3, packets: 6 }
        );
        assert!(matches!(prove(&[hung], &[whole], 0), Proof::NotProven { why } if why.contains("something else")));
    }

    #[test]
    fn one_place_that_still_hangs_is_enough_for_no_proof() {
        let before = [trial("host", 0, true), trial("airpods", 0, true)];
        let after = [trial("host", 3, true), trial("airpods", 1, true)];
        let Proof::NotProven { why } = prove(&before, &after, 100) else { unreachable!("it hangs") };
        assert_eq!(why, "1 of 3 transfers over IPv4 from the network `airpods` complete with it");
    }

    #[test]
    fn where_nothing_hung_nothing_is_proven_and_nothing_is_wrong() {
        let whole = [trial("host", 3, true)];
        assert_eq!(prove(&whole, &whole, 6), Proof::WorkedBefore { of: 3 });
    }

    #[test]
    fn without_transfers_before_the_change_the_server_is_not_blamed() {
        for after in [vec![], vec![trial("host", 3, true)], vec![trial("host", 0, false)]] {
            let Proof::NotMeasured { why } = prove(&[], &after, 6) else { unreachable!("nothing to compare with") };
            assert_eq!(why, "no transfer was made before the change");
        }
    }

    #[test]
    fn a_silent_server_proves_nothing_about_a_clamp() {
        let dead = [trial("host", 0, false)];
        assert!(matches!(prove(&dead, &dead, 0), Proof::NotMeasured { .. }));
        let ipv6 = Trial { family: Family::Ipv6, ..trial("host", 0, false) };
        let (before, after) = ([trial("host", 0, true), ipv6.clone()], [trial("host", 3, true), ipv6]);
        assert_eq!(prove(&before, &after, 3), Proof::Proven { before: 0, of: 3, packets: 3 });
    }
}
