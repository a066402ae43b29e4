//! Egress: how a service's traffic gets from its container to the host, by which link it leaves,
//! and whether a clamp on that link helps.
//!
//! [`survey`] reads the facts; [`Facts::egress_path`] decides from them. Only traffic that the host
//! forwards for a container passes the clamp with the container's own MSS. Other traffic leaves by
//! sockets of the host, which know the MTU of the link. That applies to `network_mode = "host"` and
//! to everything rootless: pasta and slirp4netns terminate a container's connections and open their
//! own. There only a path narrower than the link's MTU can cause a black hole.

mod netlink;
mod route;

pub use netlink::{INTERNET, egress, links};
pub use route::{Branch, Route, branches, routes};

use std::fmt;
use std::net::IpAddr;

use airpods_dbus::{LinkKind, LinkName};
use ipnet::IpNet;
use netlink::Rtnetlink;
use serde_json::{Value, json};

use crate::config::{self, NetworkDriver, NetworkMode};
use crate::podman::{Network, Podman, RootlessBackend};

/// The smallest MTU that may be recommended: below it a link loses IPv6 (RFC 8200, section 5).
pub const SMALLEST_MTU: u32 = 1280;

/// How a service's packets reach the routing of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkPath {
    /// It uses the host's own network.
    Host,
    /// A bridge in a rootless network namespace. A program opens sockets of the host for what
    /// leaves it.
    Rootless(RootlessBackend),
    /// A bridge on the host, which forwards.
    Bridge,
    /// Its own link on top of a link of the host (macvlan, ipvlan), which bypasses the host's
    /// routing.
    Direct,
    /// Nothing leads out: `runtime.network.internal`.
    None,
}

impl NetworkPath {
    /// The word for it, in JSON and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Rootless(backend) => backend.as_str(),
            Self::Bridge => "bridge",
            Self::Direct => "direct",
            Self::None => "internal",
        }
    }
}

/// A link by which packets leave the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The link's name, as the kernel reports it: any bytes but `/` and white space.
    pub link: String,
    /// Its index.
    pub index: i32,
    /// The kind of link.
    pub kind: LinkKind,
    /// The largest packet in bytes: the link's MTU, or the route's if that is smaller.
    pub mtu: u32,
}

impl Egress {
    /// Whether it is a tap link, which carries Ethernet frames (tun(4)), as OpenVPN's with
    /// `dev tap`. The kernel does not report which program made it. A virtual machine's tap link is
    /// no VPN, so the helper clamps one only by its name and with `any-link`.
    #[must_use]
    pub fn is_tap(&self) -> bool {
        self.kind.info_kind == "tun" && !self.kind.is_vpn() && LinkName::parse(&self.link).is_ok()
    }

    /// Whether a tunnel begins here. A tap link by which packets leave for the internet does not
    /// end in a virtual machine.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.kind.is_vpn() || self.is_tap()
    }

    /// The word for it in messages.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        if self.is_tap() { "tap link" } else { "VPN" }
    }
}

/// The effect of a clamp on a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The network's packets are too large for the VPN, and the host forwards them: a clamp helps.
    ClampHelps,
    /// The same with a link that is no VPN, which is clamped only on request (`--any-link`).
    NarrowLink,
    /// Traffic leaves by sockets of the host, which know the link's MTU: a clamp is not needed,
    /// unless the path is narrower than the link.
    HostSockets,
    /// The network's packets fit.
    Fits,
    /// The traffic bypasses the host's routing, or none leaves the network.
    NotRouted,
    /// No route leads to the internet.
    NoRoute,
    /// The host reaches the internet, but the kernel forwards nothing there for the network.
    NotForwarded,
    /// The kernel could not be queried.
    Unknown,
}

impl Verdict {
    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClampHelps => "clamp-helps",
            Self::NarrowLink => "narrow-link",
            Self::HostSockets => "host-sockets",
            Self::Fits => "fits",
            Self::NotRouted => "elsewhere",
            Self::NoRoute => "no-route",
            Self::NotForwarded => "not-forwarded",
            Self::Unknown => "unknown",
        }
    }
}

/// The path of a service's packets out of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPath {
    /// How they reach the host's routing.
    pub network_path: NetworkPath,
    /// The link by which they leave the host: of IPv4 and IPv6 the one with the smaller MTU. `None`
    /// if no route leads out, or it is unknown.
    pub egress: Option<Egress>,
    /// The MTU of the container's own link; `None` on the host's network.
    pub network_mtu: Option<u32>,
    /// The effect of a clamp.
    pub verdict: Verdict,
}

