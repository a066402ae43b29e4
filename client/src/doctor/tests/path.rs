//! The paths of the packets, and whether they are clamped.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use airpods_dbus::doubles::clamp_status;
use airpods_dbus::{ClampState, ClampStatus, LinkKind, Mode, Origin, PathMtu, Status};

use super::{Case, bad, healthy};
use crate::cure::Remedy;
use crate::doctor::{Code, Facts, Helper, HelperNeed, Level, Path, Permission, judge};
use crate::egress::{Branch, Egress, EgressPath, NetworkPath, Verdict};
use crate::measure::memory::{Known, StaleClamp};
use crate::measure::verdict;
use crate::podman::RootlessBackend;

fn egress() -> Egress {
    let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    Egress { link: "wg0".to_owned(), index: 7, kind, mtu: 1380 }
}

/// A service behind pasta and a VPN, without a fault.
pub(super) fn rootless(service: &str) -> Path {
    let route = EgressPath {
        network_path: NetworkPath::Rootless(RootlessBackend::Pasta),
        egress: Some(egress()),
        network_mtu: Some(1500),
        verdict: Verdict::HostSockets,
    };
    Path { service: service.to_owned(), route }
}

/// Both services on a bridge of root's podman.
fn rootful(facts: &mut Facts, verdict: Verdict) {
    facts.rootless = None;
    for path in &mut facts.paths {
        path.route.network_path = NetworkPath::Bridge;
        path.route.verdict = verdict;
    }
}

/// Changes the kind of the link.
fn of_kind(facts: &mut Facts, info_kind: &str, tun_type: Option<u8>) {
    for egress in facts.paths.iter_mut().filter_map(|path| path.route.egress.as_mut()) {
        egress.kind = LinkKind { info_kind: info_kind.to_owned(), tun_type, hardware: 1 };
    }
}

/// A tap link, as OpenVPN's with `dev tap`.
fn behind_tap(facts: &mut Facts) {
    of_kind(facts, "tun", Some(2));
}

fn keeps(facts: &mut Facts, clamps: Vec<ClampStatus>) {
    let status = Status { clamps, ..Status::default() };
    facts.helper = Helper::Answers { status, permission: Permission::Granted };
}

/// A measurement of `wg0` five minutes ago, from the host.
fn known(remedy: Remedy, verdict: verdict::Code) -> Known {
    let age = Duration::from_secs(300);
    Known { link: "wg0".to_owned(), verdict, remedy, from_network: false, age }
}

/// A second VPN that leads to 10.0.0.0/8, and both services on a bridge.
fn split(facts: &mut Facts) {
    rootful(facts, Verdict::Fits);
    for path in &mut facts.paths {
        path.route.egress = None;
    }
    let egress = Egress { link: "tun0".to_owned(), index: 8, mtu: 1300, ..egress() };
    facts.measured.branches = vec![Branch { to: "10.0.0.0/8".parse().unwrap(), egress }];
}

/// A clamp of a link by its name, to a fixed value.
fn named(link: &str, mtu: u32) -> ClampStatus {
    let active = clamp_status(link, ClampState::Active);
    ClampStatus { origin: Origin::Named, mode: Mode::Fixed, mtu: Some(mtu), ..active }
}

fn fixed(mtu: u32) -> Remedy {
    Remedy::Fixed { mtu: PathMtu::new(mtu).unwrap(), at_least: false }
}

const SMALL_NETWORK: &str = "airpods config set runtime.network.mtu 1380 && airpods start --reset-network";

