#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::NetworkMode;

fn kind(info_kind: &str) -> LinkKind {
    LinkKind { info_kind: info_kind.to_owned(), tun_type: None, hardware: if info_kind.is_empty() { 1 } else { 65534 } }
}

fn egress(link: &str, info_kind: &str, mtu: u32) -> Egress {
    Egress { link: link.to_owned(), index: 7, kind: kind(info_kind), mtu }
}

fn wg0() -> EgressLinks {
    EgressLinks { ipv4: Some(egress("wg0", "wireguard", 1380)), ipv6: None }
}

fn eth0() -> EgressLinks {
    EgressLinks { ipv4: Some(egress("eth0", "", 1500)), ipv6: None }
}

/// A rootful bridge with an MTU of 1500, whose packets leave by these links.
fn behind(leaving: EgressLinks) -> Facts {
    Facts {
        rootless: None,
        network: NetworkFacts {
            name: "airpods_network".to_owned(),
            direct: false,
            internal: false,
            ipv6: false,
            mtu: 1500,
        },
        from_host: Some(leaving.clone()),
        from_network: Some(leaving),
    }
}

fn verdict(facts: &Facts) -> &'static str {
    facts.egress_path(NetworkMode::Pod).verdict.as_str()
}

#[test]
fn a_clamp_helps_only_traffic_forwarded_into_a_narrower_vpn() {
    let bridge = |leaving, mtu| {
        let mut facts = behind(leaving);
        facts.network.mtu = mtu;
        verdict(&facts)
    };
    assert_eq!(bridge(wg0(), 1500), "clamp-helps");
    assert_eq!(bridge(wg0(), 1381), "clamp-helps");
    assert_eq!(bridge(wg0(), 1380), "fits");
    assert_eq!(bridge(eth0(), 1500), "fits");
    let cloud = EgressLinks { ipv4: Some(egress("eth0", "", 1450)), ipv6: None };
    assert_eq!(bridge(cloud, 1500), "narrow-link");
    assert_eq!(bridge(EgressLinks::default(), 1500), "no-route");
    let cut = |rootless| verdict(&Facts { from_network: Some(EgressLinks::default()), rootless, ..behind(wg0()) });
    assert_eq!(cut(None), "not-forwarded");
    assert_eq!(cut(Some(RootlessBackend::Pasta)), "host-sockets", "nothing is forwarded for these");
}

#[test]
fn a_tap_link_by_which_packets_leave_is_a_tunnel_and_no_vpn_to_the_helper() {
    let of_kind = |info_kind: &str, tun_type, hardware| Egress {
        kind: LinkKind { info_kind: info_kind.to_owned(), tun_type, hardware },
        ..egress("tap0", "", 1380)
    };
    for (egress, expected) in [
        (of_kind("tun", Some(2), 1), [true, true]),
        // A kernel that does not report the tun type still reports the hardware type
        // (ARPHRD_ETHER).
        (of_kind("tun", None, 1), [true, true]),
        (of_kind("tun", Some(1), 65534), [false, true]),
        (of_kind("wireguard", None, 65534), [false, true]),
        (of_kind("veth", None, 1), [false, false]),
        (of_kind("", None, 1), [false, false]),
        (Egress { link: "tap:0".to_owned(), ..of_kind("tun", Some(2), 1) }, [false, false]),
    ] {
        assert_eq!([egress.is_tap(), egress.is_tunnel()], expected, "{egress:?}");
    }
    let path = behind(EgressLinks { ipv4: Some(of_kind("tun", Some(2), 1)), ipv6: None }).egress_path(NetworkMode::Pod);
    assert_eq!((path.verdict, path.exceeds_tunnel()), (Verdict::NarrowLink, true));
    let cloud = behind(EgressLinks { ipv4: Some(egress("eth0", "", 1450)), ipv6: None }).egress_path(NetworkMode::Pod);
    assert_eq!((cloud.verdict, cloud.exceeds_tunnel()), (Verdict::NarrowLink, false));
}

#[test]
fn traffic_by_sockets_of_the_host_needs_no_clamp() {
    for backend in [RootlessBackend::Pasta, RootlessBackend::Slirp4netns] {
        let facts = Facts { rootless: Some(backend), ..behind(wg0()) };
        let path = facts.egress_path(NetworkMode::Pod);
        assert_eq!((path.network_path, path.verdict), (NetworkPath::Rootless(backend), Verdict::HostSockets));
        assert!(path.through_tunnel());
    }
    let path = behind(wg0()).egress_path(NetworkMode::Host);
    assert_eq!((path.network_path, path.verdict, path.network_mtu), (NetworkPath::Host, Verdict::HostSockets, None));
}

#[test]
fn a_network_without_a_way_out_or_past_the_host_meets_no_vpn() {
    let mut facts = behind(wg0());
    facts.network.internal = true;
    assert_eq!(verdict(&facts), "elsewhere");
    (facts.network.internal, facts.network.direct) = (false, true);
    let path = facts.egress_path(NetworkMode::Pod);
    assert_eq!((path.network_path, path.egress, path.verdict), (NetworkPath::Direct, None, Verdict::NotRouted));
}

#[test]
fn forwarded_packets_and_the_hosts_are_judged_by_their_own_routes() {
    // Only the containers' packets are routed into the VPN, for instance by `ip rule iif podman1`.
    let facts = Facts { from_network: Some(wg0()), ..behind(eth0()) };
    assert_eq!(facts.egress_path(NetworkMode::Pod).egress.unwrap().link, "wg0");
    assert_eq!(facts.egress_path(NetworkMode::Host).egress.unwrap().link, "eth0");
    let rootless = Facts { rootless: Some(RootlessBackend::Pasta), ..facts };
    assert_eq!(
        rootless.egress_path(NetworkMode::Pod).egress.unwrap().link,
        "eth0",
        "sockets of the host go the host's path"
    );
}

#[test]
fn of_two_families_the_one_where_less_fits_decides_if_the_network_has_both() {
    let both = EgressLinks { ipv6: Some(egress("tun0", "tun", 1400)), ..eth0() };
    let mut facts = behind(both);
    assert_eq!(verdict(&facts), "fits", "the network has no IPv6");
    facts.network.ipv6 = true;
    assert_eq!(facts.egress_path(NetworkMode::Pod).egress.unwrap().link, "tun0");
    assert_eq!(verdict(&facts), "clamp-helps");
    assert_eq!(facts.egress_path(NetworkMode::Host).egress.unwrap().link, "tun0");
}

#[test]
fn facts_that_the_kernel_does_not_report_are_unknown_and_not_harmless() {
    let facts = Facts { from_host: None, from_network: None, ..behind(eth0()) };
    assert_eq!(verdict(&facts), "unknown");
    assert_eq!(facts.egress_path(NetworkMode::Host).to_string(), "host -> unknown");
}

#[test]
fn an_egress_path_is_shown_in_a_table_and_in_json() {
    let path = behind(wg0()).egress_path(NetworkMode::Pod);
    assert_eq!(path.to_string(), "bridge -> wg0 (1380)");
    let expected = json!({
        "kind": "bridge", "link": "wg0", "link_kind": "wireguard", "mtu": 1380, "network_mtu": 1500, "verdict": "clamp-helps",
    });
    assert_eq!(path.to_json(), expected);
    let path = behind(eth0()).egress_path(NetworkMode::Host);
    assert_eq!(path.to_string(), "host -> eth0 (1500)");
    assert_eq!(path.to_json()["link_kind"], Value::Null, "hardware has no kind");
}
