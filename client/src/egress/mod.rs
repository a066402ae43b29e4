//! Egress: how a service's traffic gets from its container to the host, which link it leaves the host by, and whether
//! a clamp on that link helps.
//!
//! [`survey`] reads the facts; [`Facts::path`] decides from them. Only traffic that the host forwards for a
//! container passes the clamp with the container's own MSS. Other traffic leaves by sockets of the host, which know
//! the MTU of the link. That is so with `network_mode = "host"`, and with everything rootless: pasta and slirp4netns
//! end a container's connections and make their own. There only a path narrower than that MTU can go wrong.

mod netlink;
mod rootless_backend;
mod route;

pub use netlink::{INTERNET, egress, links};
pub use rootless_backend::RootlessBackend;
pub use route::{Branch, Route, branches, routes};

use std::fmt;
use std::net::IpAddr;

use airpods_dbus::{LinkKind, LinkName};
use ipnet::IpNet;
use netlink::Rtnetlink;
use serde_json::{Value, json};

use crate::config::{self, NetworkDriver, NetworkMode};
use crate::podman::{Network, Podman};

/// The smallest MTU that may be advised: with less, a link has no IPv6 any more (RFC 8200, section 5).
pub const SMALLEST_MTU: u32 = 1280;

/// How a service's packets get to the routing of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkPath {
    /// It has the host's own network.
    Host,
    /// A bridge in a user's own network namespace, and from there by sockets of the host that a program opens for it.
    Rootless(RootlessBackend),
    /// A bridge of the host's, which forwards.
    Bridge,
    /// A link of its own on a link of the host's (macvlan, ipvlan), past the host's routing.
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

/// The link by which packets to the internet leave the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The link's name, as the kernel has it: any bytes but `/` and white space.
    pub link: String,
    /// Its index.
    pub index: i32,
    /// The kind of link.
    pub kind: LinkKind,
    /// The largest packet in bytes: the link's MTU, or the route's if that is smaller.
    pub mtu: u32,
}

impl Egress {
    /// Whether it is a tap link, which carries Ethernet frames (tun(4)), as OpenVPN's with `dev tap`. The kernel does not say whose it is:
    /// a virtual machine's tap link is no VPN, so the helper clamps one only with `any-link`, by its name.
    #[must_use]
    pub fn is_tap(&self) -> bool {
        self.kind.info_kind == "tun" && !self.kind.is_vpn() && LinkName::parse(&self.link).is_ok()
    }

    /// Whether somebody's tunnel begins here. A tap link by which packets leave for the internet does not end in a virtual machine.
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
    /// The network's packets are too big for the VPN, and forwarded: a clamp cures that.
    ClampHelps,
    /// The same with a link that is no VPN, which is clamped only on request (`--any-link`).
    NarrowLink,
    /// Traffic leaves by sockets of the host, which know the link's MTU: a clamp has nothing to do, unless the
    /// path is narrower than the link.
    HostSockets,
    /// The network's packets fit.
    Fits,
    /// The traffic does not pass the host's links, or there is none.
    Elsewhere,
    /// No route leads to the internet.
    NoRoute,
    /// The host reaches the internet, and the kernel forwards nothing there for the network.
    NotForwarded,
    /// The kernel could not be asked.
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
            Self::Elsewhere => "elsewhere",
            Self::NoRoute => "no-route",
            Self::NotForwarded => "not-forwarded",
            Self::Unknown => "unknown",
        }
    }
}

/// The way of a service's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPath {
    /// How they get to the host's routing.
    pub passage: NetworkPath,
    /// Where they leave the host; of IPv4 and IPv6 the one where less fits. `None` if no route leads out, or it is not known.
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

    /// Whether the network's packets are too big for the tunnel that they leave through.
    #[must_use]
    pub fn exceeds_tunnel(&self) -> bool {
        matches!(self.verdict, Verdict::ClampHelps | Verdict::NarrowLink) && self.through_tunnel()
    }

    /// As JSON: `{"kind", "link", "link_kind", "mtu", "network_mtu", "verdict"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let egress = self.egress.as_ref();
        json!({
            "kind": self.passage.as_str(),
            "link": egress.map(|egress| &egress.link),
            "link_kind": egress.map(|egress| &egress.kind.info_kind).filter(|kind| !kind.is_empty()),
            "mtu": egress.map(|egress| egress.mtu),
            "network_mtu": self.network_mtu,
            "verdict": self.verdict.as_str(),
        })
    }
}

