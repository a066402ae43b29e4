//! Exports the configured services for systemd (podman's Quadlet) or for a Kubernetes cluster.
//!
//! Each format is derived from [`crate::plan::Desired`], like a `start`. Settings that a
//! format cannot express become warnings.

pub mod kube;
pub mod quadlet;

#[cfg(test)]
mod tests;

use crate::config::{Cli, Config, DnsServers, NetworkMode, StatusRange};
use crate::plan::{Desired, HostContext, Launch, UnknownService, chosen};
use crate::podman::{Endpoint, Networking, Version};
use crate::port::{HostPort, PublishedPort};
use crate::secret::SecretValues;

/// The podman version that exports are written for.
const PODMAN: Version = Version { major: 5, minor: 0 };

/// The result of an export.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// The files.
    pub files: Vec<File>,
    /// Settings that the files cannot express, a sentence each.
    pub warnings: Vec<String>,
}

/// A file.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Its name within the export's folder.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether it holds a secret, so that only its owner may read it.
    pub private: bool,
}

/// The services to export.
#[derive(Debug)]
pub struct ExportSet<'a> {
    /// Their desired state.
    pub desired: Desired,
    /// The timeouts of `start` and `stop`.
    pub timeouts: &'a Cli,
    /// The known values of secrets.
    pub secrets: SecretValues,
}

impl<'a> ExportSet<'a> {
    /// The named services; every enabled one if none is named. Nothing of other services is
    /// exported, not even their ports in a shared pod.
    ///
    /// # Errors
    /// A service does not exist or is disabled.
    pub fn of(config: &'a Config, names: &[String], host_context: &HostContext) -> Result<Self, UnknownService> {
        let asked: Vec<_> = chosen(config, names, false)?.into_iter().map(|(name, _)| name.clone()).collect();
        let mut alone = config.clone();
        alone.services.retain(|name, _| asked.contains(name));
        let services = alone.services.iter().collect::<Vec<_>>();
        let desired = Desired::from_config(&alone, &services, PODMAN, host_context);
        Ok(Self { desired, timeouts: &config.cli, secrets: SecretValues::default() })
    }
}

/// Warnings about settings that no format can express, because every start determines their values.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let on_network = config.enabled().any(|(_, service)| service.network_mode == NetworkMode::Pod);
    let found_at_start = on_network && config.runtime.network.dns_servers == DnsServers::Auto;
    let auto = "`runtime.network.dns_servers = \"auto\"` is found out at every `airpods start`: the export has the host's own \
                servers";
    found_at_start.then(|| auto.to_owned()).into_iter().collect()
}

/// Warnings about the GPUs that a service names and this machine lacks.
fn missing_gpus(launch: &Launch) -> impl Iterator<Item = String> {
    launch.missing_gpus.iter().map(|gpu| {
        format!("`services.{}.gpu.device`: this host has no GPU `{gpu}`, so the export has none", launch.service)
    })
}

/// The ports of a container, with the host ports that lead to them.
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

/// The endpoint of a container, its own or its pod's; none on the host's network.
fn endpoint<'a>(desired: &'a Desired, launch: &'a Launch) -> Option<&'a Endpoint> {
    match &launch.container.networking {
        Networking::Own(endpoint) => Some(endpoint),
        Networking::Pod(pod) => desired.pods.get(pod).map(|pod| &pod.endpoint),
        Networking::Host => None,
    }
}

/// Whether a range of status codes is 200 to 299 or 200 to 399. The probers here do not distinguish
/// the two.
fn is_success(range: StatusRange) -> bool {
    let edges = [(199, false), (200, true), (299, true), (400, false)];
    edges.iter().all(|&(code, within)| range.contains(code) == within) && range.contains(300) == range.contains(399)
}
