//! The network that a measurement is of, and its salted hashes. A network is recognised by the
//! default routes beside the VPN's, and by the hardware address of the router.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use airpods_dbus::LinkKind;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::egress;

/// The facts by which a network is recognised: the link that packets leave by, and the routers
/// beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The link's name.
    pub(super) link: String,
    /// The link's kind and MTU; `None` if the kernel does not tell.
    pub(super) shape: Option<(LinkKind, u32)>,
    /// The default routes that do not leave by it.
    pub(super) gateways: Vec<Gateway>,
}

impl Network {
    /// Reads the facts around a link from the kernel.
    #[must_use]
    pub fn of(link: &str) -> Self {
        Self { link: link.to_owned(), shape: egress::kind_and_mtu(link), gateways: gateways(link) }
    }

    pub(super) fn fingerprint(&self, salt: &str) -> Fingerprint {
        let hash = |parts: &[String]| {
            let digest = Sha256::digest(format!("{salt}\0{}", parts.join("\0")));
            format!("{:032x}", digest.first_chunk().copied().map_or(0, u128::from_be_bytes))
        };
        let addresses: Vec<String> =
            self.gateways.iter().map(|gateway| format!("{} {}", gateway.link, gateway.address)).collect();
        let cards: Vec<String> = self.gateways.iter().filter_map(|gateway| gateway.hardware.clone()).collect();
        Fingerprint {
            link: hash(&["link".to_owned(), self.link.clone()]),
            shape: hash(&["shape".to_owned(), format!("{:?}", self.shape)]),
            gateways: hash(&addresses),
            hardware: (!cards.is_empty()).then(|| hash(&cards)),
        }
    }
}

/// A network, as salted hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fingerprint {
    link: String,
    /// The link's kind and MTU: with another MTU it is another path.
    shape: String,
    gateways: String,
    /// `None` as long as the kernel does not know the routers' MAC addresses.
    hardware: Option<String>,
}

impl Fingerprint {
    /// Whether both are the same network. The router's MAC address decides, or its IP address if
    /// the MAC address is unknown.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let same_router = match (&self.hardware, &other.hardware) {
            (Some(one), Some(other)) => one == other,
            _ => self.gateways == other.gateways,
        };
        self.is_link_of(other) && self.shape == other.shape && same_router
    }

    /// Whether both have a link of the same name.
    pub(super) fn is_link_of(&self, other: &Self) -> bool {
        self.link == other.link
    }
}

/// A default route of this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gateway {
    /// The link.
    pub(super) link: String,
    /// The router's address; unspecified on a link without a router.
    pub(super) address: IpAddr,
    /// The router's hardware address, while the kernel knows it.
    pub(super) hardware: Option<String>,
}

/// The default routes of the main table that do not leave by `vpn`. The VPN's own packets take one
/// of them.
fn gateways(vpn: &str) -> Vec<Gateway> {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
    default_routes(vpn, &read("route"), &read("ipv6_route"), &read("arp"))
}

/// `route`, `ipv6_route` and `arp` are the texts of those files (proc(5)).
fn default_routes(vpn: &str, route: &str, ipv6_route: &str, arp: &str) -> Vec<Gateway> {
    let hardware = |address: IpAddr| arp.lines().skip(1).find_map(|line| neighbour(line, address));
    let routes = route.lines().skip(1).filter_map(ipv4_default).chain(ipv6_route.lines().filter_map(ipv6_default));
    let mut gateways: Vec<Gateway> = routes
        .filter(|(link, _)| link != vpn && link != "lo")
        .map(|(link, address)| Gateway { link, address, hardware: hardware(address) })
        .collect();
    gateways.sort();
    gateways.dedup();
    gateways
}

/// Columns: link, destination, gateway, flags, three counters, mask. Addresses are in network byte
/// order, printed as numbers of this machine's byte order.
fn ipv4_default(text: &str) -> Option<(String, IpAddr)> {
    let columns: Vec<&str> = text.split_ascii_whitespace().collect();
    let [link, destination, gateway, _, _, _, _, mask, ..] = columns.as_slice() else { return None };
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    (number(destination)? == 0 && number(mask)? == 0)
        .then(|| Some(((*link).to_owned(), Ipv4Addr::from(number(gateway)?.to_ne_bytes()).into())))?
}

/// Columns: destination, its prefix length, source, its prefix length, next hop, metric, two
/// counters, flags, link.
fn ipv6_default(text: &str) -> Option<(String, IpAddr)> {
    let columns: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, length, _, _, next, _, _, _, flags, link] = columns.as_slice() else { return None };
    let rejects = u32::from_str_radix(flags, 16).ok()? & RTF_REJECT != 0;
    let next = Ipv6Addr::from(u128::from_str_radix(next, 16).ok()?);
    (*length == "00" && !rejects).then(|| ((*link).to_owned(), next.into()))
}

/// The flag of a route that rejects packets (`linux/route.h`).
const RTF_REJECT: u32 = 0x0200;

/// Columns: address, type, flags, hardware address, mask, link.
fn neighbour(text: &str, address: IpAddr) -> Option<String> {
    let columns: Vec<&str> = text.split_ascii_whitespace().collect();
    let [ip, _, _, hardware, ..] = columns.as_slice() else { return None };
    let is_known = *hardware != "00:00:00:00:00:00";
    (ip.parse() == Ok(address) && is_known).then(|| (*hardware).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         52:54:00:12:34:56     *        eth0
192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0
";
    const IPV6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo
";

    /// The text on a little-endian machine.
    const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn default_routes_beside_the_vpns_are_listed_with_their_routers() {
        let gateway = |address: &str, hardware: Option<&str>| Gateway {
            link: "eth0".to_owned(),
            address: address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            hardware: hardware.map(str::to_owned),
        };
        let expected = [gateway("192.0.2.1", Some("52:54:00:12:34:56")), gateway("fe80::1", None)];
        assert_eq!(default_routes("wg0", ROUTE, IPV6, ARP), expected);
    }

    #[test]
    fn an_invalid_routing_table_names_no_default_route() {
        for text in ["", "x", "a b c d e f g h", "Iface\nwg0 zz zz zz 0 0 0 zz 0 0 0\n"] {
            assert_eq!(default_routes("wg0", text, text, text), []);
        }
    }
}
