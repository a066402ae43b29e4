//! Networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::or_default;
use crate::podman::model::Network;

#[derive(Deserialize)]
pub(in crate::podman::rest) struct NetworkAnswer {
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
