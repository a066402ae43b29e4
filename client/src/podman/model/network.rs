//! Networks, and how a container is connected.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Endpoint;

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