impl EgressPath {
    /// Whether the packets leave through a tunnel.
    #[must_use]
    pub fn through_tunnel(&self) -> bool {
        self.egress.as_ref().is_some_and(Egress::is_tunnel)
    }

    /// Whether the network's packets are too large for the tunnel that they leave through.
    #[must_use]
    pub fn exceeds_tunnel(&self) -> bool {
        matches!(self.verdict, Verdict::ClampHelps | Verdict::NarrowLink) && self.through_tunnel()
    }

    /// As JSON: `{"kind", "link", "link_kind", "mtu", "network_mtu", "verdict"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let egress = self.egress.as_ref();
        json!({
            "kind": self.network_path.as_str(),
            "link": egress.map(|egress| &egress.link),
            "link_kind": egress.map(|egress| &egress.kind.info_kind).filter(|kind| !kind.is_empty()),
            "mtu": egress.map(|egress| egress.mtu),
            "network_mtu": self.network_mtu,
            "verdict": self.verdict.as_str(),
        })
    }
}

/// The form for tables: `bridge -> wg0 (1380)`.
impl fmt::Display for EgressPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.network_path.as_str())?;
        match (&self.egress, self.verdict) {
            (Some(egress), _) => write!(f, " -> {} ({})", egress.link, egress.mtu),
            (None, Verdict::NoRoute) => f.write_str(" -> no route"),
            (None, Verdict::NotForwarded) => f.write_str(" -> not forwarded"),
            (None, Verdict::Unknown) => f.write_str(" -> unknown"),
            (None, _) => Ok(()),
        }
    }
}

impl Facts {
    /// The path of a service on this network.
    #[must_use]
    pub fn egress_path(&self, mode: NetworkMode) -> EgressPath {
        let network_path = self.network_path(mode);
        let network_mtu = (mode == NetworkMode::Pod).then_some(self.network.mtu);
        let leaving = match network_path {
            NetworkPath::Host | NetworkPath::Rootless(_) => &self.from_host,
            NetworkPath::Bridge => &self.from_network,
            NetworkPath::Direct | NetworkPath::None => {
                return EgressPath { network_path, egress: None, network_mtu, verdict: Verdict::NotRouted };
            }
        };
        let with_ipv6 = mode == NetworkMode::Host || self.network.ipv6;
        let egress = leaving.as_ref().and_then(|leaving| leaving.tightest(with_ipv6)).cloned();
        let verdict = match (&egress, network_path) {
            (None, _) if leaving.is_none() => Verdict::Unknown,
            (None, NetworkPath::Bridge)
                if self.from_host.as_ref().is_some_and(|host| host.tightest(with_ipv6).is_some()) =>
            {
                Verdict::NotForwarded
            }
            (None, _) => Verdict::NoRoute,
            (Some(_), NetworkPath::Host | NetworkPath::Rootless(_)) => Verdict::HostSockets,
            (Some(egress), _) if self.network.mtu <= egress.mtu => Verdict::Fits,
            (Some(egress), _) if egress.kind.is_vpn() => Verdict::ClampHelps,
            (Some(_), _) => Verdict::NarrowLink,
        };
        EgressPath { network_path, egress, network_mtu, verdict }
    }

    fn network_path(&self, mode: NetworkMode) -> NetworkPath {
        match (mode, self.rootless) {
            (NetworkMode::Host, _) => NetworkPath::Host,
            _ if self.network.internal => NetworkPath::None,
            _ if self.network.direct => NetworkPath::Direct,
            (NetworkMode::Pod, Some(backend)) => NetworkPath::Rootless(backend),
            (NetworkMode::Pod, None) => NetworkPath::Bridge,
        }
    }
}

/// The default MTU of a bridge, in bytes.
const DEFAULT_MTU: u32 = 1500;

/// The links by which packets leave for the internet, by family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressLinks {
    /// IPv4; `None` if no route leads there.
    pub ipv4: Option<Egress>,
    /// IPv6.
    pub ipv6: Option<Egress>,
}

impl EgressLinks {
    /// The links by which the host's own packets leave; `None` if the kernel could not be queried.
    #[must_use]
    pub fn of_host() -> Option<Self> {
        leaving(&mut Rtnetlink::open().ok()?, |_| None).ok()
    }

    /// The links, IPv4's first.
    pub fn links(&self) -> impl Iterator<Item = &Egress> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// The link with the smaller MTU; IPv4's if they are equal.
    fn tightest(&self, with_ipv6: bool) -> Option<&Egress> {
        let ipv6 = self.ipv6.iter().filter(|_| with_ipv6);
        self.ipv4.iter().chain(ipv6).min_by_key(|egress| egress.mtu)
    }
}

