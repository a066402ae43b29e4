//! The results that are kept, for how long, and of which network.

#![allow(clippy::unwrap_used)]
use airpods_dbus::LinkKind;

use super::network::Gateway;
use super::*;
use crate::cure::tests::{path, place, report};
use crate::measure::report::{Confidence, Direction, LimitedBy, PathReport};

/// `wg0` with an MTU of 1420, beside this router.
fn router(address: &str, card: Option<&str>) -> Network {
    let hardware = card.map(str::to_owned);
    let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    let gateway = Gateway { link: "eth0".to_owned(), address: address.parse().unwrap(), hardware };
    Network { link: "wg0".to_owned(), shape: Some((kind, 1420)), gateways: vec![gateway] }
}

fn narrow(size: u16) -> Report {
    report(vec![place("host", "wg0", vec![path(Code::PathNarrow, Some(size), Confidence::Sure)])])
}

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn at(later: u64) -> SystemTime {
    UNIX_EPOCH + NOW + Duration::from_secs(later)
}

/// A value of 1300, measured in the network of this router.
fn measured(network: &Network) -> Memory {
    let mut memory = Memory { salt: "salt".to_owned(), ..Memory::default() };
    memory.take(network, &narrow(1300), at(0));
    memory
}

#[test]
fn a_measurement_is_valid_in_the_same_network_for_a_day() {
    let home = router("192.0.2.1", Some("52:54:00:00:00:01"));
    let memory = measured(&home);
    let known = memory.known(&home, at(300)).unwrap();
    assert_eq!((known.verdict, known.age), (Code::PathNarrow, Duration::from_secs(300)));
    assert_eq!(memory.known(&home, at(90_000)), None, "too long ago");
    assert_eq!(memory.known(&Network { link: "wg1".to_owned(), ..home.clone() }, at(300)), None, "another link");
    assert_eq!(memory.stale_clamp_age(&home, 1300, at(300)), None);
}

#[test]
fn another_router_is_another_network_and_its_value_is_of_elsewhere() {
    let memory = measured(&router("192.0.2.1", Some("52:54:00:00:00:01")));
    // A router with the same address and another MAC address, and one with another address.
    for other in [router("192.0.2.1", Some("52:54:00:00:00:02")), router("192.0.2.254", None)] {
        assert_eq!(memory.known(&other, at(300)), None);
        assert_eq!(memory.stale_clamp_age(&other, 1300, at(300)), Some(Duration::from_secs(300)));
        assert_eq!(memory.stale_clamp_age(&other, 1280, at(300)), None, "nobody measured that");
    }
}

#[test]
fn a_link_with_another_mtu_or_of_another_kind_is_another_network() {
    let home = router("192.0.2.1", Some("52:54:00:00:00:01"));
    let memory = measured(&home);
    let (kind, mtu) = home.shape.clone().unwrap();
    let tun = LinkKind { info_kind: "tun".to_owned(), ..kind.clone() };
    for shape in [Some((kind, 1280)), Some((tun, mtu)), None] {
        let other = Network { shape, ..home.clone() };
        assert_eq!(memory.known(&other, at(300)), None, "{other:?}");
        assert!(memory.stale_clamp_age(&other, 1300, at(300)).is_some(), "its clamp was measured for the other");
    }
}

#[test]
fn a_router_whose_card_the_kernel_has_forgotten_is_known_by_its_address() {
    let memory = measured(&router("192.0.2.1", Some("52:54:00:00:00:01")));
    assert!(memory.known(&router("192.0.2.1", None), at(1)).is_some());
}

#[test]
fn a_measurement_behind_a_clamp_does_not_replace_one_without() {
    let home = router("192.0.2.1", None);
    let mut memory = measured(&home);
    let clamped = report(vec![place("host", "wg0", vec![path(Code::Clamped, None, Confidence::AtLeast)])]);
    memory.take(&home, &clamped, at(50));
    let known = memory.known(&home, at(60)).unwrap();
    assert_eq!((known.verdict, known.age), (Code::PathNarrow, Duration::from_secs(10)));
    let fine = report(vec![place("host", "wg0", vec![path(Code::Fine, None, Confidence::Sure)])]);
    memory.take(&home, &fine, at(60));
    assert_eq!(memory.known(&home, at(60)).unwrap().remedy, Remedy::Nothing);
}

/// A path behind a clamp whose UDP is too narrow as well: its verdict hides the clamp.
fn behind_clamp_with_narrow_udp() -> Report {
    let held = |by| Direction { proven: Some(1300), limit: Some(1300), limited_by: Some(by), ..Direction::default() };
    let path = PathReport {
        up: held(LimitedBy::Mss),
        down: held(LimitedBy::Flight),
        ..path(Code::UdpNarrow, None, Confidence::AtLeast)
    };
    report(vec![place("host", "wg0", vec![path])])
}

#[test]
fn narrow_udp_behind_a_clamp_does_not_replace_the_value_that_was_measured_without() {
    let home = router("192.0.2.1", None);
    let mut memory = measured(&home);
    memory.take(&home, &behind_clamp_with_narrow_udp(), at(50));
    let known = memory.known(&home, at(60)).unwrap();
    assert_eq!((known.verdict, known.age), (Code::PathNarrow, Duration::from_secs(10)));
    assert!(matches!(known.remedy, Remedy::Fixed { .. }));
    assert_eq!(memory.stale_clamp_age(&home, 1300, at(60)), None, "it was measured here");
    let without_clamp = report(vec![place("host", "wg0", vec![path(Code::UdpNarrow, None, Confidence::Sure)])]);
    memory.take(&home, &without_clamp, at(60));
    assert_eq!(memory.known(&home, at(60)).unwrap().remedy, Remedy::OtherFault);
}

