//! Networks: the desired spec, podman's report, and how a container is connected.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::rest::or_default;
use crate::port::{HostPort, PublishedPort};

/// The desired spec of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// It exists already and is only used.
    pub external: bool,
    /// `bridge`, `macvlan` or `ipvlan`.
    pub driver: String,
    /// The subnet; with none, podman chooses.
    pub subnet: Option<IpNet>,
    /// The gateway, an address of the bridge within `subnet`.
    pub gateway: Option<IpAddr>,
    /// Whether it has IPv6 as well.
    pub ipv6: bool,
    /// Whether it has no route to anything else.
    pub internal: bool,
    /// The MTU of its links in bytes; with none, podman chooses.
    pub mtu: Option<u32>,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

/// A network as podman reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Each subnet with its gateway.
    pub subnets: Vec<(IpNet, Option<IpAddr>)>,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Whether it has no route to anything else.
    pub internal: bool,
    /// The name of its bridge, which exists while a container is on the network.
    pub interface: Option<String>,
    /// Whether podman resolves names on it.
    pub dns: bool,
    /// Its MTU in bytes, if one was set.
    pub mtu: Option<u32>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How a container is connected.
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and there is one for each container")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Networking {
    /// By its own endpoint.
    Own(Endpoint),
    /// Through the pod of this name.
    Pod(String),
    /// It shares the host's network.
    Host,
}

/// The request by which libpod creates a network.
#[derive(Serialize)]
pub(super) struct NetworkBody<'a> {
    name: &'a str,
    driver: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subnets: Vec<SubnetBody>,
    ipv6_enabled: bool,
    internal: bool,
    dns_enabled: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<&'static str, String>,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct SubnetBody {
    subnet: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

impl<'a> From<&'a NetworkSpec> for NetworkBody<'a> {
    fn from(spec: &'a NetworkSpec) -> Self {
        Self {
            name: &spec.name,
            driver: &spec.driver,
            subnets: spec
                .subnet
                .map(|subnet| SubnetBody { subnet: subnet.trunc().to_string(), gateway: spec.gateway })
                .into_iter()
                .collect(),
            ipv6_enabled: spec.ipv6,
            internal: spec.internal,
            dns_enabled: true,
            options: spec.mtu.map(|mtu| ("mtu", mtu.to_string())).into_iter().collect(),
            labels: &spec.labels,
        }
    }
}

#[derive(Deserialize)]
pub(in crate::podman) struct NetworkAnswer {
    name: String,
    driver: String,
    #[serde(default, deserialize_with = "or_default")]
    subnets: Vec<SubnetAnswer>,
    #[serde(default)]
    network_interface: String,
    #[serde(default)]
    ipv6_enabled: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    dns_enabled: bool,
    #[serde(default, deserialize_with = "or_default")]
    options: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct SubnetAnswer {
    subnet: IpNet,
    gateway: Option<IpAddr>,
}

impl From<NetworkAnswer> for Network {
    fn from(answer: NetworkAnswer) -> Self {
        Self {
            name: answer.name,
            driver: answer.driver,
            subnets: answer.subnets.into_iter().map(|part| (part.subnet, part.gateway)).collect(),
            ipv6: answer.ipv6_enabled,
            internal: answer.internal,
            interface: (!answer.network_interface.is_empty()).then_some(answer.network_interface),
            dns: answer.dns_enabled,
            mtu: answer.options.get("mtu").and_then(|mtu| mtu.parse().ok()),
            labels: answer.labels,
        }
    }
}

/// A fixed place on a network, and those of its neighbours. Places count from the end of the
/// subnet: podman assigns addresses from the start and never reaches them.
///
/// Only needed if podman cannot resolve aliases and use given DNS servers at the same time
/// ([`super::Version::forwards_dns_per_container`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FixedPlace {
    /// Its own place; 1 is the last usable address.
    pub own: u32,
    /// The names of the neighbours and their places.
    pub neighbours: Vec<(String, u32)>,
}

/// The connection of a container or a pod to a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// The names under which others on the network find it.
    pub aliases: Vec<String>,
    /// The ports published on the host.
    pub ports: Vec<PublishedPort>,
    /// The DNS servers for names that are not aliases; with none, the host's.
    pub dns_servers: Vec<IpAddr>,
    /// Further names in `/etc/hosts`, as `NAME:ADDRESS`.
    pub hosts: Vec<String>,
    /// Further networks, which exist already. It has no aliases on them.
    pub further: Vec<String>,
    /// An additional name for the host, beside podman's `host.containers.internal`.
    pub host_name: Option<String>,
    /// Fixed places, if they are needed.
    // The key is part of the settings hash (`plan::label`): another one would recreate containers.
    #[serde(rename = "pin")]
    pub fixed_place: Option<FixedPlace>,
    /// The addresses of those places, known once the network exists
    /// ([`Endpoint::assign_addresses`]).
    #[serde(skip)]
    pub fixed: Option<Fixed>,
}

