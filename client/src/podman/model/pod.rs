//! Pods.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Endpoint;

/// A pod to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodSpec {
    /// Its name.
    pub name: String,
    /// The way onto the network for all its containers.
    pub endpoint: Endpoint,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

/// A pod as podman reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The names of its containers but the one that holds the network.
    pub containers: Vec<String>,
    /// Whether its network, with the ports of the host, is up.
    pub up: bool,
}
