//! What the simulated podman holds, and the rules within it.

use std::collections::{BTreeMap, BTreeSet};

use crate::podman::model::{ContainerSpec, ContainerState, Endpoint, Mount, Network, Networking, PodSpec};

/// Everything the simulated podman holds; two equal worlds are in the same state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// Images in storage.
    pub images: BTreeSet<String>,
    /// Images that a registry would deliver.
    pub registry: BTreeSet<String>,
    /// Networks by name.
    pub networks: BTreeMap<String, Network>,
    /// Volumes.
    pub volumes: BTreeSet<String>,
    /// Pods by name.
    pub pods: BTreeMap<String, PodSpec>,
    /// The pods whose network is up.
    pub pods_up: BTreeSet<String>,
    /// Containers by name, with what they are doing.
    pub containers: BTreeMap<String, (ContainerSpec, ContainerState)>,
}

impl World {
    /// The endpoint through which a container is reached.
    pub(super) fn endpoint(&self, spec: &ContainerSpec) -> Option<&Endpoint> {
        match &spec.networking {
            Networking::Own(endpoint) => self.containers.get(&spec.name).and_then(|(own, _)| {
                // The stored copy: it lives as long as the world.
                match &own.networking {
                    Networking::Own(stored) if stored == endpoint => Some(stored),
                    _ => None,
                }
            }),
            Networking::Pod(pod) => self.pods.get(pod).map(|pod| &pod.endpoint),
            Networking::Host => None,
        }
    }

    /// The ports that running containers hold, but this one and those of its pod.
    pub(super) fn ports_of_others(&self, spec: &ContainerSpec) -> BTreeSet<u16> {
        let same_pod = |other: &ContainerSpec| {
            matches!((&spec.networking, &other.networking),
                (Networking::Pod(a), Networking::Pod(b)) if a == b)
        };
        self.containers
            .values()
            .filter(|(other, state)| *state == ContainerState::Running && other.name != spec.name && !same_pod(other))
            .filter_map(|(other, _)| self.endpoint(other))
            .flat_map(|endpoint| endpoint.ports.iter().map(|port| port.host))
            .collect()
    }

    pub(super) fn in_use(&self, network: &str) -> bool {
        let on = |endpoint: &Endpoint| endpoint.network == network;
        self.pods.values().any(|pod| on(&pod.endpoint))
            || self
                .containers
                .values()
                .any(|(spec, _)| matches!(&spec.networking, Networking::Own(endpoint) if on(endpoint)))
    }
}

/// Whether a container mounts a volume.
pub(super) fn mounts(spec: &ContainerSpec, volume: &str) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount, Mount::Volume { name, .. } if name == volume))
}
