#![allow(clippy::unwrap_used, clippy::panic)]

use airpods_dbus::LinkKind;

use super::*;
use crate::egress::{Egress, EgressLinks, NetworkFacts};
use crate::measure::Code;
use crate::plan::tests::{NEW, THREE, desired};
use crate::podman::RootlessBackend;

/// A bridge with an MTU of 1500 behind `wg0` with this MTU.
fn behind_wg0(mtu: u32) -> Facts {
    let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    let wg0 = Egress { link: "wg0".to_owned(), index: 9, kind, mtu };
    let leaving = EgressLinks { ipv4: Some(wg0), ipv6: None };
    let network =
        NetworkFacts { name: "airpods_network".to_owned(), direct: false, internal: false, ipv6: false, mtu: 1500 };
    Facts { rootless: None, network, from_host: Some(leaving.clone()), from_network: Some(leaving) }
}

/// `model` and `web` are on the network, `paint` is on the host's.
fn launches(services: &[&str]) -> Vec<Launch> {
    desired(THREE, services, NEW).launches
}

fn narrow(mtu: u32) -> Narrow {
    match Advice::of(&behind_wg0(mtu), &launches(&[]), None) {
        Advice::Clamp(narrow) => narrow,
        other => panic!("{other:?}"),
    }
}

#[test]
fn services_on_the_network_are_named_in_one_question_and_those_on_the_hosts_are_not() {
    let question = narrow(1380).question();
    assert_eq!(
        question,
        "The VPN `wg0` has MTU 1380 and the network `airpods_network` 1500, so large transfers of model, web may hang \
         (inferred: nothing was measured from there). \
         Clamp VPN links now, as `airpods net clamp on` does?"
    );
}

#[test]
fn the_cure_without_the_helper_is_the_vpns_mtu_and_never_less_than_ipv6_needs() {
    for (mtu, advised) in [(1380, "mtu 1380`"), (1280, "mtu 1280`"), (1200, "mtu 1280`")] {
        let cure = narrow(mtu).cure_without_root().unwrap();
        assert!(cure.contains(advised) && cure.contains("--reset-network"), "{mtu}: {cure}");
    }
}

#[test]
fn traffic_by_host_sockets_is_reported_to_need_no_clamp() {
    let rootless = Facts { rootless: Some(RootlessBackend::Slirp4netns), ..behind_wg0(1380) };
    for (facts, services, by) in [(rootless, &[][..], "slirp4netns"), (behind_wg0(1380), &["paint"][..], "host")] {
        let advice = Advice::of(&facts, &launches(services), None);
        let note = advice.note().unwrap();
        assert!(
            note.contains(&format!("({by})")) && note.contains("no clamp is needed unless the path is narrower"),
            "{note}"
        );
    }
}

#[test]
fn without_a_vpn_there_is_nothing_to_say() {
    let mut facts = behind_wg0(1500);
    assert_eq!(Advice::of(&facts, &launches(&[]), None), Advice::Nothing, "the packets fit");
    facts.from_host = Some(EgressLinks::default());
    facts.from_network = Some(EgressLinks::default());
    assert_eq!(Advice::of(&facts, &launches(&[]), None), Advice::Nothing, "nothing leads out");
    facts.from_network = None;
    assert_eq!(Advice::of(&facts, &launches(&[]), None), Advice::Unknown);
}

/// The same behind a tap link of that name.
fn behind_tap(mtu: u32) -> Facts {
    let kind = LinkKind { info_kind: "tun".to_owned(), tun_type: Some(2), hardware: 1 };
    let tap = Egress { link: "wg0".to_owned(), index: 9, kind, mtu };
    let leaving = EgressLinks { ipv4: Some(tap), ipv6: None };
    Facts { from_host: Some(leaving.clone()), from_network: Some(leaving), ..behind_wg0(mtu) }
}

