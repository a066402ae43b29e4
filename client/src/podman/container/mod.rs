//! Containers: the desired spec ([`ContainerSpec`]), an entry of podman's listing ([`Container`]),
//! podman's inspection ([`ContainerDetail`]), and how one ended ([`End`]).

mod detail;
mod end;
mod spec;

pub use detail::{ContainerDetail, HealthTiming, MountDetail};
pub(super) use detail::{DetailAnswer, HealthAnswer, Names};
pub use end::{End, end_of};
pub(super) use spec::ContainerBody;
pub use spec::{ContainerSpec, Limits, Mount, Relabel, Restart};

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rest::or_default;
use crate::port::{HostPort, Protocol};

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Created and never started.
    Created,
    /// Running.
    Running,
    /// Ended, with this code.
    Exited(i32),
    /// Its processes are frozen.
    Paused,
    /// Being stopped, or left in this state by a podman that was killed.
    Stopping,
    /// Being removed, or left in this state by a podman that was killed.
    Removing,
    /// Running in podman's records, although its processes and conmon are gone: after a reset, or a
    /// `kill -9`.
    Lost,
    /// podman does not know the state, or reports one that airpods does not know.
    Unknown,
}

impl ContainerState {
    /// podman's word for a state in which it refuses to start a container ("container state
    /// improper"). It may still stop a container that is `stopping`.
    #[must_use]
    pub fn improper(self) -> Option<&'static str> {
        match self {
            Self::Created | Self::Running | Self::Exited(_) => None,
            Self::Paused => Some("paused"),
            Self::Stopping => Some("stopping"),
            Self::Removing => Some("removing"),
            Self::Lost => Some("lost"),
            Self::Unknown => Some("unknown"),
        }
    }

    /// Whether it has processes and so holds its ports.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }

    /// Whether podman can start it after it was stopped once more. podman also stops a lost
    /// container in its records, but may still refuse to start it.
    #[must_use]
    pub fn stops_first(self) -> bool {
        self == Self::Stopping
    }
}

/// A container as a listing reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Its state.
    pub state: ContainerState,
    /// When it last started, in seconds since 1970; none if never.
    pub started_at: Option<i64>,
    /// When it last ended, in seconds since 1970; none if it never did.
    pub exited_at: Option<i64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The pod it is in.
    pub pod: Option<String>,
    /// The host ports that it, or its pod, holds.
    pub host_ports: Vec<HostPort>,
    /// The networks it is on; empty for one in a pod.
    pub networks: Vec<String>,
}

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
    /// Every host port; none for a protocol that airpods does not know.
    fn host_ports(&self) -> Vec<HostPort> {
        host_ports(&self.host_ip, &self.protocol, self.host_port, self.range)
    }
}

/// The `count` host ports from `first` on. An address that does not parse means every address:
/// podman leaves it empty.
fn host_ports(address: &str, protocols: &str, first: u16, count: u16) -> Vec<HostPort> {
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
        // Go's zero time is far before 1970 and means never.
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

/// The state for podman's word (`libpod/define/containerstate.go`).
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
