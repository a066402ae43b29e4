//! The cure for a link: derived from a measurement, and proven by transfers.
//!
//! [`remedy`] derives it from a [`Report`]. [`prove`] compares plain transfers before and after the
//! change, and the counters of its rules. [`clamp`] finds out what is clamped, and how to restore
//! it. All of it is pure; `airpods net clamp on` and `airpods start` carry out the results.

pub mod clamp;

pub use clamp::{
    ClampCoverage, clamp_command, clamp_coverage, fixed_clamp_command, is_clamped_to, is_fixed, is_named, is_of_all,
    restoring_change,
};

use airpods_dbus::{Counters, PathMtu};
use serde::{Deserialize, Serialize};

use crate::measure::report::{Confidence, Family, PathReport, PlaceReport, Report};
use crate::measure::verdict::{Code, Severity};

/// The smallest path MTU in bytes that is set if the value is only a lower bound. Below that, the
/// search was cut short and the path takes more.
const MIN_PLAUSIBLE_MTU: u16 = 1000;

/// The cure for a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Remedy {
    /// Nothing hangs, so no cure is needed.
    Nothing,
    /// A clamp to the route's MTU: containers send packets that are larger than the link takes.
    Route,
    /// A clamp to this many bytes: a packet of this size passed, and larger ones do not.
    Fixed {
        /// The path MTU in bytes.
        mtu: PathMtu,
        /// Whether the path may take more: the search ended before the largest size was certain.
        at_least: bool,
    },
    /// There is a fault that no clamp on this link cures.
    #[serde(rename = "elsewhere")]
    OtherFault,
    /// Nothing could be measured.
    NotMeasured,
}

/// The cure for the link of this name.
#[must_use]
pub fn remedy(report: &Report, link: &str) -> Remedy {
    let paths: Vec<&PathReport> =
        report.places.iter().filter(|place| leaves_by(place, link)).flat_map(latest).collect();
    if let Some(fixed) = fixed(&paths) {
        return fixed;
    }
    let has = |codes: &[Code]| paths.iter().any(|path| codes.contains(&path.verdict));
    if has(&[Code::MtuBlackHole, Code::ClampOneWay]) {
        return Remedy::Route;
    }
    let any = |severity: Severity| paths.iter().any(|path| path.verdict.severity() == severity);
    // Without places nothing was measured, for example because no name resolved.
    let nowhere = report.places.is_empty() && report.verdict.severity() == Severity::Broken;
    if any(Severity::Broken) || nowhere {
        Remedy::OtherFault
    } else if any(Severity::Fine) {
        Remedy::Nothing
    } else {
        Remedy::NotMeasured
    }
}

/// A clamp to the smallest size at which one of the paths ends, if any does.
fn fixed(paths: &[&PathReport]) -> Option<Remedy> {
    let narrow = |path: &&&PathReport| {
        matches!(
            path.verdict,
            Code::PathNarrow | Code::ForwardNarrow | Code::V6BelowMinimum | Code::ClampTooHigh | Code::MixedPaths
        )
    };
    let (size, path) =
        paths.iter().filter(narrow).filter_map(|path| Some((path.narrow_to?, path))).min_by_key(|(size, _)| *size)?;
    let ends = [&path.up, &path.down].into_iter().filter(|direction| direction.failed.is_some());
    let at_least = ends.into_iter().any(|direction| direction.confidence != Confidence::Sure);
    let mtu = PathMtu::new(size.into()).ok().filter(|_| size >= MIN_PLAUSIBLE_MTU || !at_least);
    Some(mtu.map_or(Remedy::NotMeasured, |mtu| Remedy::Fixed { mtu, at_least }))
}

fn leaves_by(place: &PlaceReport, link: &str) -> bool {
    place.link.as_ref().is_some_and(|leaving| leaving.name == link)
}

