//! The effect of the rules on packets.

use airpods_helper::kernel::Kernel;
use airpods_lab::{FAMILIES, Family, Place};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;

use crate::host::ruleset;
use crate::router::Router;
use crate::wire::{ACK, RST, SYN, Segment, through};

/// The MSS that fits an MTU: less 40 bytes of headers for IPv4 and TCP, less 60 for IPv6 and TCP.
fn mss(mtu: u16, family: Family) -> u16 {
    mtu - if family == Family::V4 { 40 } else { 60 }
}

#[test]
fn both_ways_of_a_handshake_are_lowered_to_the_links_mtu() {
    let mut router = Router::new(&["wg1"]);
    for family in FAMILIES {
        assert_eq!(router.handshake(0, family), (mss(1500, family), mss(1500, family)), "without a clamp");
    }
    router.host.apply(&ruleset(&["wg1"], &[]));
    assert_eq!(router.handshake(0, Family::V4), (1240, 1240));
    assert_eq!(router.handshake(0, Family::V6), (1220, 1220));
    router.host.net.sh("ip link set wg1 mtu 1300").unwrap();
    assert_eq!(router.handshake(0, Family::V4), (1260, 1260), "the route's MTU is followed");
}

#[test]
fn a_fixed_value_is_set_on_both_ways_and_instead_of_the_links_mtu() {
    let mut router = Router::new(&["wg1"]);
    router.host.apply(&ruleset(&[], &[("wg1", 1200)]));
    assert_eq!(router.handshake(0, Family::V4), (1160, 1160));
    assert_eq!(router.handshake(0, Family::V6), (1140, 1140));
    router.host.apply(&ruleset(&[], &[("wg1", 1400)]));
    assert_eq!(router.handshake(0, Family::V4), (1360, 1360), "larger than the link's MTU: it was measured");
}

#[test]
fn the_hosts_own_connections_take_a_fixed_value_too() {
    let mut router = Router::new(&["wg1"]);
    router.host.apply(&ruleset(&[], &[("wg1", 1000)]));
    for family in FAMILIES {
        let stream = Router::connect(&router.host.net, Router::address(0, family));
        // The host may send segments of the MSS in the SYN-ACK, less 12 bytes of time stamps.
        assert_eq!(getsockopt(&stream, TcpMaxSeg).unwrap(), u32::from(mss(1000, family)) - 12);
    }
    let counters = router.host.kernel.read_table().unwrap().unwrap().counters;
    assert_eq!((counters.ipv4_out, counters.ipv4_in, counters.ipv6_out, counters.ipv6_in), (1, 1, 1, 1));
}

#[test]
fn a_clamp_on_wg1_leaves_wg10_and_wg1_5_alone() {
    let mut router = Router::new(&["wg10", "wg1", "wg1.5"]);
    for wanted in [ruleset(&["wg1"], &[]), ruleset(&[], &[("wg1", 1280)])] {
        router.host.apply(&wanted);
        for family in FAMILIES {
            let syns: Vec<u16> = (0..3).map(|link| router.handshake(link, family).0).collect();
            assert_eq!(syns, [mss(1500, family), mss(1280, family), mss(1500, family)]);
        }
    }
}

#[test]
fn a_smaller_mss_is_never_raised() {
    let mut router = Router::new(&["wg1"]);
    router
        .client
        .sh("ip route replace default via 10.1.0.1 advmss 900; ip -6 route replace default via fd01::1 advmss 880")
        .unwrap();
    router.peer.sh("ip route replace 10.1.0.0/24 via 10.2.0.1 advmss 800; ip -6 route replace fd01::/64 via fd02:0::1 advmss 780").unwrap();
    for wanted in [ruleset(&["wg1"], &[]), ruleset(&[], &[("wg1", 1280)])] {
        router.host.apply(&wanted);
        assert_eq!(router.handshake(0, Family::V4), (900, 800));
        assert_eq!(router.handshake(0, Family::V6), (880, 780));
    }
}

#[test]
fn only_handshakes_with_the_option_are_touched() {
    let mut router = Router::new(&["wg1"]);
    for (wanted, lowered) in [(ruleset(&["wg1"], &[]), 1240), (ruleset(&[], &[("wg1", 1200)]), 1160)] {
        router.host.apply(&wanted);
        let sent = [
            (Segment { flags: SYN, mss: Some(1460) }, Some(lowered)),
            (Segment { flags: SYN | ACK, mss: Some(1460) }, Some(lowered)),
            (Segment { flags: SYN, mss: None }, None),
            (Segment { flags: SYN | RST, mss: Some(1460) }, Some(1460)),
            (Segment { flags: ACK, mss: Some(1460) }, Some(1460)),
            (Segment { flags: RST, mss: Some(1460) }, Some(1460)),
            (Segment { flags: 0, mss: Some(1460) }, Some(1460)),
        ];
        for (segment, expected) in sent {
            assert_eq!(through(&router, segment), Segment { mss: expected, ..segment }, "{segment:?}");
        }
    }
}

#[test]
fn counters_count_handshakes_per_way_and_family_and_outlive_a_change_of_links() {
    let mut router = Router::new(&["wg1", "wg2"]);
    let counted = |router: &mut Router| {
        let counters = router.host.kernel.read_table().unwrap().unwrap().counters;
        [counters.ipv4_out, counters.ipv4_in, counters.ipv6_out, counters.ipv6_in]
    };
    router.host.apply(&ruleset(&["wg1"], &[]));
    for _ in 0..3 {
        Router::connect(&router.client, Router::address(0, Family::V4));
    }
    Router::connect(&router.client, Router::address(0, Family::V6));
    Router::connect(&router.client, Router::address(1, Family::V4));
    assert_eq!(counted(&mut router)[..1], [3]);
    assert_eq!(counted(&mut router)[2..], [1, 1]);
    let before = counted(&mut router);
    router.host.apply(&ruleset(&["wg1", "wg2", "wg3"], &[]));
    assert_eq!(counted(&mut router), before);
}

#[test]
fn fixed_and_route_counters_add_up_and_count_matching_links_only() {
    let mut router = Router::new(&["wg1", "wg2", "plain"]);
    router.host.apply(&ruleset(&["wg1"], &[("wg2", 1200)]));
    for link in 0..3 {
        Router::connect(&router.client, Router::address(link, Family::V4));
    }
    // The peer answers through its first link, even if the request came through another one.
    let counters = router.host.kernel.read_table().unwrap().unwrap().counters;
    assert_eq!((counters.ipv4_out, counters.ipv6_out, counters.ipv6_in), (2, 0, 0));
    let listed = router.host.listed();
    for rule in ["oifname @links counter packets 1 ", "oifname map @mss4 counter packets 1 "] {
        assert!(listed.contains(rule), "{listed}");
    }
}