#[test]
fn behind_a_tap_link_the_clamp_is_offered_for_that_link_alone() {
    let narrow_path = known(to(1300), Code::PathNarrow, false);
    let rootless = Facts { rootless: Some(RootlessBackend::Pasta), ..behind_tap(1420) };
    for (facts, known, mtu, command) in [
        (behind_tap(1380), None, None, "airpods net clamp on wg0 --any-link"),
        (behind_tap(1420), Some(&narrow_path), Some(1300), "airpods net clamp on wg0 --mtu 1300 --any-link"),
        (rootless, Some(&narrow_path), Some(1300), "airpods net clamp on wg0 --mtu 1300 --any-link"),
    ] {
        let Advice::Clamp(narrow) = Advice::of(&facts, &launches(&[]), known) else { panic!("{facts:?}") };
        let question = narrow.question();
        assert!(question.contains("the tap link `wg0`") || question.starts_with("The tap link `wg0`"), "{question}");
        assert!(question.ends_with(&format!("Clamp it now, as `{command}` does?")), "{question}");
        assert_eq!(narrow.cure_by_clamp(), format!("hint: `{command}` cures that"));
        let Change::On(Target::Link(link), options) = narrow.change() else { panic!("{narrow:?}") };
        assert_eq!((link.as_str(), options.any_link, options.mtu.map(u32::from)), ("wg0", true, mtu));
    }
    let rootless = Facts { rootless: Some(RootlessBackend::Pasta), ..behind_tap(1380) };
    let note = Advice::of(&rootless, &launches(&[]), None).note().unwrap();
    assert!(note.contains("leaves through the tap link `wg0`"), "{note}");
}

fn known(remedy: Remedy, verdict: Code, from_network: bool) -> Known {
    let age = std::time::Duration::from_secs(120);
    Known { link: "wg0".to_owned(), verdict, remedy, from_network, age }
}

fn to(mtu: u32) -> Remedy {
    Remedy::Fixed { mtu: PathMtu::new(mtu).unwrap(), at_least: false }
}

/// The offered clamp behind a link with an MTU of 1420.
fn offered(facts: &Facts, services: &[&str], known: &Known) -> Narrow {
    match Advice::of(facts, &launches(services), Some(known)) {
        Advice::Clamp(narrow) => narrow,
        other => panic!("{other:?}"),
    }
}

#[test]
fn behind_a_narrow_path_the_measured_number_is_offered_to_bridges_and_to_sockets_of_the_host_alike() {
    let narrow_path = known(to(1300), Code::PathNarrow, false);
    let rootless = Facts { rootless: Some(RootlessBackend::Pasta), ..behind_wg0(1420) };
    for (facts, services) in [(&rootless, &[][..]), (&behind_wg0(1420), &["paint"][..]), (&behind_wg0(1420), &[][..])] {
        let narrow = offered(facts, services, &narrow_path);
        let question = narrow.question();
        assert!(question.contains("takes 1300 bytes, not the 1420 of the link (measured)"), "{question}");
        assert!(question.ends_with("Clamp it now, as `airpods net clamp on wg0 --mtu 1300` does?"), "{question}");
        let Change::On(Target::Link(link), options) = narrow.change() else { panic!("{narrow:?}") };
        assert_eq!((link.as_str(), options.mtu), ("wg0", PathMtu::new(1300).ok()));
    }
    assert_eq!(offered(&rootless, &[], &narrow_path).cure_without_root(), None, "the host's sockets need a right");
}

#[test]
fn a_clamp_that_is_on_cures_a_narrow_path_only_if_it_is_small_enough() {
    use crate::cure::clamp::tests::clamped;
    let narrow = offered(&behind_wg0(1420), &[], &known(to(1300), Code::PathNarrow, false));
    for (mtu, is_cured) in [(Some(1300), true), (Some(1280), true), (Some(1301), false), (None, false)] {
        assert_eq!(narrow.is_cured(&clamped(airpods_dbus::Origin::Auto, mtu)), is_cured, "{mtu:?}");
    }
}

