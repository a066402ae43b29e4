//! What is a VPN link, by the kernel's word and never by its name.

use crate::kernel::{Link, LinkKind};

/// Link kinds (`IFLA_INFO_KIND`, the `.kind` of each `struct rtnl_link_ops`) that carry IP packets in other packets:
/// what enters has more room than what leaves. Kinds that carry Ethernet frames (`gretap`, `vxlan`, `geneve`, `macsec`)
/// are missing on purpose: they bridge networks, and what they do to a path's MTU is their owner's plan.
const TUNNEL_KINDS: [&str; 13] = [
    "wireguard",
    "ovpn",
    "ovpn-dco",
    "ppp",
    "xfrm",
    "vti",
    "vti6",
    "gre",
    "ip6gre",
    "ipip",
    "ip6tnl",
    "sit",
    "amneziawg",
];

/// `IFF_TUN` of `linux/if_tun.h`: the device carries IP packets. `IFF_TAP` (2) carries Ethernet frames.
const IFF_TUN: u8 = 1;

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;

/// `ARPHRD_PPP` of `linux/if_arp.h`. pppd makes its links without netlink, so they may show no kind.
const ARPHRD_PPP: u16 = 512;

/// Whether a link of this kind is a VPN link.
#[must_use]
pub fn is_vpn(kind: &LinkKind) -> bool {
    match kind.info_kind.as_str() {
        // An unknown type is an old kernel's: its hardware type tells (`ARPHRD_NONE` for tun, `ARPHRD_ETHER` for tap).
        "tun" => kind.tun_type.map_or(kind.hardware != ARPHRD_ETHER, |tun_type| tun_type == IFF_TUN),
        "" => kind.hardware == ARPHRD_PPP,
        other => TUNNEL_KINDS.contains(&other),
    }
}

/// Whether it depends on its routes if auto takes the link now: a VPN link that is up.
#[must_use]
pub fn may_be_in_use(link: &Link) -> bool {
    is_vpn(&link.kind) && link.up
}

/// Whether auto takes the link now: a VPN link that is up and that routes lead through.
#[must_use]
pub fn in_use(link: &Link) -> bool {
    may_be_in_use(link) && link.carries_route
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(info_kind: &str, tun_type: Option<u8>, hardware: u16) -> LinkKind {
        LinkKind { info_kind: info_kind.to_owned(), tun_type, hardware }
    }

    #[test]
    fn tunnels_that_carry_ip_packets_are_vpn_links() {
        for name in ["wireguard", "ovpn", "ppp", "xfrm", "vti", "vti6", "gre", "ip6gre", "ipip", "ip6tnl", "sit"] {
            assert!(is_vpn(&kind(name, None, 65534)), "{name}");
        }
        assert!(is_vpn(&kind("tun", Some(1), 65534)));
        assert!(is_vpn(&kind("tun", None, 65534)));
        assert!(is_vpn(&kind("", None, 512)), "pppd's links have no kind");
    }

    #[test]
    fn whatever_carries_ethernet_frames_is_none() {
        for name in ["veth", "bridge", "gretap", "ip6gretap", "vxlan", "macvlan", "dummy", "vlan", "bond", "ifb", "vrf"]
        {
            assert!(!is_vpn(&kind(name, None, 1)), "{name}");
        }
        assert!(!is_vpn(&kind("tun", Some(2), 1)), "tap");
        assert!(!is_vpn(&kind("tun", None, 1)), "tap on a kernel that does not tell");
        assert!(!is_vpn(&kind("", None, 1)), "an Ethernet card");
        assert!(!is_vpn(&kind("", None, 772)), "the loopback");
    }
}
