//! The same services and settings for what a user may grow into: systemd, by podman's Quadlet, or a Kubernetes cluster.
//!
//! Each format is a function of [`Desired`](crate::plan::Desired), which `start` launches from as well. Settings that a
//! format cannot express are among the warnings.

pub mod kube;
pub mod quadlet;

#[cfg(test)]
mod tests;

use crate::config::{Cli, Config, DnsServers, NetworkMode, StatusRange};
use crate::plan::{Desired, HostContext, Launch, UnknownService, chosen};
use crate::podman::{Endpoint, Networking, Version};
use crate::port::{HostPort, PublishedPort};
use crate::secret::SecretValues;

/// The podman that is written for: what it can do decides how a launch is put.
const PODMAN: Version = Version { major: 5, minor: 0 };

/// The result of an export.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// The files.
    pub files: Vec<File>,
    /// Settings that they cannot express, a sentence each.
    pub warnings: Vec<String>,
}

/// A file.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Its name within the folder of the export.
    pub name: String,
    /// Its text.
    pub text: String,
    /// It holds a secret, so that nobody but its owner may read it.
    pub private: bool,
}

/// The services to export.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The services.
    pub desired: Desired,
    /// How the command treats them: how long they have to start and to stop.
    pub habits: &'a Cli,
    /// The values of secrets that are known.
    pub secrets: SecretValues,
}

impl<'a> Subject<'a> {
    /// The services named, every enabled one when none is named. Nothing of the others comes along, not the ports that
    /// they have in a common pod.
    ///
    /// # Errors
    /// A service that there is not, or that is switched off.
    pub fn of(config: &'a Config, names: &[String], surroundings: &HostContext) -> Result<Self, UnknownService> {
        let asked: Vec<_> = chosen(config, names, false)?.into_iter().map(|(name, _)| name.clone()).collect();
        let mut alone = config.clone();
        alone.services.retain(|name, _| asked.contains(name));
        let services = alone.services.iter().collect::<Vec<_>>();
        let desired = Desired::from_config(&alone, &services, PODMAN, surroundings);
        Ok(Self { desired, habits: &config.cli, secrets: SecretValues::default() })
    }
}

/// Warnings about settings that no format can express, because every start finds out their values again.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let on_network = config.enabled().any(|(_, service)| service.network_mode == NetworkMode::Pod);
    let found_at_start = on_network && config.runtime.network.dns_servers == DnsServers::Auto;
    let auto = "`runtime.network.dns_servers = \"auto\"` is found out at every `airpods start`: the export has the host's own \
                servers";
    found_at_start.then(|| auto.to_owned()).into_iter().collect()
}

/// The ports that lead into a container, and that it has on the host.
fn ports(launch: &Launch, endpoint: Option<&Endpoint>) -> Vec<PublishedPort> {
    let of_host = launch.host_ports.iter();
    match endpoint {
        None => of_host.map(|&host| PublishedPort { host, container: host.port }).collect(),
        Some(endpoint) => {
            let lead = |&host: &HostPort| endpoint.ports.iter().find(|port| port.host == host);
            of_host.filter_map(lead).copied().collect()
        }
    }
}

/// The way onto the network that a container has, by itself or through its pod; none on the host's network.
fn endpoint<'a>(desired: &'a Desired, launch: &'a Launch) -> Option<&'a Endpoint> {
    match &launch.container.networking {
        Networking::Own(endpoint) => Some(endpoint),
        Networking::Pod(pod) => desired.pods.get(pod).map(|pod| &pod.endpoint),
        Networking::Host => None,
    }
}

/// Whether a range of status codes is 200 to 299 or 200 to 399, between which no prober here tells.
fn is_success(range: StatusRange) -> bool {
    let edges = [(199, false), (200, true), (299, true), (400, false)];
    edges.iter().all(|&(code, within)| range.contains(code) == within) && range.contains(300) == range.contains(399)
}
