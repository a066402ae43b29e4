//! Links and routes that `ip` creates.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use airpods_dbus::LinkName;
use airpods_helper::kernel::{Kernel, Link};
use airpods_lab::Place;

use crate::host::Host;

fn links(host: &mut Host) -> BTreeMap<String, Link> {
    host.kernel.links(&|_| true).unwrap().named.into_iter().map(|link| (link.name.as_str().to_owned(), link)).collect()
}

#[test]
fn the_kernel_decides_the_kind_of_a_link() {
    let mut host = Host::new();
    host.net.add_tun("tun0", 1380).unwrap();
    host.net.sh("ip tuntap add mode tap name tap0; ip link add veth0 type veth peer name veth1").unwrap();
    host.net.sh("ip link add br0 type bridge; ip link add wg0 type bridge").unwrap();
    let links = links(&mut host);
    let kind = |name: &str| (links[name].kind.info_kind.as_str(), links[name].kind.tun_type);
    assert_eq!(kind("tun0"), ("tun", Some(1)));
    assert_eq!(kind("tap0"), ("tun", Some(2)));
    assert_eq!(kind("veth0"), ("veth", None));
    assert_eq!(kind("br0"), ("bridge", None));
    assert_eq!(kind("wg0"), ("bridge", None), "a name says nothing");
    assert_eq!((links["tun0"].mtu, links["tun0"].up), (1380, true));
    assert_eq!((links["veth0"].mtu, links["veth0"].up), (1500, false));
    // ARPHRD_NONE and ARPHRD_ETHER of linux/if_arp.h.
    assert_eq!((links["tun0"].kind.hardware, links["tap0"].kind.hardware), (0xfffe, 1));
    assert!(!links.contains_key("lo"), "nobody could ask for it");
}

#[test]
fn a_route_of_any_table_and_any_shape_counts() {
    let routes = [
        "ip route add default dev tun0",
        "ip route add 10.9.0.0/16 dev tun0 table 51820",
        "ip route add 10.9.0.0/16 dev tun0 table 200",
        "ip -6 route add 2001:db8::/32 dev tun0 table 51820",
        "ip -6 route add default dev tun0",
        "ip route add 10.9.0.0/16 nexthop dev tun1 nexthop dev tun0",
        "ip -6 addr add 2001:db8:1::1 peer 2001:db8:1::2 dev tun0 nodad",
        "ip addr add 10.8.0.2/24 dev tun0",
        "ip addr add 10.8.0.2 peer 10.8.0.1 dev tun0",
    ];
    for route in routes {
        let mut host = Host::new();
        host.net.add_tun("tun0", 1380).unwrap();
        host.net.add_tun("tun1", 1380).unwrap();
        host.net.sh(route).unwrap();
        assert!(links(&mut host)["tun0"].routes.any, "{route}");
        host.net.sh("ip link set tun0 down").unwrap();
        assert!(!links(&mut host)["tun0"].routes.any, "{route}, then down");
    }
}

#[test]
fn addresses_multicast_and_blackholes_are_no_routes_through_the_link() {
    let nothing = [
        "true",
        "ip addr add 10.8.0.2/32 dev tun0",
        "ip addr add 2001:db8::2/128 dev tun0 nodad",
        "ip -6 route add fe80::/64 dev tun0 table 300",
        "ip -6 route add ff02::/16 dev tun0 table 300",
        "ip route add 224.0.0.0/4 dev tun0",
        "ip route add blackhole 10.9.0.0/16",
        "ip route add unreachable default metric 5",
    ];
    for line in nothing {
        let mut host = Host::new();
        host.net.add_tun("tun0", 1380).unwrap();
        host.net.sh(line).unwrap();
        // The kernel adds the local route of an IPv6 address shortly after the address.
        let begun = Instant::now();
        while links(&mut host)["tun0"].routes.any {
            assert!(begun.elapsed() < Duration::from_secs(30), "{line}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn hundreds_of_links_and_routes_are_all_there() {
    let mut host = Host::new();
    let line = |n| {
        format!("link add dev v{n} up type veth peer name w{n}\nlink set w{n} up\nroute add 10.{n}.0.0/16 dev v{n}\n")
    };
    let commands = (0..200).map(line).collect::<Vec<_>>().concat();
    host.net.sh(&format!("ip -batch - <<'END'\n{commands}END")).unwrap();
    let links = links(&mut host);
    assert_eq!(links.len(), 400);
    for number in 0..200 {
        assert!(links[&format!("v{number}")].routes.any && !links[&format!("w{number}")].routes.any);
    }
}

#[test]
fn one_link_is_looked_up_by_its_name_alone() {
    let mut host = Host::new();
    host.net.add_tun("tun0", 1380).unwrap();
    host.net.sh("ip link property add dev tun0 altname other || true").unwrap();
    let mut link = |name: &str| host.kernel.link(&LinkName::parse(name).unwrap()).unwrap();
    let found = link("tun0").unwrap();
    assert_eq!((found.name.as_str(), found.mtu, found.kind.is_vpn()), ("tun0", 1380, true));
    for name in ["tun1", "tun", "tun00", "other"] {
        assert_eq!(link(name), None, "{name}");
    }
}
