//! Where packets are sent from: the host, and the networks of services that run.

use std::os::unix::fs::MetadataExt;

use crate::config::{Config, NetworkMode, Service, ServiceName};
use crate::egress::{EgressPath, NetworkPath, survey};
use crate::plan::container_made_for;
use crate::podman::{Container, ContainerState, Podman};

/// A place that packets are sent from, beside the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The network's name.
    pub name: String,
    /// The services on it.
    pub services: Vec<String>,
    /// How their packets get to the host's routing.
    pub way: EgressPath,
    /// A process in the network.
    pub pid: u32,
}

/// The places of services: those on the host's network, and each further network once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The services on the host's own network.
    pub host: Vec<String>,
    /// The others.
    pub networks: Vec<Place>,
}

/// Looks where the services are; `services` are those that are asked about.
///
/// # Errors
/// podman's.
pub async fn places(
    podman: &impl Podman,
    config: &Config,
    services: &[(&ServiceName, &Service)],
) -> crate::podman::Result<Places> {
    let (containers, networks) = (podman.containers().await?, podman.networks().await?);
    let network = networks.iter().find(|network| network.name == config.runtime.network_name.as_str());
    let facts = survey(podman, network, &config.runtime);
    let mut places = Places::default();
    for (name, service) in services {
        if service.network_mode == NetworkMode::Host {
            places.host.push(name.to_string());
            continue;
        }
        let container = container_made_for(name.as_str(), Some(service.container.as_str()), &containers);
        // Where nothing runs nothing can be measured, and nothing hangs.
        let Some(pid) = pid_of(podman, container).await else { continue };
        // Containers on one network share its way; a pod's share even the namespace.
        match places.networks.first_mut() {
            Some(place) => place.services.push(name.to_string()),
            None => places.networks.push(Place {
                name: config.runtime.network_name.to_string(),
                services: vec![name.to_string()],
                way: facts.path(service.network_mode),
                pid,
            }),
        }
    }
    // Nothing leads out of these, or past the host's routing.
    places.networks.retain(|place| !matches!(place.way.passage, NetworkPath::None));
    Ok(places)
}

/// The first process of a container that runs in a network of its own.
async fn pid_of(podman: &impl Podman, container: Option<&Container>) -> Option<u32> {
    let container = container.filter(|container| container.state == ContainerState::Running)?;
    let pid = podman.inspect_container(&container.name).await.ok()?.pid?;
    // One that shares our own network is no other place. Where we may not look, it is.
    let namespace = |process: &str| std::fs::metadata(format!("/proc/{process}/ns/net")).ok().map(|file| file.ino());
    let own = namespace("self");
    (namespace(&pid.to_string()).is_none_or(|other| Some(other) != own)).then_some(pid)
}
