//! Plans to stop and remove services, as values in stages.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::label::{is_ours, service_of};
use super::{Kind, Observed, Present};
use crate::podman::{Container, ContainerState, Pod};
use crate::terminal::Uptime;

/// Stages run one after the other; the actions of one stage run concurrently.
pub type Stages = Vec<Vec<Teardown>>;

/// An object to be stopped or removed. Its `Display` reads as an instruction: "stop the …", "remove
/// the …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Teardown {
    /// Stops a running container.
    Stop {
        /// Its service.
        service: String,
        /// Its name.
        container: String,
        /// When it started, in seconds since 1970.
        started_at: Option<i64>,
    },
    /// Stops a pod whose containers have all ended, which frees its host ports.
    StopPod(String),
    /// Removes a podman object.
    Remove(Kind, String),
    /// Removes a file of airpods' own.
    Discard(PathBuf),
}

impl Teardown {
    /// The container that is removed, if the object is one.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Remove(Kind::Container, name) => Some(name),
            _ => None,
        }
    }

    /// The message after success.
    #[must_use]
    pub fn done(&self) -> String {
        match self {
            Self::Stop { service, started_at, .. } => format!("stopped `{service}`{}", uptime(*started_at)),
            Self::StopPod(name) => format!("stopped the pod `{name}`"),
            Self::Remove(kind, name) => format!("removed the {kind} `{name}`"),
            Self::Discard(file) => format!("removed the file `{}`", file.display()),
        }
    }

    /// The message after a failure.
    #[must_use]
    pub fn not_done(&self) -> String {
        match self {
            Self::Stop { service, container, .. } => {
                format!("the container `{container}` of `{service}` was not stopped")
            }
            Self::StopPod(name) => format!("the pod `{name}` was not stopped"),
            Self::Remove(kind, name) => format!("the {kind} `{name}` was not removed"),
            Self::Discard(file) => format!("the file `{}` was not removed", file.display()),
        }
    }

    /// As JSON: `{"action", "kind", "name", …}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Stop { service, container, started_at } => json!({
                "action": "stop",
                "kind": "container",
                "name": container,
                "service": service,
                "uptime_seconds": started_at.map(|moment| Uptime::since(moment).seconds),
            }),
            Self::StopPod(name) => json!({ "action": "stop", "kind": "pod", "name": name }),
            Self::Remove(kind, name) => json!({ "action": "remove", "kind": kind.to_string(), "name": name }),
            Self::Discard(file) => json!({ "action": "remove", "kind": "file", "name": file }),
        }
    }
}

impl fmt::Display for Teardown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop { service, container, started_at } => {
                write!(f, "stop the container `{container}` of `{service}`{}", running_for(*started_at))
            }
            Self::StopPod(name) => write!(f, "stop the pod `{name}`"),
            Self::Remove(kind, name) => write!(f, "remove the {kind} `{name}`"),
            Self::Discard(file) => write!(f, "remove the file `{}`", file.display()),
        }
    }
}

/// How long the container had run. "was up" cannot be mistaken for the duration of the stop.
fn uptime(started_at: Option<i64>) -> String {
    started_at.map(|moment| format!(" (was up {})", Uptime::since(moment))).unwrap_or_default()
}

fn running_for(started_at: Option<i64>) -> String {
    started_at.map(|moment| format!(", up {}", Uptime::since(moment))).unwrap_or_default()
}

/// The plan of a stop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stop {
    /// The stages in order: stop containers, stop pods in which nothing runs, remove containers,
    /// pods and the network.
    pub stages: Stages,
    /// The services without a running container.
    pub idle: Vec<String>,
}

impl Stop {
    /// The objects to be removed, for the confirmation.
    pub fn removed(&self) -> impl Iterator<Item = &Teardown> {
        self.stages.iter().flatten().filter(|teardown| matches!(teardown, Teardown::Remove(..)))
    }
}

/// Plans to stop the containers of these services and, with `remove`, to remove them.
///
/// `network` is the name of our network. It is removed if no container or pod is left on it.
#[must_use]
pub fn stop(present: &Present<'_>, observed: &Observed, remove: bool, network: &str) -> Stop {
    let configured: Vec<&str> = present.services.iter().map(|(name, _)| name.as_str()).collect();
    let leftover = present.leftover_services();
    let named = |container: &&Container| {
        let service = service_of(&container.labels);
        service.is_some_and(|service| configured.contains(&service)) || present.leftover.contains(container)
    };
    let chosen: Vec<&Container> = observed.containers.iter().filter(named).collect();
    let (mut stops, mut idle) = (Vec::new(), Vec::new());
    for service in configured.iter().chain(&leftover) {
        let running = chosen.iter().filter(|container| {
            container.state == ContainerState::Running && service_of(&container.labels) == Some(service)
        });
        let before = stops.len();
        stops.extend(running.map(|container| Teardown::Stop {
            service: (*service).to_owned(),
            container: container.name.clone(),
            started_at: container.started_at,
        }));
        if stops.len() == before {
            idle.push((*service).to_owned());
        }
    }
    let (stopped_pods, removed_pods) = pods(&chosen, observed, remove);
    let mut stages = vec![stops, stopped_pods.into_iter().map(Teardown::StopPod).collect()];
    if remove {
        let gone: BTreeSet<&str> = chosen.iter().map(|container| container.name.as_str()).collect();
        let removal =
            |kind: Kind, names: Vec<String>| names.into_iter().map(|name| Teardown::Remove(kind, name)).collect();
        let network = free_network(network, &gone, &removed_pods, observed);
        stages.push(removal(Kind::Container, gone.into_iter().map(str::to_owned).collect()));
        stages.push(removal(Kind::Pod, removed_pods));
        stages.push(removal(Kind::Network, network.into_iter().collect()));
    }
    stages.retain(|stage: &Vec<Teardown>| !stage.is_empty());
    Stop { stages, idle }
}

/// The pods to be stopped and the pods to be removed when these containers end.
fn pods(chosen: &[&Container], observed: &Observed, remove: bool) -> (Vec<String>, Vec<String>) {
    let runs =
        |name: &str| observed.container(name).is_some_and(|container| container.state == ContainerState::Running);
    let touched = |pod: &&Pod| chosen.iter().any(|container| container.pod.as_deref() == Some(pod.name.as_str()));
    let (mut stopped, mut removed) = (Vec::new(), Vec::new());
    for pod in observed.pods.iter().filter(|pod| is_ours(&pod.labels)).filter(touched) {
        let stays = |name: &String| !chosen.iter().any(|container| container.name == *name);
        if remove && !pod.containers.iter().any(stays) {
            removed.push(pod.name.clone());
        } else if pod.up && !pod.containers.iter().any(|name| stays(name) && runs(name)) {
            stopped.push(pod.name.clone());
        }
    }
    (stopped, removed)
}

/// The network, if it is ours and free after these containers and pods are removed.
fn free_network(network: &str, containers: &BTreeSet<&str>, pods: &[String], observed: &Observed) -> Option<String> {
    let pod_stays = observed.pods.iter().any(|pod| is_ours(&pod.labels) && !pods.contains(&pod.name));
    let on_network = |container: &Container| {
        container.networks.iter().any(|name| name == network) && !containers.contains(container.name.as_str())
    };
    let there = observed.network(network).is_some_and(|found| is_ours(&found.labels));
    (there && !pod_stays && !observed.containers.iter().any(on_network)).then(|| network.to_owned())
}