#[test]
fn the_preview_names_the_clamp_that_is_low_enough() {
    let expected = "would clamp `wg0` unless it is already clamped to at most 1380 bytes";
    assert_eq!(narrow(1380).preview("clamp"), expected);
    let narrow_path = offered(&behind_wg0(1420), &[], &known(to(1300), Code::PathNarrow, false));
    assert!(narrow_path.preview("clamp").ends_with("to at most 1300 bytes"), "{narrow_path:?}");
}

#[test]
fn a_fixed_clamp_above_the_links_mtu_is_no_cure_and_is_replaced_as_it_was_set() {
    use crate::cure::clamp::tests::clamped;
    use airpods_dbus::Origin;
    for (origin, command) in [(Origin::Named, "airpods net clamp on wg0"), (Origin::Auto, "airpods net clamp on")] {
        let status = clamped(origin, Some(1300));
        assert!(narrow(1300).is_cured(&status) && !narrow(1250).is_cured(&status));
        let seen = narrow(1250).seeing(&status);
        let question = seen.question();
        assert!(question.contains("1500, and its clamp of 1300 bytes is too high, so"), "{question}");
        assert!(question.ends_with(&format!("as `{command}` does?")), "{question}");
        let Change::On(target, options) = seen.change() else { panic!("{seen:?}") };
        assert_eq!((target == Target::Auto, options.mtu), (origin == Origin::Auto, None));
        assert_eq!(options.persist, origin == Origin::Named, "`clamped` keeps only a named one");
    }
}

#[test]
fn a_measurement_from_the_network_counts_and_one_of_the_host_is_only_inferred_from() {
    let clamped = known(Remedy::Nothing, Code::Clamped, true);
    let advice = Advice::of(&behind_wg0(1380), &launches(&[]), Some(&clamped));
    let note = advice.note().unwrap();
    assert!(matches!(advice, Advice::Works(..)) && note.contains("nothing hangs behind `wg0`"), "{note}");
    assert!(note.contains("(clamped, 2 minutes ago)"), "{note}");
    assert!(advice.is_well());
    let of_host = offered(&behind_wg0(1380), &[], &known(Remedy::Nothing, Code::Fine, false));
    assert!(of_host.problem().contains("may hang (inferred"), "{}", of_host.problem());
    let seen = offered(&behind_wg0(1380), &[], &known(Remedy::Route, Code::MtuBlackHole, true));
    assert!(seen.problem().ends_with("model, web hang (measured)"), "{}", seen.problem());
}

#[test]
fn advice_for_host_sockets_names_the_measurement() {
    let rootless = Facts { rootless: Some(RootlessBackend::Pasta), ..behind_wg0(1380) };
    for (remedy, verdict, is_well, words) in [
        (Remedy::Nothing, Code::Fine, true, "no clamp is needed (measured 2 minutes ago: fine)"),
        (Remedy::OtherFault, Code::BigHello, false, "something is wrong (big-hello): `airpods net check`"),
    ] {
        let advice = Advice::of(&rootless, &launches(&[]), Some(&known(remedy, verdict, false)));
        assert!(advice.note().unwrap().contains(words), "{advice:?}");
        assert_eq!(advice.is_well(), is_well, "{advice:?}");
    }
    assert!(!Advice::of(&rootless, &launches(&[]), None).is_well(), "nothing was measured");
}

#[test]
fn where_the_networks_packets_fit_another_fault_that_was_measured_is_told_as_well() {
    let measured =
        |remedy, verdict| Advice::of(&behind_wg0(1500), &launches(&[]), Some(&known(remedy, verdict, false)));
    let note = measured(Remedy::OtherFault, Code::BigHello).note().unwrap();
    assert!(note.starts_with("note: something is wrong with the path behind the VPN `wg0` of "), "{note}");
    assert!(
        note.contains("model") && note.contains("(big-hello, measured 2 minutes ago): `airpods net check`"),
        "{note}"
    );
    assert_eq!(measured(Remedy::Nothing, Code::Fine), Advice::Nothing);
}