/// The kind and the MTU of the link of this name; `None` if there is none, or the kernel does not
/// tell.
#[must_use]
pub fn kind_and_mtu(link: &str) -> Option<(LinkKind, u32)> {
    let link = Rtnetlink::open().ok()?.link_by_name(link).ok()??;
    Some((link.kind, link.mtu))
}

/// The properties of the services' network that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Its name.
    pub name: String,
    /// Its links bypass the host's routing.
    pub direct: bool,
    /// Nothing leads out of it.
    pub internal: bool,
    /// It has IPv6.
    pub ipv6: bool,
    /// The MTU of its links: the current one, else the configured one, else the default.
    pub mtu: u32,
}

/// The facts from which a service's path is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The program that connects rootless networks to the host; `None` for root's podman.
    pub rootless: Option<RootlessBackend>,
    /// The network of the services.
    pub network: NetworkFacts,
    /// The links by which the host's own packets leave; `None` if the kernel could not be queried.
    pub from_host: Option<EgressLinks>,
    /// The links by which packets leave that the host forwards for the network.
    pub from_network: Option<EgressLinks>,
}

/// Reads the facts from podman's report about the network, if it exists, and from the kernel.
///
/// This sends no packets, needs no privileges and takes a fraction of a millisecond.
#[must_use]
pub fn survey(podman: &impl Podman, network: Option<&Network>, configured: &config::Runtime) -> Facts {
    let rootless = podman.is_rootless().then(|| RootlessBackend::find(podman.version()));
    let mut facts =
        Facts { rootless, network: as_configured(network, configured), from_host: None, from_network: None };
    // If the kernel does not answer, the facts stay unknown.
    if let Ok(mut kernel) = Rtnetlink::open() {
        facts.from_host = leaving(&mut kernel, |_| None).ok();
        facts.from_network.clone_from(&facts.from_host);
        if let Some(network) = network.filter(|_| facts.rootless.is_none()) {
            ask_for_bridge(&mut kernel, network, &mut facts);
        }
    }
    facts
}

fn as_configured(network: Option<&Network>, runtime: &config::Runtime) -> NetworkFacts {
    let configured = &runtime.network;
    let driver = network.map_or(configured.driver.as_str(), |network| &network.driver);
    let mtu = match network {
        Some(network) => network.mtu,
        None => configured.mtu.map(|mtu| mtu.get().into()),
    };
    NetworkFacts {
        name: runtime.network_name.to_string(),
        direct: driver != NetworkDriver::Bridge.as_str(),
        internal: network.map_or(configured.internal, |network| network.internal),
        ipv6: network.map_or(configured.ipv6, |network| network.ipv6),
        mtu: mtu.unwrap_or(DEFAULT_MTU),
    }
}

/// Looks up the routes again as for packets that arrive from the bridge: policy routing may forward
/// them by another link than the host's own. The bridge exists only while a container is on it.
/// Without it the host's own route is the best guess.
fn ask_for_bridge(kernel: &mut Rtnetlink, network: &Network, facts: &mut Facts) {
    let Some(name) = &network.interface else { return };
    let Ok(Some(bridge)) = kernel.link_by_name(name) else { return };
    facts.network.mtu = bridge.mtu;
    let source = |to: IpAddr| {
        let same_family = |(subnet, gateway): &(IpNet, Option<IpAddr>)| {
            (subnet.addr().is_ipv4() == to.is_ipv4()).then(|| sample_container_address(*subnet, *gateway)).flatten()
        };
        network.subnets.iter().find_map(same_family).map(|address| (address, bridge.index))
    };
    if bridge.up {
        facts.from_network = leaving(kernel, source).ok();
    }
}

/// An address of the subnet that is not the host's own. The kernel rejects a packet that arrives
/// with the host's own source address as forged (martian).
fn sample_container_address(subnet: IpNet, gateway: Option<IpAddr>) -> Option<IpAddr> {
    // The host has the gateway's address, which is the first one by default.
    let first = subnet.hosts().next();
    subnet.hosts().take(3).find(|address| Some(*address) != gateway && Some(*address) != first)
}

fn leaving(kernel: &mut Rtnetlink, source: impl Fn(IpAddr) -> Option<(IpAddr, i32)>) -> std::io::Result<EgressLinks> {
    let [ipv4, ipv6] = INTERNET;
    let mut egress = |to: IpAddr| kernel.egress(to, source(to));
    Ok(EgressLinks { ipv4: egress(ipv4)?, ipv6: egress(ipv6)? })
}

#[cfg(test)]
mod tests;