pub(super) const CASES: &[Case] = &[
    (
        |facts| rootful(facts, Verdict::ClampHelps),
        Code::MtuBlackHole,
        Level::Broken,
        "packets of `ollama`, `open-webui` have up to 1500 bytes, and `wg0` takes 1380: large transfers hang (inferred, not measured)",
        "airpods net clamp on",
    ),
    (
        |facts| {
            rootful(facts, Verdict::ClampHelps);
            keeps(facts, vec![clamp_status("wg0", ClampState::Waiting)]);
        },
        Code::MtuBlackHole,
        Level::Broken,
        "and `wg0` takes 1380: large transfers hang",
        "airpods net clamp on",
    ),
    (
        |facts| {
            rootful(facts, Verdict::ClampHelps);
            let fixed = ClampStatus { mode: Mode::Fixed, mtu: Some(1400), ..clamp_status("wg0", ClampState::Active) };
            keeps(facts, vec![fixed]);
        },
        Code::Measured(verdict::Code::ClampTooHigh),
        Level::Broken,
        "`wg0` is clamped to 1400 bytes and takes 1380: large transfers of `ollama`, `open-webui` hang",
        "airpods net clamp on",
    ),
    (
        |facts| {
            rootful(facts, Verdict::ClampHelps);
            keeps(facts, vec![named("wg0", 1400)]);
        },
        Code::Measured(verdict::Code::ClampTooHigh),
        Level::Broken,
        "`wg0` is clamped to 1400 bytes and takes 1380",
        "airpods net clamp on wg0",
    ),
    (
        |facts| {
            rootful(facts, Verdict::NarrowLink);
            of_kind(facts, "", None);
        },
        Code::MtuBlackHole,
        Level::Note,
        "`wg0` is no VPN but takes 1380 bytes, and the network of `ollama`, `open-webui` sends 1500: large transfers hang where",
        "airpods net clamp on wg0 --any-link",
    ),
    (
        |facts| {
            rootful(facts, Verdict::ClampHelps);
            facts.helper_need = HelperNeed::None;
            facts.helper = Helper::Missing;
        },
        Code::MtuBlackHole,
        Level::Note,
        "and `wg0` takes 1380: large transfers hang",
        SMALL_NETWORK,
    ),
    (
        |facts| {
            rootful(facts, Verdict::NarrowLink);
            behind_tap(facts);
        },
        Code::MtuBlackHole,
        Level::Broken,
        "packets of `ollama`, `open-webui` have up to 1500 bytes, and `wg0` takes 1380: large transfers hang (inferred, not measured)",
        "airpods net clamp on wg0 --any-link",
    ),
    (
        |facts| {
            behind_tap(facts);
            facts.measured.possible = true;
        },
        Code::Measured(verdict::Code::NotMeasured),
        Level::Note,
        "whether the path behind the tap link is narrower was not measured",
        "airpods net check",
    ),
    (
        |facts| {
            behind_tap(facts);
            facts.measured.known = vec![known(fixed(1300), verdict::Code::PathNarrow)];
        },
        Code::Measured(verdict::Code::PathNarrow),
        Level::Broken,
        "the path behind `wg0` takes 1300 bytes, less than the link (measured 5 minutes ago)",
        "airpods net clamp on wg0 --mtu auto --any-link",
    ),
    (
        |facts| facts.measured.possible = true,
        Code::Measured(verdict::Code::NotMeasured),
        Level::Note,
        "follows from MTUs, and whether the path behind the VPN is narrower was not measured",
        "airpods net check",
    ),
    (
        |facts| facts.measured.known = vec![known(fixed(1300), verdict::Code::PathNarrow)],
        Code::Measured(verdict::Code::PathNarrow),
        Level::Broken,
        "the path behind `wg0` takes 1300 bytes, less than the link (measured 5 minutes ago): large transfers of `ollama`, `open-webui` hang",
        "airpods net clamp on wg0 --mtu auto",
    ),
    (
        |facts| {
            facts.measured.known = vec![known(fixed(1300), verdict::Code::PathNarrow)];
            keeps(facts, vec![clamp_status("wg0", ClampState::Active)]);
        },
        Code::Measured(verdict::Code::PathNarrow),
        Level::Broken,
        "takes 1300 bytes",
        "airpods net clamp on wg0 --mtu auto",
    ),
    (
        |facts| facts.measured.known = vec![known(Remedy::OtherFault, verdict::Code::BigHello)],
        Code::Measured(verdict::Code::BigHello),
        Level::Broken,
        "something is wrong with the path behind `wg0`",
        "airpods net check",
    ),
    (
        |facts| {
            let age = Duration::from_secs(300);
            let (link, cure) = ("wg0".to_owned(), "the cure".to_owned());
            facts.measured.stale_clamps = vec![StaleClamp { link, mtu: 1300, age, cure }];
        },
        Code::Measured(verdict::Code::NotMeasured),
        Level::Note,
        "`wg0` is clamped to 1300 bytes, which was measured on another network (5 minutes ago)",
        "the cure",
    ),
    (
        split,
        Code::MtuBlackHole,
        Level::Note,
        "`tun0` leads to 10.0.0.0/8 and takes 1300 bytes, less than the network of `ollama`, `open-webui` sends",
        "airpods net clamp on",
    ),
    (
        |facts| {
            split(facts);
            keeps(facts, vec![named("tun0", 1400)]);
        },
        Code::Measured(verdict::Code::ClampTooHigh),
        Level::Note,
        "`tun0` leads to 10.0.0.0/8, is clamped to 1400 bytes and takes 1300: large transfers of `ollama`, `open-webui` there can hang",
        "airpods net clamp on tun0",
    ),
    (
        |facts| {
            split(facts);
            let measured = known(fixed(1200), verdict::Code::PathNarrow);
            facts.measured.known = vec![Known { link: "tun0".to_owned(), ..measured }];
        },
        Code::Measured(verdict::Code::PathNarrow),
        Level::Broken,
        "the path behind `tun0`, which leads to 10.0.0.0/8, takes 1200 bytes, less than the link (measured 5 minutes ago)",
        "airpods net clamp on tun0 --mtu auto",
    ),
    (
        |facts| {
            for path in &mut facts.paths {
                (path.route.verdict, path.route.egress) = (Verdict::NoRoute, None);
            }
        },
        Code::NoRoute,
        Level::Note,
        "no route leads from `ollama`, `open-webui` to the internet",
        "ip route get 198.41.0.4",
    ),
    (
        |facts| {
            for path in &mut facts.paths {
                (path.route.verdict, path.route.egress) = (Verdict::NotForwarded, None);
            }
        },
        Code::NotForwarded,
        Level::Broken,
        "this host reaches the internet and forwards nothing for `ollama`, `open-webui`",
        "sudo sysctl -w net.ipv4.ip_forward=1",
    ),
    (
        |facts| {
            for path in &mut facts.paths {
                (path.route.verdict, path.route.egress) = (Verdict::Unknown, None);
            }
        },
        Code::NotKnown,
        Level::Note,
        "could not determine whether the packets of `ollama`, `open-webui` get through",
        "",
    ),
];

