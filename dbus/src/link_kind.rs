//! The definition of a VPN link: by the link's kind in the kernel, never by its name. The helper
//! decides by it what to clamp, and the client what to advise.

/// Link kinds (`IFLA_INFO_KIND`, the `.kind` of each `struct rtnl_link_ops`) that carry IP packets
/// inside other packets, so their MTU is smaller than the path's. Kinds that carry Ethernet frames
/// (`gretap`, `vxlan`, `geneve`, `macsec`) are left out on purpose: they bridge networks, and their
/// MTU is up to their administrator.
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

/// `IFF_TUN` of `linux/if_tun.h`: the device carries IP packets. `IFF_TAP` (2) carries Ethernet
/// frames.
const IFF_TUN: u8 = 1;

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;

/// `ARPHRD_PPP` of `linux/if_arp.h`. pppd creates its links without netlink, so they may have no
/// kind.
const ARPHRD_PPP: u16 = 512;

/// The kind of a link, as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkKind {
    /// `IFLA_INFO_KIND`; empty for hardware, and for links that report no kind.
    pub info_kind: String,
    /// `IFLA_INFO_DATA`'s `IFLA_TUN_TYPE` for kind `tun`: `IFF_TUN` (1) carries IP packets,
    /// `IFF_TAP` (2) Ethernet frames. `None` for other kinds.
    pub tun_type: Option<u8>,
    /// `ifi_type`, the `ARPHRD_*` of `linux/if_arp.h`.
    pub hardware: u16,
}

impl LinkKind {
    /// Whether a link of this kind is a VPN link.
    #[must_use]
    pub fn is_vpn(&self) -> bool {
        match self.info_kind.as_str() {
            // Old kernels do not report the type. The hardware type tells them apart: `ARPHRD_NONE`
            // for tun, `ARPHRD_ETHER` for tap.
            "tun" => self.tun_type.map_or(self.hardware != ARPHRD_ETHER, |tun_type| tun_type == IFF_TUN),
            "" => self.hardware == ARPHRD_PPP,
            other => TUNNEL_KINDS.contains(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_vpn(info_kind: &str, tun_type: Option<u8>, hardware: u16) -> bool {
        LinkKind { info_kind: info_kind.to_owned(), tun_type, hardware }.is_vpn()
    }

    #[test]
    fn tunnels_that_carry_ip_packets_are_vpn_links() {
        for name in ["wireguard", "ovpn", "ppp", "xfrm", "vti", "vti6", "gre", "ip6gre", "ipip", "ip6tnl", "sit"] {
            assert!(is_vpn(name, None, 65534), "{name}");
        }
        assert!(is_vpn("tun", Some(1), 65534));
        assert!(is_vpn("tun", None, 65534));
        assert!(is_vpn("", None, 512), "pppd's links have no kind");
    }

    #[test]
    fn links_that_carry_ethernet_frames_are_no_vpn_links() {
        for name in ["veth", "bridge", "gretap", "ip6gretap", "vxlan", "macvlan", "dummy", "vlan", "bond", "ifb", "vrf"]
        {
            assert!(!is_vpn(name, None, 1), "{name}");
        }
        assert!(!is_vpn("tun", Some(2), 1), "tap");
        assert!(!is_vpn("tun", None, 1), "tap on a kernel that does not tell");
        assert!(!is_vpn("", None, 1), "an Ethernet card");
        assert!(!is_vpn("", None, 772), "the loopback");
    }
}