/// The last path of each family: if one server was unusable, the next one was measured in its
/// place.
fn latest(place: &PlaceReport) -> impl Iterator<Item = &PathReport> {
    place.paths.iter().enumerate().filter_map(|(index, path)| {
        let replaced =
            place.paths.get(index + 1..).is_some_and(|later| later.iter().any(|other| other.family == path.family));
        (!replaced).then_some(path)
    })
}

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
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::measure::report::{Direction, Link};

    /// A path over IPv4 with this verdict, which ends at this size.
    pub(crate) fn path(verdict: Code, narrow_to: Option<u16>, confidence: Confidence) -> PathReport {
        let end = Direction {
            proven: narrow_to.or(Some(1420)),
            failed: narrow_to.map(|size| size + 1),
            confidence,
            ..Direction::default()
        };
        PathReport {
            narrow_to,
            up: end.clone(),
            down: end,
            ..PathReport::without(Family::Ipv4, "registry.example", 443, verdict)
        }
    }

    pub(crate) fn place(name: &str, link: &str, paths: Vec<PathReport>) -> PlaceReport {
        let link = Link { name: link.to_owned(), kind: "wireguard".to_owned(), vpn: true, mtu: 1420 };
        PlaceReport { place: name.to_owned(), link: Some(link), paths, ..PlaceReport::default() }
    }

    pub(crate) fn report(places: Vec<PlaceReport>) -> Report {
        Report {
            verdict: places
                .iter()
                .flat_map(|place| &place.paths)
                .map(|path| path.verdict)
                .max()
                .unwrap_or(Code::NotMeasured),
            sentence: String::new(),
            not_to_blame: None,
            cure: None,
            confidence: Confidence::Sure,
            places,
            seconds: 0.0,
            connections: 0,
        }
    }

    fn on_host(paths: Vec<PathReport>) -> Remedy {
        remedy(&report(vec![place("host", "wg0", paths)]), "wg0")
    }

    fn to(size: u32, at_least: bool) -> Remedy {
        Remedy::Fixed { mtu: PathMtu::new(size).unwrap(), at_least }
    }

    #[test]
    fn the_least_size_that_a_narrow_path_carries_is_the_value() {
        let sure = Confidence::Sure;
        assert_eq!(on_host(vec![path(Code::PathNarrow, Some(1300), sure)]), to(1300, false));
        let ipv6 = PathReport { family: Family::Ipv6, ..path(Code::V6BelowMinimum, Some(1200), sure) };
        assert_eq!(on_host(vec![path(Code::PathNarrow, Some(1300), sure), ipv6]), to(1200, false));
        assert_eq!(on_host(vec![path(Code::PathNarrow, Some(1300), Confidence::AtLeast)]), to(1300, true));
    }

    #[test]
    fn a_small_value_that_is_not_sure_is_none_and_a_sure_one_is() {
        assert_eq!(on_host(vec![path(Code::PathNarrow, Some(596), Confidence::AtLeast)]), Remedy::NotMeasured);
        assert_eq!(on_host(vec![path(Code::PathNarrow, Some(596), Confidence::Sure)]), to(596, false));
        assert_eq!(on_host(vec![path(Code::PathNarrow, Some(500), Confidence::Sure)]), Remedy::NotMeasured);
    }

    #[test]
    fn where_only_the_containers_packets_are_too_large_the_routes_mtu_does() {
        let host = place("host", "wg0", vec![path(Code::Fine, None, Confidence::Sure)]);
        let network = place("airpods", "wg0", vec![path(Code::MtuBlackHole, Some(1420), Confidence::Sure)]);
        assert_eq!(remedy(&report(vec![host, network]), "wg0"), Remedy::Route);
    }

    #[test]
    fn a_fault_that_no_clamp_of_this_link_cures_gets_no_clamp() {
        let sure = Confidence::Sure;
        for code in [Code::FarEndNarrow, Code::BigHello, Code::Stalls, Code::TlsBlocked, Code::UdpNarrow] {
            assert_eq!(on_host(vec![path(code, None, sure)]), Remedy::OtherFault, "{code}");
        }
        for code in [Code::Fine, Code::Clamped, Code::PmtudWorks] {
            assert_eq!(on_host(vec![path(code, None, sure)]), Remedy::Nothing, "{code}");
        }
        for code in [Code::NotMeasured, Code::ServerDown, Code::UpNotMeasured] {
            assert_eq!(on_host(vec![path(code, None, sure)]), Remedy::NotMeasured, "{code}");
        }
        let other = report(vec![place("host", "eth0", vec![path(Code::PathNarrow, Some(1300), sure)])]);
        assert_eq!(
            remedy(&other, "wg0"),
            Remedy::NotMeasured,
            "another link's measurement says nothing about this one"
        );
    }

    #[test]
    fn a_server_that_took_anothers_place_is_the_one_that_counts() {
        let paths =
            vec![path(Code::ServerDown, None, Confidence::NotMeasured), path(Code::Fine, None, Confidence::Sure)];
        assert_eq!(on_host(paths), Remedy::Nothing);
    }

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
