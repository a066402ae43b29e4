//! Planning the end of services.

use std::collections::BTreeSet;

use super::Observed;
use super::label::{SERVICE, is_ours};
use crate::podman::{Container, ContainerState};

/// What a stop does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stop {
    /// The containers that run and are stopped: service, container, the second it was started.
    pub running: Vec<(String, String, Option<i64>)>,
    /// The services that have nothing running.
    pub idle: Vec<String>,
    /// The pods of which nothing runs afterwards: stopped, which frees their ports.
    pub pods: Vec<String>,
    /// The containers to be removed.
    pub remove_containers: Vec<String>,
    /// The pods to be removed.
    pub remove_pods: Vec<String>,
    /// The network to be removed, when nothing of ours or anybody's is left on it.
    pub remove_network: Option<String>,
}

/// Plans the end of these services' containers, and their removal.
///
/// `network` is the name of ours.
#[must_use]
pub fn stop(services: &[String], observed: &Observed, remove: bool, network: &str) -> Stop {
    let mut plan = Stop::default();
    let service_of = |container: &Container| container.labels.get(SERVICE).cloned();
    let named = |container: &&Container| {
        is_ours(&container.labels) && service_of(container).is_some_and(|service| services.contains(&service))
    };
    let chosen: Vec<&Container> = observed.containers.iter().filter(named).collect();
    for service in services {
        let running = chosen.iter().filter(|container| {
            container.state == ContainerState::Running && service_of(container).as_ref() == Some(service)
        });
        let before = plan.running.len();
        plan.running.extend(running.map(|container| (service.clone(), container.name.clone(), container.started_at)));
        if plan.running.len() == before {
            plan.idle.push(service.clone());
        }
    }
    let chosen_names: BTreeSet<&str> = chosen.iter().map(|container| container.name.as_str()).collect();
    let runs =
        |name: &str| observed.container(name).is_some_and(|container| container.state == ContainerState::Running);
    let ours = || observed.pods.iter().filter(|pod| is_ours(&pod.labels));
    let touched =
        |pod: &&crate::podman::Pod| chosen.iter().any(|container| container.pod.as_deref() == Some(pod.name.as_str()));
    for pod in ours().filter(touched) {
        let stays = |name: &String| !chosen_names.contains(name.as_str());
        if remove && !pod.containers.iter().any(stays) {
            plan.remove_pods.push(pod.name.clone());
        } else if pod.up && !pod.containers.iter().any(|name| stays(name) && runs(name)) {
            plan.pods.push(pod.name.clone());
        }
    }
    if remove {
        plan.remove_containers = chosen.iter().map(|container| container.name.clone()).collect();
        let pod_stays = ours().any(|pod| !plan.remove_pods.contains(&pod.name));
        let on_network = |container: &Container| {
            container.networks.iter().any(|name| name == network) && !chosen_names.contains(container.name.as_str())
        };
        let there = observed.network(network).is_some_and(|found| is_ours(&found.labels));
        if there && !pod_stays && !observed.containers.iter().any(on_network) {
            plan.remove_network = Some(network.to_owned());
        }
    }
    plan
}
