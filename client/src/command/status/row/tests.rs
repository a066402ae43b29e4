//! States and paths in; words, judgements and commands out.

#![allow(clippy::unwrap_used)]

use airpods_dbus::Origin;

use super::*;
use crate::config::StatusRange;
use crate::cure::clamp::tests::clamped;
use crate::egress::{NetworkPath, Verdict};
use crate::health::HttpCheck;
use crate::plan::tests::{NEW, THREE, config, podman, start};

pub(in super::super) const RUNNING: ServiceState =
    ServiceState { container: Some(ContainerState::Running), end: None, oneshot: false };

pub(in super::super) fn ended(code: i32, end: End) -> ServiceState {
    ServiceState { container: Some(ContainerState::Exited(code)), end: Some(end), oneshot: false }
}

/// A service that a program's failure ended, or its success.
pub(in super::super) fn ended_with(code: i32) -> ServiceState {
    ended(code, if code == 0 { End::Stopped } else { End::Failed })
}

/// A service without a container.
pub(in super::super) fn row(service: &str) -> Row {
    let (service, container) = (service.to_owned(), format!("{service}-0"));
    let (started_at, health, path, clamp, stale_clamp) = (None, None, None, None, None);
    let state = ServiceState::default();
    Row { service, configured: true, container, state, started_at, health, path, clamp, stale_clamp }
}

/// A running service whose packets leave through a VPN.
pub(in super::super) fn running(service: &str, network_path: NetworkPath, verdict: Verdict) -> Row {
    let kind = airpods_dbus::LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    let egress = Some(Egress { link: "wg0".to_owned(), index: 9, kind, mtu: 1380 });
    let path = Some(EgressPath { network_path, egress, network_mtu: None, verdict });
    Row { state: RUNNING, path, ..row(service) }
}

/// A running service that does not answer at an IPv6 address.
pub(in super::super) fn silent(service: &str, network_path: NetworkPath) -> Row {
    let path = "/api/".to_owned() + &"v".repeat(90);
    let at = (std::net::Ipv6Addr::new(0xfd00, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x1234, 0x5678, 0x9abc), 65_535).into();
    let check = HealthCheck::Http(HttpCheck { at, path, expected: StatusRange::SUCCESS });
    let health = Some((check, Err("connection refused (os error 111)".to_owned())));
    let started_at = Some(0);
    Row { started_at, health, ..running(service, network_path, Verdict::ClampHelps) }
}

#[test]
fn the_next_command_fits_the_worst_there_is() {
    let failed = || Row { state: ended_with(1), ..row("model") };
    let done = || Row { state: ServiceState { oneshot: true, ..ended_with(0) }, ..row("job") };
    let left = || Row { state: ended_with(0), configured: false, ..row("old") };
    let well = || running("web", NetworkPath::Host, Verdict::HostSockets);
    let judged = |helper: &Status| {
        let mut row = running("web", NetworkPath::Bridge, Verdict::ClampHelps);
        row.judge_clamp(helper);
        row
    };
    let open = || judged(&Status::default());
    let too_high = |origin| judged(&clamped(origin, Some(1400)));
    let cases = [
        (vec![], Some("airpods config edit")),
        (vec![failed(), silent("web", NetworkPath::Bridge), open()], Some("airpods doctor")),
        (vec![open(), silent("model", NetworkPath::Bridge)], Some("airpods logs model")),
        (vec![open(), row("paint")], Some("airpods net clamp on")),
        (vec![too_high(Origin::Named), open()], Some("airpods net clamp on wg0")),
        (vec![too_high(Origin::Auto)], Some("airpods net clamp on")),
        (vec![judged(&clamped(Origin::Named, Some(1300)))], None),
        (vec![well(), row("paint")], None),
        (vec![well()], None),
        (vec![row("paint"), done()], Some("airpods start")),
        (vec![done()], None),
        (vec![left()], None),
    ];
    for (rows, expected) in cases {
        assert_eq!(next(&rows, &[]).as_deref(), expected, "{rows:?}");
    }
    assert_eq!(next(&[row("paint")], &["paint".to_owned()]).as_deref(), Some("airpods start paint"));
}

#[test]
fn a_state_has_one_word_and_is_wanted_failed_or_waiting_for_a_start() {
    use ContainerState::{Created, Exited, Lost, Paused, Removing, Running, Stopping, Unknown};
    use End::{Failed, OutOfMemory, Stopped};
    let (wanted, failed, waiting) = ((true, false), (false, true), (false, false));
    let cases = [
        (None, None, false, "never started", waiting),
        (Some(Created), None, false, "created", waiting),
        (Some(Running), None, false, "running", wanted),
        (Some(Exited(0)), Some(Stopped), false, "stopped", waiting),
        (Some(Exited(0)), Some(Stopped), true, "done", wanted),
        (Some(Exited(3)), Some(Failed), false, "exited", failed),
        (Some(Exited(3)), Some(Failed), true, "exited", failed),
        (Some(Exited(3)), Some(Stopped), false, "stopped", waiting),
        (Some(Exited(137)), Some(OutOfMemory), false, "exited", failed),
        (Some(Exited(137)), Some(Stopped), false, "stopped", waiting),
        (Some(Exited(143)), Some(Stopped), true, "stopped", waiting),
        (Some(Paused), None, false, "paused", failed),
        (Some(Stopping), None, false, "stopping", waiting),
        (Some(Removing), None, false, "removing", waiting),
        (Some(Lost), None, false, "lost", failed),
        (Some(Unknown), None, false, "unknown", failed),
    ];
    for (container, end, oneshot, word, judged) in cases {
        let state = ServiceState { container, end, oneshot };
        assert_eq!((state.word(), (state.is_as_wanted(), state.has_failed())), (word, judged), "{state:?}");
    }
}

#[test]
fn only_a_container_that_ended_has_an_exit_code() {
    use ContainerState::{Created, Exited, Lost, Paused, Removing, Running, Stopping, Unknown};
    let code = |container| ServiceState { container, ..ServiceState::default() }.exit_code();
    assert_eq!([0, 3, 137].map(|ended| code(Some(Exited(ended)))), [0, 3, 137].map(Some));
    for state in [Created, Running, Paused, Stopping, Removing, Lost, Unknown] {
        assert_eq!(code(Some(state)), None, "{state:?}");
    }
    assert_eq!(code(None), None);
}

#[tokio::test]
async fn a_service_that_is_not_configured_has_the_state_and_the_end_of_its_container() {
    let podman = podman(NEW);
    start(&podman, THREE, &["web"]).await;
    let once = config(&THREE.replace("[services.web]", "[services.web]\noneshot = true"));
    let (_, service) = once.services.iter().find(|(name, _)| name.as_str() == "web").unwrap();
    for (code, end) in [(0, End::Stopped), (3, End::Failed), (137, End::Stopped)] {
        podman.end("web-0", code);
        let containers = podman.containers().await.unwrap();
        let web = containers.iter().find(|container| container.name == "web-0");
        let expected = ServiceState { container: Some(ContainerState::Exited(code)), end: Some(end), oneshot: false };
        assert_eq!(ServiceState::of(&podman, None, web).await, expected);
        let configured = ServiceState { oneshot: true, ..expected };
        assert_eq!(ServiceState::of(&podman, Some(service), web).await, configured);
    }
    assert_eq!(ServiceState::of(&podman, None, None).await, ServiceState::default());
}
