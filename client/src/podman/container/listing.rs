//! Containers as a listing tells them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::podman::rest::or_default;
use crate::podman::{Container, ContainerState};
use crate::port::{HostPort, Protocol};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct ContainerAnswer {
    #[serde(default, deserialize_with = "or_default")]
    names: Vec<String>,
    image: String,
    state: String,
    /// Its first process; 0 or less is none.
    #[serde(default)]
    pub(in crate::podman) pid: i64,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    started_at: i64,
    #[serde(default)]
    exited_at: i64,
    #[serde(default)]
    pub(in crate::podman) is_infra: bool,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::podman) pod_name: String,
    #[serde(default, deserialize_with = "or_default")]
    ports: Vec<PortAnswer>,
    #[serde(default, deserialize_with = "or_default")]
    networks: Vec<String>,
}

#[derive(Deserialize)]
struct PortAnswer {
    #[serde(default)]
    host_ip: String,
    host_port: u16,
    #[serde(default)]
    range: u16,
    #[serde(default)]
    protocol: String,
}

impl PortAnswer {
    /// Each port of the host; nothing of a protocol that is none of ours.
    fn host_ports(&self) -> Vec<HostPort> {
        host_ports(&self.host_ip, &self.protocol, self.host_port, self.range)
    }
}

/// The ports of the host from the first on. An address that is none is every address, as podman writes it.
pub(super) fn host_ports(address: &str, protocols: &str, first: u16, count: u16) -> Vec<HostPort> {
    let protocols = protocols.split(',').filter_map(|name| match name {
        "" => Some(Protocol::Tcp),
        name => Protocol::parse(name),
    });
    let last = first.saturating_add(count.saturating_sub(1));
    let address = address.parse().ok();
    protocols
        .flat_map(|protocol| (first..=last).map(move |port| HostPort { protocol, ..HostPort::tcp(port) }.on(address)))
        .collect()
}

impl ContainerAnswer {
    /// Its name.
    pub(in crate::podman) fn name(&self) -> Option<&str> {
        self.names.first().map(String::as_str)
    }
}

impl From<ContainerAnswer> for Container {
    fn from(answer: ContainerAnswer) -> Self {
        // Go's zero time is far before 1970: never.
        let moment = |seconds: i64| (seconds > 0).then_some(seconds);
        Self {
            name: answer.names.into_iter().next().unwrap_or_default(),
            image: answer.image,
            state: state(&answer.state, answer.exit_code),
            started_at: moment(answer.started_at),
            exited_at: moment(answer.exited_at),
            labels: answer.labels,
            pod: (!answer.pod_name.is_empty()).then_some(answer.pod_name),
            host_ports: answer.ports.iter().flat_map(PortAnswer::host_ports).collect(),
            networks: answer.networks,
        }
    }
}

/// podman's word for a state (`libpod/define/containerstate.go`).
pub(in crate::podman) fn state(word: &str, exit_code: i32) -> ContainerState {
    match word {
        "running" => ContainerState::Running,
        "created" | "configured" | "initialized" => ContainerState::Created,
        "exited" | "stopped" => ContainerState::Exited(exit_code),
        "paused" => ContainerState::Paused,
        "stopping" => ContainerState::Stopping,
        "removing" => ContainerState::Removing,
        _ => ContainerState::Unknown,
    }
}
