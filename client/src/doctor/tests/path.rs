//! The ways of the packets, and who clamps.

use airpods_dbus::{ClampState, ClampStatus, LinkKind, Mode, Origin, Status};

use super::{Case, bad, healthy};
use crate::doctor::{Code, Facts, Helper, Level, Path, Permission, Use, judge};
use crate::way::{Egress, Outlet, Passage, Verdict, Way};

fn egress() -> Egress {
    let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    Egress { link: "wg0".to_owned(), index: 7, kind, mtu: 1380 }
}

/// A service behind pasta and a VPN, which is well.
pub(super) fn rootless(service: &str) -> Path {
    let way = Way {
        passage: Passage::Rootless(Outlet::Pasta),
        egress: Some(egress()),
        network_mtu: Some(1500),
        verdict: Verdict::HostSockets,
    };
    Path { service: service.to_owned(), way }
}

/// Both services on a bridge of root's podman.
fn rootful(facts: &mut Facts, verdict: Verdict) {
    facts.rootless = None;
    for path in &mut facts.paths {
        path.way.passage = Passage::Bridge;
        path.way.verdict = verdict;
    }
}

fn keeps(facts: &mut Facts, clamps: Vec<ClampStatus>) {
    let status = Status { clamps, ..Status::default() };
    facts.helper = Helper::Answers { status, permission: Permission::Granted };
}

fn clamp(state: ClampState) -> ClampStatus {
    ClampStatus {
        link: "wg0".to_owned(),
        state,
        mode: Mode::Route,
        origin: Origin::Auto,
        persist: false,
        mtu: None,
        link_mtu: Some(1380),
        route_mtu: None,
        link_kind: None,
    }
}

const SMALL_NETWORK: &str = "airpods config set runtime.network.mtu 1380 && airpods start --reset-network";

pub(super) const CASES: &[Case] = &[
    (
        |facts| rootful(facts, Verdict::ClampHelps),
        Code::MtuBlackHole,
        Level::Broken,
        "big transfers of `ollama`, `open-webui` hang behind `wg0`: 1380 bytes fit, and their network sends 1500",
        "airpods net clamp on",
    ),
    (
        |facts| {
            rootful(facts, Verdict::ClampHelps);
            keeps(facts, vec![clamp(ClampState::Waiting)]);
        },
        Code::MtuBlackHole,
        Level::Broken,
        "hang behind `wg0`",
        "airpods net clamp on",
    ),
    (
        |facts| rootful(facts, Verdict::NarrowLink),
        Code::MtuBlackHole,
        Level::Note,
        "`wg0` is no VPN but takes 1380 bytes, and the network of `ollama`, `open-webui` sends 1500: big transfers hang where",
        "airpods net clamp on wg0 --any-link",
    ),
    (
        |facts| {
            rootful(facts, Verdict::ClampHelps);
            facts.usage = Use::None;
            facts.helper = Helper::Missing;
        },
        Code::MtuBlackHole,
        Level::Note,
        "hang behind `wg0`",
        SMALL_NETWORK,
    ),
    (
        |facts| {
            for path in &mut facts.paths {
                (path.way.verdict, path.way.egress) = (Verdict::NoRoute, None);
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
                (path.way.verdict, path.way.egress) = (Verdict::Unknown, None);
            }
        },
        Code::NotKnown,
        Level::Note,
        "the packets of `ollama`, `open-webui` get through is not known",
        "",
    ),
];

#[test]
fn a_clamp_of_the_helpers_is_enough() {
    let mut facts = healthy();
    rootful(&mut facts, Verdict::ClampHelps);
    keeps(&mut facts, vec![clamp(ClampState::Active)]);
    assert_eq!(bad(&facts), []);
    assert!(judge(&facts).iter().any(|finding| finding.cause.contains("bridge -> wg0 (1380), clamped")));
}

#[test]
fn without_a_helper_the_cure_is_one_that_needs_none() {
    let mut facts = healthy();
    rootful(&mut facts, Verdict::ClampHelps);
    facts.helper = Helper::Missing;
    let cures: Vec<Option<String>> = bad(&facts).into_iter().map(|finding| finding.cure).collect();
    assert_eq!(cures[1].as_deref(), Some(SMALL_NETWORK));
}