#[test]
fn another_fault_than_narrow_udp_is_kept_though_the_path_is_clamped() {
    let home = router("192.0.2.1", None);
    let mut memory = measured(&home);
    let mut both = behind_clamp_with_narrow_udp();
    both.places.push(place("airpods", "wg0", vec![path(Code::ContainerCut, None, Confidence::Sure)]));
    memory.take(&home, &both, at(50));
    assert_eq!(memory.known(&home, at(60)).unwrap().remedy, Remedy::OtherFault);
}

#[test]
fn a_clamp_of_elsewhere_is_still_warned_about_if_only_narrow_udp_was_measured_behind_it_here() {
    let away = router("192.0.2.254", None);
    let clamped = report(vec![place("host", "wg0", vec![path(Code::Clamped, None, Confidence::AtLeast)])]);
    for here in [behind_clamp_with_narrow_udp(), clamped] {
        let mut memory = measured(&router("192.0.2.1", None));
        memory.take(&away, &here, at(50));
        assert_eq!(memory.stale_clamp_age(&away, 1300, at(60)), Some(Duration::from_secs(60)), "{}", here.verdict);
    }
}

#[test]
fn one_measurement_for_each_network_is_kept_and_not_more_than_so_many() {
    let home = router("192.0.2.1", None);
    let mut memory = measured(&home);
    memory.take(&home, &narrow(1280), at(10));
    assert_eq!(memory.paths.len(), 1);
    for last in 0..=255u8 {
        memory.take(&router(&format!("198.51.100.{last}"), None), &narrow(1300), at(20));
    }
    assert_eq!(memory.paths.len(), MAX_ENTRIES);
}

#[test]
fn no_name_and_no_address_is_in_the_file() {
    let text = serde_json::to_string(&measured(&router("192.0.2.1", Some("52:54:00:00:00:01")))).unwrap();
    for name in ["wg0", "eth0", "192.0.2.1", "52:54", "registry"] {
        assert!(!text.contains(name), "{name}: {text}");
    }
}

#[test]
fn a_saved_measurement_is_read_unless_others_could_have_written_it() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    remember(Some(home.path()), &narrow(1300));
    let memory = Memory::load(Some(home.path()));
    assert_eq!(memory.paths.len(), 1);
    let file = home.path().join(FILE);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Memory::load(Some(home.path())), Memory::default());
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(Memory::load(Some(home.path())), Memory::default());
}

#[test]
fn a_check_that_measured_nothing_is_forgotten() {
    let home = tempfile::tempdir().unwrap();
    remember(
        Some(home.path()),
        &report(vec![place("host", "wg0", vec![path(Code::NotMeasured, None, Confidence::NotMeasured)])]),
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn durations_are_shown_in_words() {
    for (seconds, expected) in
        [(5, "just now"), (60, "1 minute ago"), (7_200, "2 hours ago"), (90_000, "1 day ago"), (260_000, "3 days ago")]
    {
        assert_eq!(ago(Duration::from_secs(seconds)), expected);
    }
}

/// `wg0` without any router.
fn wg0() -> Network {
    Network { link: "wg0".to_owned(), shape: None, gateways: Vec::new() }
}

fn minute(minutes: u64) -> SystemTime {
    at(minutes * 60)
}

fn known(from_network: bool) -> Known {
    let (link, verdict, remedy, age) = ("wg0".to_owned(), Code::Fine, Remedy::Nothing, Duration::ZERO);
    Known { link, verdict, remedy, from_network, age }
}

#[test]
fn after_an_attempt_that_showed_nothing_starts_wait_longer_and_longer() {
    let mut memory = Memory::default();
    let may = |memory: &Memory, minutes| memory.may_measure(&wg0(), None, SeenFrom::Host, minute(minutes));
    assert!(may(&memory, 0), "nothing was tried");
    memory.note(&wg0(), false, false, minute(0));
    assert!(!may(&memory, 9) && may(&memory, 10));
    memory.note(&wg0(), false, false, minute(10));
    assert!(!may(&memory, 69) && may(&memory, 70));
    memory.note(&wg0(), true, false, minute(70));
    assert!(!may(&memory, 79) && may(&memory, 80), "a result ends the series");
    let elsewhere = Network { link: "wg1".to_owned(), ..wg0() };
    assert!(memory.may_measure(&elsewhere, None, SeenFrom::Host, minute(70)));
}

#[test]
fn a_network_that_cannot_be_entered_is_tried_once_a_day() {
    use SeenFrom::{Host, Network, RunningNetwork};
    let mut memory = Memory::default();
    let may = |memory: &Memory, inside, from, minutes| {
        memory.may_measure(&wg0(), Some(&known(inside)), from, minute(minutes))
    };
    assert!(may(&memory, false, Network, 0) && !may(&memory, false, Host, 0));
    assert!(!may(&memory, true, RunningNetwork, 0), "it was measured from there");
    memory.note(&wg0(), true, false, minute(0));
    assert!(may(&memory, false, RunningNetwork, 0), "nothing ran there before");
    assert!(!may(&memory, false, Network, 9) && may(&memory, false, Network, 10));
    memory.note(&wg0(), true, true, minute(10));
    for from in [Network, RunningNetwork] {
        assert!(!may(&memory, false, from, 100) && may(&memory, false, from, 1500));
    }
}
