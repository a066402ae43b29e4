//! The owner of a service's endpoint on the network: its pod or its container. Endpoints can have fixed addresses, for a podman that cannot
//! both resolve aliases and use given DNS servers.
//!
//! Before 4.4, podman writes the DNS servers of a container into its resolv.conf in place of the network's name
//! service: aliases then resolve nowhere. There, every endpoint gets a fixed address and every container the
//! names of all others in /etc/hosts, which is asked before any DNS server.

use std::collections::BTreeMap;

use crate::config::Service;
use crate::podman::{Endpoint, Pin};

/// A pod or a container with an endpoint of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EndpointOwner {
    /// A pod, for all its containers.
    Pod(String),
    /// A container without a pod.
    Container(String),
}

impl EndpointOwner {
    /// The owner of the endpoint that a service uses, unless it is on the host's network.
    pub(super) fn of(service: &Service) -> Self {
        match &service.pod {
            Some(pod) => Self::Pod(pod.to_string()),
            None => Self::Container(service.container.to_string()),
        }
    }
}

/// Gives every endpoint a place, counted from the end of the subnet in the order of their names, and tells every
/// one about all.
pub(super) fn pin(endpoints: &mut BTreeMap<EndpointOwner, Endpoint>) {
    let places = || 1u32..;
    let neighbours: Vec<(String, u32)> = endpoints
        .iter()
        .zip(places())
        .flat_map(|((owner, endpoint), place)| {
            let (EndpointOwner::Pod(name) | EndpointOwner::Container(name)) = owner;
            // podman itself lets a container or pod be found by its own name.
            let mut names: Vec<String> = endpoint.aliases.clone();
            if !names.contains(name) {
                names.push(name.clone());
            }
            names.into_iter().map(move |name| (name, place))
        })
        .collect();
    for (endpoint, own) in endpoints.values_mut().zip(places()) {
        endpoint.pin = Some(Pin { own, neighbours: neighbours.clone() });
    }
}