/// For a table: `bridge -> wg0 (1380)`.
impl fmt::Display for EgressPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.passage.as_str())?;
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
    /// The way of a service on this network.
    #[must_use]
    pub fn path(&self, mode: NetworkMode) -> EgressPath {
        let passage = self.passage(mode);
        let network_mtu = (mode == NetworkMode::Pod).then_some(self.network.mtu);
        let leaving = match passage {
            NetworkPath::Host | NetworkPath::Rootless(_) => &self.from_host,
            NetworkPath::Bridge => &self.from_network,
            NetworkPath::Direct | NetworkPath::None => {
                return EgressPath { passage, egress: None, network_mtu, verdict: Verdict::Elsewhere };
            }
        };
        let with_ipv6 = mode == NetworkMode::Host || self.network.ipv6;
        let egress = leaving.as_ref().and_then(|leaving| leaving.tightest(with_ipv6)).cloned();
        let verdict = match (&egress, passage) {
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
        EgressPath { passage, egress, network_mtu, verdict }
    }

    fn passage(&self, mode: NetworkMode) -> NetworkPath {
        match (mode, self.rootless) {
            (NetworkMode::Host, _) => NetworkPath::Host,
            _ if self.network.internal => NetworkPath::None,
            _ if self.network.direct => NetworkPath::Direct,
            (NetworkMode::Pod, Some(backend)) => NetworkPath::Rootless(backend),
            (NetworkMode::Pod, None) => NetworkPath::Bridge,
        }
    }
}

/// The MTU of a bridge that nobody gave one.
const USUAL_MTU: u32 = 1500;

/// Where packets leave for the internet, by family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// IPv4; `None` if no route leads there.
    pub ipv4: Option<Egress>,
    /// IPv6.
    pub ipv6: Option<Egress>,
}

impl Leaving {
    /// Where the host's own packets leave; `None` if the kernel could not be asked.
    #[must_use]
    pub fn of_host() -> Option<Self> {
        leaving(&mut Rtnetlink::open().ok()?, |_| None).ok()
    }

    /// The links, IPv4's first.
    pub fn links(&self) -> impl Iterator<Item = &Egress> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// The link where less fits; IPv4's where both are alike.
    fn tightest(&self, with_ipv6: bool) -> Option<&Egress> {
        let ipv6 = self.ipv6.iter().filter(|_| with_ipv6);
        self.ipv4.iter().chain(ipv6).min_by_key(|egress| egress.mtu)
    }
}

/// The network of the services, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Its name.
    pub name: String,
    /// Its links lead past the host's routing.
    pub direct: bool,
    /// Nothing leads out of it.
    pub internal: bool,
    /// It has IPv6.
    pub ipv6: bool,
    /// The MTU of its links: as they are now, else as configured, else the usual one.
    pub mtu: u32,
}

/// Everything that the ways of the services depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The program behind which a user's own podman has its networks; `None` for root's podman.
    pub rootless: Option<RootlessBackend>,
    /// The network of the services.
    pub network: NetworkFacts,
    /// Where the host's own packets leave; `None` if the kernel could not be asked.
    pub from_host: Option<Leaving>,
    /// Where packets leave that the host forwards for the network.
    pub from_network: Option<Leaving>,
}

/// Learns the facts from podman's word about the network, where it is already, and from the kernel.
///
/// Nothing is sent anywhere and no right is needed; it takes a fraction of a millisecond.
#[must_use]
pub fn survey(podman: &impl Podman, network: Option<&Network>, configured: &config::Runtime) -> Facts {
    let rootless = podman.is_rootless().then(|| RootlessBackend::find(podman.version()));
    let mut facts =
        Facts { rootless, network: as_configured(network, configured), from_host: None, from_network: None };
    // Facts are reported as unknown if the kernel does not answer.
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
        mtu: mtu.unwrap_or(USUAL_MTU),
    }
}

/// Asks again as the bridge's packets meet it: rules may send what is forwarded another way than what the host sends.
/// The bridge is there only while a container is on it; without it the host's own way is the best guess.
fn ask_for_bridge(kernel: &mut Rtnetlink, network: &Network, facts: &mut Facts) {
    let Some(name) = &network.interface else { return };
    let Ok(Some(bridge)) = kernel.link_by_name(name) else { return };
    facts.network.mtu = bridge.mtu;
    let source = |to: IpAddr| {
        let same_family = |(subnet, gateway): &(IpNet, Option<IpAddr>)| {
            (subnet.addr().is_ipv4() == to.is_ipv4()).then(|| somebody(*subnet, *gateway)).flatten()
        };
        network.subnets.iter().find_map(same_family).map(|address| (address, bridge.index))
    };
    if bridge.up {
        facts.from_network = leaving(kernel, source).ok();
    }
}

/// An address of the subnet that is not the host's own: the kernel takes a packet from that for a forgery.
fn somebody(subnet: IpNet, gateway: Option<IpAddr>) -> Option<IpAddr> {
    // The host has the gateway's address, which is the first unless another was chosen.
    let first = subnet.hosts().next();
    subnet.hosts().take(3).find(|address| Some(*address) != gateway && Some(*address) != first)
}

fn leaving(kernel: &mut Rtnetlink, source: impl Fn(IpAddr) -> Option<(IpAddr, i32)>) -> std::io::Result<Leaving> {
    let [ipv4, ipv6] = INTERNET;
    let mut egress = |to: IpAddr| kernel.egress(to, source(to));
    Ok(Leaving { ipv4: egress(ipv4)?, ipv6: egress(ipv6)? })
}

#[cfg(test)]
mod tests;
