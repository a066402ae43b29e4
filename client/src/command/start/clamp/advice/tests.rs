#![allow(clippy::unwrap_used, clippy::panic)]

use airpods_dbus::LinkKind;

use super::*;
use crate::plan::tests::{NEW, THREE, desired};
use crate::way::{Egress, Leaving, NetworkFacts, Outlet};

/// A bridge of MTU 1500 behind `wg0` of this MTU.
fn behind_wg0(mtu: u32) -> Facts {
    let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    let wg0 = Egress { link: "wg0".to_owned(), index: 9, kind, mtu };
    let leaving = Leaving { ipv4: Some(wg0), ipv6: None };
    let network =
        NetworkFacts { name: "airpods_network".to_owned(), direct: false, internal: false, ipv6: false, mtu: 1500 };
    Facts { rootless: None, network, from_host: Some(leaving.clone()), from_network: Some(leaving) }
}

/// `model` and `web` on the network, `paint` on the host's.
fn launches(services: &[&str]) -> Vec<Launch> {
    desired(THREE, services, NEW).launches
}

fn narrow(mtu: u32) -> Narrow {
    match Advice::of(&behind_wg0(mtu), &launches(&[])) {
        Advice::Clamp(narrow) => narrow,
        other => panic!("{other:?}"),
    }
}

#[test]
fn services_on_the_network_are_named_in_one_question_and_those_on_the_hosts_are_not() {
    let question = narrow(1380).question();
    assert_eq!(
        question,
        "The VPN `wg0` has MTU 1380 and the network `airpods_network` 1500, so large transfers of model, web may hang. \
         Clamp VPN links now, as `airpods net clamp on` does?"
    );
}

#[test]
fn the_cure_without_the_helper_is_the_vpns_mtu_and_never_less_than_ipv6_needs() {
    for (mtu, advised) in [(1380, "mtu 1380`"), (1280, "mtu 1280`"), (1200, "mtu 1280`")] {
        let cure = narrow(mtu).cure_without_root();
        assert!(cure.contains(advised) && cure.contains("--reset-network"), "{mtu}: {cure}");
    }
}

#[test]
fn where_traffic_leaves_by_sockets_of_the_host_it_is_said_that_no_clamp_is_needed() {
    let rootless = Facts { rootless: Some(Outlet::Slirp4netns), ..behind_wg0(1380) };
    for (facts, services, by) in [(rootless, &[][..], "slirp4netns"), (behind_wg0(1380), &["paint"][..], "host")] {
        let advice = Advice::of(&facts, &launches(services));
        let note = advice.note().unwrap();
        assert!(note.contains(&format!("({by})")) && note.ends_with("no clamp is needed"), "{note}");
    }
}

#[test]
fn without_a_vpn_there_is_nothing_to_say() {
    let mut facts = behind_wg0(1500);
    assert_eq!(Advice::of(&facts, &launches(&[])), Advice::Nothing, "the packets fit");
    facts.from_host = Some(Leaving::default());
    facts.from_network = Some(Leaving::default());
    assert_eq!(Advice::of(&facts, &launches(&[])), Advice::Nothing, "nothing leads out");
    facts.from_network = None;
    assert_eq!(Advice::of(&facts, &launches(&[])), Advice::Unknown);
}
