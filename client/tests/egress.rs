//! The egress of packets as a real kernel decides it, in throw-away network namespaces, with the
//! routing of existing VPN clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use airpods::config::{self, NetworkMode};
use airpods::egress::{EgressPath, Facts, NetworkPath, Verdict, survey};
use airpods::podman::{Network, Simulated};
use airpods_lab::{Netns, Place};

/// A host with a card of MTU 1500 as its main default route, and a tunnel of MTU 1380 that nothing
/// leads through yet.
fn host() -> (Netns, Netns) {
    let (host, router) = (Netns::new().unwrap(), Netns::new().unwrap());
    host.veth_to(&router, "eth0", "lan").unwrap();
    host.add_tun("wg0", 1380).unwrap();
    host.sh("ip addr add 203.0.113.2/24 dev eth0
             ip addr add 2001:db8:f::2/64 dev eth0 nodad
             ip route add default via 203.0.113.1
             ip -6 route add default via 2001:db8:f::1
             ip addr add 10.8.0.2/32 dev wg0
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        .unwrap();
    (host, router)
}

/// A bridge as netavark makes one, with the link of one container on it.
const BRIDGE: &str = "ip link add podman1 type bridge
    ip addr add 10.89.0.1/24 dev podman1
    ip link set podman1 up
    ip link add v0 type veth peer name v1
    ip link set v0 master podman1 up
    ip link set v1 up";

fn network() -> Network {
    Network {
        name: "airpods_network".to_owned(),
        driver: "bridge".to_owned(),
        subnets: vec![("10.89.0.0/24".parse().unwrap(), Some("10.89.0.1".parse().unwrap()))],
        ipv6: false,
        internal: false,
        interface: Some("podman1".to_owned()),
        dns: true,
        mtu: None,
        labels: BTreeMap::new(),
    }
}

fn look(host: &Netns) -> Facts {
    host.run(|| survey(&Simulated::default(), Some(&network()), &defaults()))
}

fn defaults() -> config::Runtime {
    config::parse(None, Some("/data".as_ref())).unwrap().config.runtime
}

fn path(host: &Netns) -> EgressPath {
    look(host).egress_path(NetworkMode::Pod)
}

#[track_caller]
fn assert_way(host: &Netns, link: &str, mtu: u32, verdict: Verdict) {
    let path = path(host);
    let egress = path.egress.as_ref().unwrap_or_else(|| panic!("{path:?}"));
    assert_eq!((egress.link.as_str(), egress.mtu, path.verdict), (link, mtu, verdict));
}

/// The routes and rules that wg-quick(8) adds for `AllowedIPs = 0.0.0.0/0`.
const WG_QUICK: &str = "ip route add default dev wg0 table 51820
    ip rule add not fwmark 51820 table 51820
    ip rule add table main suppress_prefixlength 0";

#[test]
fn without_a_vpn_nothing_is_needed() {
    let (host, _router) = host();
    assert_way(&host, "eth0", 1500, Verdict::Fits);
}

#[test]
fn the_tunnel_of_wg_quick_is_found_behind_its_policy_routing() {
    let (host, _router) = host();
    host.sh(WG_QUICK).unwrap();
    assert_way(&host, "wg0", 1380, Verdict::ClampHelps);
    host.sh(BRIDGE).unwrap();
    assert_way(&host, "wg0", 1380, Verdict::ClampHelps);
}

#[test]
fn the_tunnel_of_mullvad_is_found_behind_its_policy_routing() {
    let (host, _router) = host();
    host.sh("ip route add default dev wg0 table 1836018789
         ip rule add pref 5209 not from all fwmark 0x6d6f6c65 lookup 1836018789
         ip rule add pref 5208 from all lookup main suppress_prefixlength 0")
        .unwrap();
    assert_way(&host, "wg0", 1380, Verdict::ClampHelps);
}

#[test]
fn the_tunnel_of_openvpn_is_found_in_its_two_halves() {
    let (host, _router) = host();
    host.sh("ip route add 0.0.0.0/1 dev wg0; ip route add 128.0.0.0/1 dev wg0").unwrap();
    assert_way(&host, "wg0", 1380, Verdict::ClampHelps);
}

#[test]
fn a_rule_for_what_the_bridge_sends_counts_for_the_bridge_and_not_for_the_host() {
    let (host, _router) = host();
    host.sh(BRIDGE).unwrap();
    host.sh("ip route add default dev wg0 table 7; ip rule add iif podman1 table 7").unwrap();
    assert_way(&host, "wg0", 1380, Verdict::ClampHelps);
    let own = look(&host).egress_path(NetworkMode::Host);
    assert_eq!((own.network_path, own.egress.unwrap().link), (NetworkPath::Host, "eth0".to_owned()));
    host.sh("ip rule del iif podman1 table 7; ip rule add from 10.89.0.0/24 table 7").unwrap();
    assert_way(&host, "wg0", 1380, Verdict::ClampHelps);
}

#[test]
fn the_bridges_real_mtu_counts_and_the_routes_own() {
    let (host, _router) = host();
    host.sh(BRIDGE).unwrap();
    host.sh(WG_QUICK).unwrap();
    host.sh("ip link set podman1 mtu 1380").unwrap();
    assert_way(&host, "wg0", 1380, Verdict::Fits);
    host.sh("ip route replace default dev wg0 table 51820 mtu 1300").unwrap();
    assert_way(&host, "wg0", 1300, Verdict::ClampHelps);
}

#[test]
fn ipv6_in_a_tunnel_of_its_own_is_found_on_a_network_that_has_ipv6() {
    let (host, _router) = host();
    host.sh("ip -6 route add 2000::/3 dev wg0").unwrap();
    assert_way(&host, "eth0", 1500, Verdict::Fits);
    let facts = host.run(|| survey(&Simulated::default(), Some(&Network { ipv6: true, ..network() }), &defaults()));
    let path = facts.egress_path(NetworkMode::Pod);
    assert_eq!((path.egress.unwrap().link.as_str(), path.verdict), ("wg0", Verdict::ClampHelps));
}

#[test]
fn a_kill_switch_and_a_host_without_a_route_lead_nowhere() {
    for routes in [
        "ip route del default; ip -6 route del default",
        "ip route replace unreachable default",
        "ip rule add prohibit",
    ] {
        let (host, _router) = host();
        host.sh(routes).unwrap();
        let path = path(&host);
        assert_eq!((path.egress, path.verdict), (None, Verdict::NoRoute), "{routes}");
    }
}

#[test]
fn a_host_that_forwards_nothing_for_the_network_is_not_one_without_a_route() {
    for switch in [
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.conf.podman1.forwarding=0",
        "ip rule add iif podman1 prohibit",
    ] {
        let (host, _router) = host();
        host.sh(BRIDGE).unwrap();
        host.sh(switch).unwrap();
        let path = path(&host);
        assert_eq!((path.egress, path.verdict), (None, Verdict::NotForwarded), "{switch}");
    }
}

#[test]
fn a_bridge_without_a_container_is_judged_by_the_hosts_own_route() {
    let (host, _router) = host();
    host.sh("ip link add podman1 type bridge").unwrap();
    host.sh(WG_QUICK).unwrap();
    assert_way(&host, "wg0", 1380, Verdict::ClampHelps);
}