#[test]
fn a_clamp_of_the_helpers_is_enough() {
    let mut facts = healthy();
    rootful(&mut facts, Verdict::ClampHelps);
    keeps(&mut facts, vec![clamp_status("wg0", ClampState::Active)]);
    assert_eq!(bad(&facts), []);
    assert!(judge(&facts).iter().any(|finding| finding.cause.contains("bridge -> wg0 (1380), clamped")));
}

#[test]
fn a_split_tunnel_that_is_clamped_or_used_by_host_sockets_is_no_finding() {
    let mut facts = healthy();
    split(&mut facts);
    keeps(&mut facts, vec![clamp_status("tun0", ClampState::Active)]);
    assert_eq!(bad(&facts), []);
    let mut facts = healthy();
    let branches = std::mem::take(
        &mut {
            let mut split_facts = healthy();
            split(&mut split_facts);
            split_facts
        }
        .measured
        .branches,
    );
    facts.measured.branches = branches;
    assert_eq!(bad(&facts), [], "rootless");
}

#[test]
fn a_measured_and_cured_path_is_no_finding() {
    for (remedy, mtu) in [(fixed(1300), Some(1300)), (fixed(1300), Some(1280)), (Remedy::Nothing, None)] {
        let mut facts = healthy();
        facts.measured.known = vec![known(remedy, verdict::Code::PathNarrow)];
        let mode = if mtu.is_some() { Mode::Fixed } else { Mode::Route };
        keeps(&mut facts, vec![ClampStatus { mode, mtu, ..clamp_status("wg0", ClampState::Active) }]);
        assert_eq!(bad(&facts), []);
    }
}

#[test]
fn a_measurement_from_the_network_outweighs_mtus() {
    let mut facts = healthy();
    rootful(&mut facts, Verdict::ClampHelps);
    let from_network = |remedy, verdict| vec![Known { from_network: true, ..known(remedy, verdict) }];
    facts.measured.known = from_network(Remedy::Nothing, verdict::Code::Clamped);
    assert_eq!(bad(&facts), [], "another program clamps");
    facts.measured.known = from_network(Remedy::Route, verdict::Code::MtuBlackHole);
    assert!(bad(&facts)[0].cause.ends_with("(measured 5 minutes ago)"), "{:?}", bad(&facts));
}

#[test]
fn without_a_helper_the_cure_is_one_that_needs_none() {
    let mut facts = healthy();
    rootful(&mut facts, Verdict::ClampHelps);
    facts.helper = Helper::Missing;
    let cures: Vec<Option<String>> = bad(&facts).into_iter().map(|finding| finding.cure).collect();
    assert_eq!(cures[1].as_deref(), Some(SMALL_NETWORK));
}
