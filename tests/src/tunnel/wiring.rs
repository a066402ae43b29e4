//! Links, addresses and routes of the world, and the hole in it.

use super::{BlackHole, RESOLVER, SITE_V4, SITE_V6, WorldPlan};
use crate::error::Result;
use crate::place::Place;
use crate::sandbox::{Sandbox, User};

pub(super) fn wire(host: &Sandbox, gateway: &User) -> Result<()> {
    host.sh("ip link add wire type veth peer name wire netns gateway
         ip addr add 203.0.113.2/24 dev wire
         ip addr add 2001:db8:f::2/64 dev wire nodad
         ip link set wire up
         sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
    gateway.sh("ip addr add 203.0.113.1/24 dev wire
         ip addr add 2001:db8:f::1/64 dev wire nodad
         ip link set wire up
         ip link add far type veth peer name eth0 netns internet
         ip addr add 192.0.2.1/24 dev far
         ip addr add 2001:db8:80::1/64 dev far nodad
         ip link set far up
         sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
    Ok(())
}

pub(super) fn route(host: &Sandbox, gateway: &User, internet: &User, plan: &WorldPlan) -> Result<()> {
    internet.sh(&format!(
        "ip addr add {SITE_V4}/24 dev eth0
         ip addr add {RESOLVER}/24 dev eth0
         ip addr add {SITE_V6}/64 dev eth0 nodad
         ip link set eth0 up
         ip route add default via 192.0.2.1
         ip -6 route add default via 2001:db8:80::1
         ip route add local 192.0.2.128/25 dev lo
         ip -6 route add local 2001:db8:81::/64 dev lo"
    ))?;
    gateway.sh(&format!(
        "ip route add 192.0.2.128/25 via {SITE_V4}
         ip -6 route add 2001:db8:81::/64 via {SITE_V6}"
    ))?;
    tunnel_routes(host, gateway, plan)?;
    if let BlackHole::NarrowPath { mtu } = plan.hole { narrow(gateway, mtu) } else { Ok(()) }
}

/// Narrows the path by the MTU of the VPN server's links on both sides. That is exact even for
/// aggregated packets, which a rule on packet sizes would count as one.
pub(super) fn narrow(gateway: &User, mtu: u16) -> Result<()> {
    gateway.sh(&format!("ip link set far mtu {mtu}; ip link set peer0 mtu {mtu}")).map(drop)
}

pub(super) fn tunnel_routes(host: &Sandbox, gateway: &User, plan: &WorldPlan) -> Result<()> {
    let WorldPlan { link, mtu, hole } = plan;
    let far_mtu = if let BlackHole::NarrowPath { mtu } = hole { mtu } else { mtu };
    host.sh(&format!(
        "ip link set {link} mtu {mtu} up
         ip addr add 198.51.100.2/24 dev {link}
         ip addr add 2001:db8:7::2/64 dev {link} nodad
         {}",
        default_routes(link)
    ))?;
    gateway.sh(&format!(
        "ip link set peer0 mtu {far_mtu} up
         ip addr add 198.51.100.1/24 dev peer0
         ip addr add 2001:db8:7::1/64 dev peer0 nodad
         ip route replace 10.0.0.0/8 dev peer0
         ip -6 route replace fd00::/8 dev peer0"
    ))?;
    Ok(())
}

pub(super) fn default_routes(link: &str) -> String {
    format!("ip route replace default dev {link}; ip -6 route replace default dev {link}")
}

/// Drops the reports about packets that are too big, as the hole demands. It drops only reports
/// that a machine sends itself, never forwarded ones.
pub(super) fn dig(host: &Sandbox, gateway: &User, hole: BlackHole) -> Result<()> {
    const SILENCE: &str = "nft 'table inet lab {
        chain silence {
            type filter hook output priority filter
            icmp type destination-unreachable icmp code frag-needed drop
            icmpv6 type packet-too-big drop
        }
    }'";
    if hole != BlackHole::None {
        gateway.sh(SILENCE)?;
    }
    if hole == BlackHole::AB {
        host.sh(SILENCE)?;
    }
    Ok(())
}
