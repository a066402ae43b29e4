//! Networks: to create, as podman reports them, and how a container is connected.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Endpoint;
use super::rest::or_default;

/// A network to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// It is there already, and is only used.
    pub external: bool,
    /// `bridge`, `macvlan` or `ipvlan`.
    pub driver: String,
    /// The addresses; none leaves the choice to podman.
    pub subnet: Option<IpNet>,
    /// The bridge's own address within `subnet`.
    pub gateway: Option<IpAddr>,
    /// Whether it has IPv6 as well.
    pub ipv6: bool,
    /// Whether it is cut off from everything else.
    pub internal: bool,
    /// MTU of its links in bytes; none leaves it to podman.
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
    /// Whether it is cut off.
    pub internal: bool,
    /// The name of its bridge, which is there while a container is on it.
    pub interface: Option<String>,
    /// Whether names are resolved on it.
    pub dns: bool,
    /// Its MTU where one was set.
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

/// A network as libpod creates it.
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
