//! The expected properties of a container that runs.

use std::path::Path;

use crate::podman::{ContainerSpec, Endpoint, Networking};
use crate::port::HostPort;

/// The expected properties of a running container.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The container.
    pub spec: ContainerSpec,
    /// Its way onto the network, its own or its pod's; none on the host's network.
    pub endpoint: Option<Endpoint>,
    /// The MTU of its links, where it is configured.
    pub mtu: Option<u32>,
    /// It does something once and may have ended.
    pub oneshot: bool,
}

impl Expected {
    /// The expectation for these settings, by its own endpoint or its pod's, on a network of this MTU.
    #[must_use]
    pub fn of(spec: &ContainerSpec, endpoint: Option<Endpoint>, mtu: Option<u32>) -> Self {
        let endpoint = endpoint.filter(|_| spec.networking != Networking::Host);
        let mtu = mtu.filter(|_| endpoint.is_some());
        Self { spec: spec.clone(), endpoint, mtu, oneshot: false }
    }

    /// The paths of the host that it mounts.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.spec.sources()
    }

    /// The ports of the host on which somebody must listen.
    #[must_use]
    pub fn host_ports(&self) -> Vec<HostPort> {
        self.endpoint.iter().flat_map(|endpoint| &endpoint.ports).map(|port| port.host).collect()
    }
}
