//! The facts that a way is decided from, and how they are learnt.

use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::{INTERNET, Rtnetlink};
use super::{Egress, RootlessBackend};
use crate::config::{self, NetworkDriver};
use crate::podman::{Network, Podman};

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
    pub(super) fn tightest(&self, with_ipv6: bool) -> Option<&Egress> {
        let ipv6 = self.ipv6.iter().filter(|_| with_ipv6);
        self.ipv4.iter().chain(ipv6).min_by_key(|egress| egress.mtu)
    }
}

/// What matters of the network of the services.
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
    // What is not learnt because the kernel does not answer is reported as unknown.
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
