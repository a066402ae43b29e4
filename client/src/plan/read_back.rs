//! Compares what runs with what was asked for, setting by setting.

use std::collections::BTreeSet;
use std::fmt;

use crate::podman::{ContainerDetail, ContainerSpec, Endpoint, Limits, Networking, PublishedPort};

/// What a container must have once it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The container.
    pub container: String,
    /// Its way onto the network, its own or its pod's; none on the host's network.
    pub endpoint: Option<Endpoint>,
    /// Its limits.
    pub limits: Limits,
    /// The name of its restart policy.
    pub restart: &'static str,
}

impl Expected {
    /// What a container with these settings must have.
    #[must_use]
    pub fn of(spec: &ContainerSpec, endpoint: Option<Endpoint>) -> Self {
        Self {
            container: spec.name.clone(),
            endpoint: endpoint.filter(|_| spec.networking != Networking::Host),
            limits: spec.limits,
            restart: spec.restart.as_str(),
        }
    }
}

/// A setting that is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `network_mode`.
    NetworkMode,
    /// `runtime.network_name`.
    Network,
    /// `network_aliases`.
    Aliases,
    /// `runtime.network.dns_servers`.
    DnsServers,
    /// `ports`.
    Ports,
    /// `pids_limit`, in podman's books.
    PidsLimit,
    /// `pids_limit`, as the kernel enforces it.
    KernelPidsLimit,
    /// `resources.memory`.
    Memory,
    /// `resources.cpus`.
    Cpus,
    /// `runtime.restart_policy`.
    Restart,
}

impl Setting {
    /// Whether the kernel's cgroups enforce it, which rootless podman may have no right to.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(self, Self::PidsLimit | Self::KernelPidsLimit | Self::Memory | Self::Cpus)
    }

    /// Where it stands in the configuration.
    #[must_use]
    pub fn place(self, service: &str) -> String {
        let key = match self {
            Self::Network => return "runtime.network_name".to_owned(),
            Self::DnsServers => return "runtime.network.dns_servers".to_owned(),
            Self::Restart => return "runtime.restart_policy".to_owned(),
            Self::NetworkMode => "network_mode",
            Self::Aliases => "network_aliases",
            Self::Ports => "ports",
            Self::PidsLimit | Self::KernelPidsLimit => "pids_limit",
            Self::Memory => "resources.memory",
            Self::Cpus => "resources.cpus",
        };
        format!("services.{service}.{key}")
    }
}

/// A setting that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub setting: Setting,
    /// What was asked for.
    pub wanted: String,
    /// What there is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.setting == Setting::KernelPidsLimit { "the kernel" } else { "podman" };
        write!(f, "`{}` was asked for and {who} has `{}`", self.wanted, self.found)
    }
}

/// Compares. `kernel_pids` is what the container's cgroup says, where it can be read.
#[must_use]
pub fn read_back(expected: &Expected, detail: &ContainerDetail, kernel_pids: Option<&str>) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |setting, wanted: String, found: String| {
        if wanted != found {
            differences.push(Difference { setting, wanted, found });
        }
    };
    let mode = |host: bool| if host { "host" } else { "pod" }.to_owned();
    compare(Setting::NetworkMode, mode(expected.endpoint.is_none()), mode(detail.host_network));
    if let Some(endpoint) = &expected.endpoint {
        let names = detail.networks.keys().cloned().collect::<Vec<_>>().join(", ");
        compare(Setting::Network, endpoint.network.clone(), names);
        let found = detail.networks.get(&endpoint.network).cloned().unwrap_or_default();
        // podman adds names of its own: ids, and names of pods and containers.
        let wanted: BTreeSet<&String> = endpoint.aliases.iter().collect();
        let kept: BTreeSet<&String> = found.iter().filter(|alias| wanted.contains(alias)).collect();
        compare(Setting::Aliases, list(&wanted), list(&kept));
        compare(Setting::DnsServers, list(&endpoint.dns_servers), list(&detail.dns_servers));
        let ports = |ports: &[PublishedPort]| {
            let sorted: BTreeSet<PublishedPort> = ports.iter().copied().collect();
            list(sorted.iter().map(|port| format!("{}:{}", port.host, port.container)))
        };
        compare(Setting::Ports, ports(&endpoint.ports), ports(&detail.ports));
    }
    compare(Setting::PidsLimit, expected.limits.pids.to_string(), detail.pids_limit.to_string());
    if let Some(kernel) = kernel_pids {
        compare(Setting::KernelPidsLimit, expected.limits.pids.to_string(), kernel.to_owned());
    }
    if let Some(memory) = expected.limits.memory {
        compare(Setting::Memory, memory.to_string(), detail.memory.to_string());
    }
    if let Some(cpus) = expected.limits.cpus {
        // podman keeps a quota of whole microseconds in 100 ms: five digits.
        #[allow(clippy::cast_precision_loss, reason = "a number of CPUs is far below 2^52 billionths")]
        let found = detail.nano_cpus as f64 / 1e9;
        compare(Setting::Cpus, format!("{cpus:.5}"), format!("{found:.5}"));
    }
    compare(Setting::Restart, expected.restart.to_owned(), detail.restart.clone());
    differences
}

fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}