/// A fixed address, and those of the neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Its own address.
    pub address: IpAddr,
    /// Names for /etc/hosts.
    pub hosts: Vec<(String, IpAddr)>,
}

impl Endpoint {
    /// Computes the addresses of the places, in the network's first IPv4 subnet or else its first
    /// subnet. Returns `false` if the subnet is too small.
    #[must_use]
    pub fn assign_addresses(&mut self, network: &Network) -> bool {
        let Some(place) = &self.fixed_place else { return true };
        let subnets = || network.subnets.iter().map(|(subnet, _)| *subnet);
        let subnet = subnets().find(|subnet| subnet.addr().is_ipv4()).or_else(|| subnets().next());
        let address = |place: u32| subnet.and_then(|subnet| from_end(subnet, place));
        let hosts: Option<Vec<_>> =
            place.neighbours.iter().map(|(name, place)| Some((name.clone(), address(*place)?))).collect();
        self.fixed = address(place.own).zip(hosts).map(|(address, hosts)| Fixed { address, hosts });
        self.fixed.is_some()
    }
}

/// The address `place` before the last one of a subnet; in IPv4 the last one is broadcast. None if
/// it would be in the first quarter, where podman assigns addresses.
fn from_end(subnet: IpNet, place: u32) -> Option<IpAddr> {
    match subnet {
        IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            let address = last.checked_sub(place)?;
            (address > first + (last - first) / 4).then(|| IpAddr::V4(address.into()))
        }
        IpNet::V6(net) => {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            let address = last.checked_sub(u128::from(place))?;
            (address > first + (last - first) / 4).then(|| IpAddr::V6(address.into()))
        }
    }
}

/// The fields for the connection of a pod or a container. libpod names them alike in both.
#[derive(Serialize)]
pub(super) struct NetworkPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<Namespace>,
    #[serde(rename = "Networks", skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<&'a str, Attachment<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    portmappings: Vec<PortBody>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_server: &'a [IpAddr],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hostadd: Vec<String>,
}

#[derive(Serialize)]
struct Namespace {
    nsmode: &'static str,
}

#[derive(Serialize)]
struct Attachment<'a> {
    aliases: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    static_ips: Vec<IpAddr>,
}

#[derive(Serialize)]
struct PortBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    host_ip: Option<IpAddr>,
    host_port: u16,
    container_port: u16,
    protocol: &'static str,
}

impl<'a> NetworkPart<'a> {
    /// A connection by its own endpoint, with more names for /etc/hosts.
    pub(super) fn own(endpoint: &'a Endpoint, more_hosts: &[String]) -> Self {
        let (address, hosts) = match &endpoint.fixed {
            Some(fixed) => (Some(fixed.address), fixed.hosts.as_slice()),
            None => (None, [].as_slice()),
        };
        let on_ours = Attachment { aliases: &endpoint.aliases, static_ips: address.into_iter().collect() };
        let elsewhere = |network: &'a String| (network.as_str(), Attachment { aliases: &[], static_ips: Vec::new() });
        let further = endpoint.further.iter().map(elsewhere);
        Self {
            netns: Some(Namespace { nsmode: "bridge" }),
            networks: further.chain([(endpoint.network.as_str(), on_ours)]).collect(),
            portmappings: endpoint.ports.iter().copied().map(PortBody::from).collect(),
            dns_server: &endpoint.dns_servers,
            hostadd: hosts
                .iter()
                .map(|(name, address)| format!("{name}:{address}"))
                .chain(endpoint.host_name.iter().map(|name| format!("{name}:host-gateway")))
                .chain(more_hosts.iter().cloned())
                .collect(),
        }
    }

    /// No endpoint of its own: the network of its pod or, with `nsmode`, the host's.
    pub(super) fn unconnected(nsmode: Option<&'static str>, hosts: &[String]) -> Self {
        Self {
            netns: nsmode.map(|nsmode| Namespace { nsmode }),
            networks: BTreeMap::new(),
            portmappings: Vec::new(),
            dns_server: &[],
            hostadd: hosts.to_vec(),
        }
    }
}

impl From<PublishedPort> for PortBody {
    fn from(port: PublishedPort) -> Self {
        let HostPort { address, port: host_port, protocol } = port.host;
        Self { host_ip: address, host_port, container_port: port.container, protocol: protocol.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_the_end_and_never_reach_where_podman_hands_out() {
        let subnet = |text: &str| text.parse::<IpNet>().unwrap_or_default();
        let place = |text: &str, place| from_end(subnet(text), place).map(|address| address.to_string());
        assert_eq!(place("10.89.0.0/24", 1).as_deref(), Some("10.89.0.254"));
        assert_eq!(place("10.89.0.0/24", 191).as_deref(), Some("10.89.0.64"));
        assert_eq!(place("10.89.0.0/24", 192), None);
        assert_eq!(place("10.89.0.0/24", u32::MAX), None);
        assert_eq!(place("fd00::/64", 1).as_deref(), Some("fd00::ffff:ffff:ffff:fffe"));
    }
}
