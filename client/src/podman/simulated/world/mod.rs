//! What the simulated podman holds, and the rules within it.

mod container;
mod network;
mod pod;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use crate::podman::{ContainerSpec, ContainerState, Network, PodSpec};

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
    /// Ids of secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Pods by name.
    pub pods: BTreeMap<String, PodSpec>,
    /// The pods whose network is up.
    pub pods_up: BTreeSet<String>,
    /// The pods whose infra container is gone.
    pub pods_broken: BTreeSet<String>,
    /// Containers by name, with what they are doing.
    pub containers: BTreeMap<String, (ContainerSpec, ContainerState)>,
}
