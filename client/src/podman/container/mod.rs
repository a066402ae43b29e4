//! Containers: the desired spec ([`ContainerSpec`]), an entry of podman's listing ([`Container`]),
//! podman's inspection ([`ContainerDetail`]), and how one ended ([`End`]).

mod detail;
mod spec;

pub use detail::{ContainerDetail, HealthTiming, MountDetail};
pub(super) use detail::{DetailAnswer, HealthAnswer, Names};
pub(super) use spec::ContainerBody;
pub use spec::{ContainerSpec, Limits, Mount, Relabel, Restart};

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rest::or_default;
use super::{Podman, Version};
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

/// The end of a container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The user or the host stopped it, or it ended with success.
    Stopped,
    /// The kernel killed it because memory ran out.
    OutOfMemory,
    /// It ended by itself with a failure.
    Failed,
}

impl End {
    /// Whether the service needs a look.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self != Self::Stopped
    }

    /// Judges an exit code. Without a detail, because the container is gone by now, the code
    /// decides alone.
    ///
    /// A code above 128 is 128 plus the number of a signal in signal(7).
    fn of(code: i32, detail: Option<&ContainerDetail>, podman: Version) -> Self {
        const INTERRUPTED: i32 = 128 + 2;
        const KILLED: i32 = 128 + 9;
        const TERMINATED: i32 = 128 + 15;
        let is = |fact: fn(&ContainerDetail) -> bool| detail.is_some_and(fact);
        let stopped_by_user = if podman.reports_stops() {
            is(|detail| detail.stopped_by_user)
        } else {
            // podman restarts such a container unless the user stopped it.
            is(|detail| ["always", "unless-stopped"].contains(&detail.restart.as_str()))
        };
        match code {
            0 => Self::Stopped,
            _ if stopped_by_user => Self::Stopped,
            // podman never resets `OOMKilled`, so it explains only the kernel's own signal.
            KILLED if is(|detail| detail.oom_killed) => Self::OutOfMemory,
            // `podman stop` sends these signals, and so does a machine that shuts down.
            INTERRUPTED | KILLED | TERMINATED => Self::Stopped,
            _ => Self::Failed,
        }
    }
}

/// The end of a container; `None` if it has not ended. Only a code other than 0 takes a call.
pub async fn end_of(podman: &impl Podman, container: &Container) -> Option<End> {
    let ContainerState::Exited(code) = container.state else { return None };
    let detail = if code == 0 { None } else { podman.inspect_container(&container.name).await.ok() };
    // A container that runs again by now says nothing about its former end.
    let detail = detail.filter(|detail| detail.state == container.state);
    Some(End::of(code, detail.as_ref(), podman.version()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::{NEW, OLD, THREE, podman, start};

    /// The end with this exit code, if podman reports this about the container.
    async fn end(version: Version, policy: &str, code: i32, report: fn(&mut ContainerDetail)) -> End {
        let mut podman = podman(version);
        start(&podman, &format!("runtime.restart_policy = \"{policy}\"\n{THREE}"), &["web"]).await;
        podman.end("web-0", code);
        podman.distort = Some(report);
        end_of(&podman, &podman.containers().await.unwrap()[0]).await.unwrap()
    }

    const NOTHING: fn(&mut ContainerDetail) = |_| {};
    const STOPPED: fn(&mut ContainerDetail) = |detail| detail.stopped_by_user = true;
    const OOM: fn(&mut ContainerDetail) = |detail| detail.oom_killed = true;

    #[tokio::test]
    async fn a_stop_that_ends_in_a_signal_is_a_stop_with_any_policy() {
        for version in [OLD, NEW] {
            for policy in ["no", "on-failure", "always", "unless-stopped"] {
                for code in [0, 130, 137, 143] {
                    assert_eq!(end(version, policy, code, NOTHING).await, End::Stopped, "{version} {policy} {code}");
                }
            }
        }
    }

    #[tokio::test]
    async fn memory_ran_out_only_if_podman_reports_it_for_a_killed_container() {
        assert_eq!(end(OLD, "no", 137, OOM).await, End::OutOfMemory);
        assert_eq!(end(NEW, "always", 137, OOM).await, End::OutOfMemory);
        assert_eq!(end(NEW, "no", 143, OOM).await, End::Stopped);
        assert_eq!(end(NEW, "no", 1, OOM).await, End::Failed);
        let both: fn(&mut ContainerDetail) = |detail| (detail.oom_killed, detail.stopped_by_user) = (true, true);
        assert_eq!(end(NEW, "no", 137, both).await, End::Stopped);
    }

    #[tokio::test]
    async fn a_program_that_answers_a_stop_with_a_failure_was_stopped_if_podman_knows_it() {
        for code in [1, 255] {
            assert_eq!(end(NEW, "no", code, STOPPED).await, End::Stopped);
            assert_eq!(end(NEW, "always", code, NOTHING).await, End::Failed, "podman could not restart it");
            // podman 4.3 does not say who ended it, and restarts it by its policy.
            assert_eq!(end(OLD, "unless-stopped", code, NOTHING).await, End::Stopped);
            assert_eq!(end(OLD, "no", code, NOTHING).await, End::Failed);
        }
    }

    #[tokio::test]
    async fn a_container_that_is_gone_or_runs_again_is_judged_by_its_code() {
        let podman = podman(NEW);
        start(&podman, THREE, &["web"]).await;
        let mut listed = podman.containers().await.unwrap().remove(0);
        assert_eq!(end_of(&podman, &listed).await, None);
        for (code, expected) in [(0, End::Stopped), (137, End::Stopped), (3, End::Failed)] {
            listed.state = ContainerState::Exited(code);
            assert_eq!(end_of(&podman, &listed).await, Some(expected));
            let gone = Container { name: "gone".to_owned(), ..listed.clone() };
            assert_eq!(end_of(&podman, &gone).await, Some(expected));
        }
    }
}
