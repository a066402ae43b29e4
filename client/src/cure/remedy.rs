//! Derives the cure for one link from a measurement.

use airpods_dbus::PathMtu;
use serde::{Deserialize, Serialize};

use crate::measure::report::{Confidence, PathReport, PlaceReport, Report};
use crate::measure::verdict::{Code, Weight};

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
    let weigh = |weight: Weight| paths.iter().any(|path| path.verdict.weight() == weight);
    // Without places nothing was measured, for example because no name resolved.
    let nowhere = report.places.is_empty() && report.verdict.weight() == Weight::Broken;
    if weigh(Weight::Broken) || nowhere {
        Remedy::OtherFault
    } else if weigh(Weight::Fine) {
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

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::measure::report::{Direction, Family, Link};

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
}
