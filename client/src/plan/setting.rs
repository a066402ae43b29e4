//! The settings that are read back: their place in the configuration, their expected values, and
//! the words for a difference.

use std::fmt;
use std::path::Path;

use crate::podman::{ContainerOption, ContainerSpec, Endpoint, HostFacts, Networking};
use crate::port::HostPort;

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
    /// `runtime.network.mtu`, on the links of the container.
    NetworkMtu,
    /// `ports`.
    Ports,
    /// `ports`, on the host.
    Listening,
    /// `pids_limit`.
    PidsLimit,
    /// `resources.memory`.
    Memory,
    /// `resources.cpus`.
    Cpus,
    /// `runtime.restart_policy`.
    Restart,
    /// `image`.
    Image,
    /// `entrypoint_override`, with `command_args`.
    Entrypoint,
    /// `command_args` alone.
    Command,
    /// `env`.
    Env,
    /// `secret_env`.
    SecretEnv,
    /// `volumes`.
    Volumes,
    /// `gpu`: the devices that a service is given for it.
    Gpu,
    /// `devices`.
    Device,
    /// A setting that is passed to podman unchanged.
    Option(ContainerOption),
    /// `labels`.
    Labels,
    /// `extra_hosts`.
    Hosts,
    /// `networks`.
    Networks,
    /// `health.command`.
    Health,
    /// `health.timeout`, of a command.
    HealthTimeout,
}

impl Setting {
    /// The cgroup controller that enforces the setting. Rootless podman may have no right to use
    /// it.
    #[must_use]
    pub fn controller(self) -> Option<&'static str> {
        match self {
            Self::PidsLimit => Some("pids"),
            Self::Memory => Some("memory"),
            Self::Cpus => Some("cpu"),
            _ => None,
        }
    }

    /// The place of the setting in the configuration.
    #[must_use]
    pub fn place(self, service: &str) -> String {
        let key = match self {
            Self::Network => return "runtime.network_name".to_owned(),
            Self::DnsServers => return "runtime.network.dns_servers".to_owned(),
            Self::NetworkMtu => return "runtime.network.mtu".to_owned(),
            Self::NetworkMode => "network_mode",
            Self::Aliases => "network_aliases",
            Self::Ports | Self::Listening => "ports",
            Self::PidsLimit => "pids_limit",
            Self::Memory => "resources.memory",
            Self::Cpus => "resources.cpus",
            Self::Image => "image",
            Self::Entrypoint => "entrypoint_override",
            Self::Command => "command_args",
            Self::Env => "env",
            Self::SecretEnv => "secret_env",
            Self::Volumes => "volumes",
            Self::Restart => "restart_policy",
            Self::Gpu => "gpu",
            Self::Device => "devices",
            Self::Option(option) => option.row().key,
            Self::Labels => "labels",
            Self::Hosts => "extra_hosts",
            Self::Networks => "networks",
            Self::Health => "health.command",
            Self::HealthTimeout => "health.timeout",
        };
        format!("services.{service}.{key}")
    }
}

/// The source of the observed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// podman's report.
    Podman,
    /// The kernel, which enforces the setting.
    Kernel,
    /// systemd, whose unit around the container has a limit of its own.
    Systemd,
}

/// A setting whose value is not the desired one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The setting.
    pub setting: Setting,
    /// The source of `found`.
    pub source: Source,
    /// The desired value.
    pub wanted: String,
    /// The observed value.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, found, .. } = self;
        let who = match self.source {
            Source::Podman => "podman",
            Source::Kernel => "the kernel",
            Source::Systemd => "systemd's unit",
        };
        match self.setting {
            // A variable may hold a password: its value is compared and never shown.
            Setting::Env | Setting::SecretEnv => write!(f, "`{wanted}` was given a value and {who} has {found}"),
            Setting::Listening => write!(f, "port `{wanted}` was asked for and nothing listens on it"),
            _ => write!(f, "`{wanted}` was asked for and {who} has `{found}`"),
        }
    }
}

impl Difference {
    /// The reason that podman cannot apply the setting on this host; none if it should have.
    #[must_use]
    pub fn excuse(&self, facts: &HostFacts) -> Option<String> {
        if self.source == Source::Systemd {
            return Some("raise `DefaultTasksMax=` of systemd".to_owned());
        }
        let controller = self.setting.controller().filter(|_| facts.rootless)?;
        if !facts.cgroups_v2 {
            return Some("cgroups v1".to_owned());
        }
        let delegated = facts.cgroup_controllers.iter().any(|name| name == controller);
        (!delegated).then(|| format!("the {controller} controller is not delegated to this user"))
    }

    /// The warning about a limit that this host cannot enforce.
    #[must_use]
    pub fn warning(&self, service: &str, why: &str) -> String {
        let place = self.setting.place(service);
        if self.source == Source::Systemd {
            return format!("`{place}` is not reached: {self}; {why}");
        }
        format!("`{place}` is not enforced: {self}; rootless podman cannot limit it here ({why})")
    }
}

/// The expected properties of a running container.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The desired spec.
    pub spec: ContainerSpec,
    /// Its own endpoint or its pod's; none on the host's network.
    pub endpoint: Option<Endpoint>,
    /// The configured MTU of its links in bytes.
    pub mtu: Option<u32>,
    /// It runs once and may have ended.
    pub oneshot: bool,
}

impl Expected {
    /// The expected properties of a container with this spec and endpoint, on a network with this
    /// MTU.
    #[must_use]
    pub fn of(spec: &ContainerSpec, endpoint: Option<Endpoint>, mtu: Option<u32>) -> Self {
        let endpoint = endpoint.filter(|_| spec.networking != Networking::Host);
        let mtu = mtu.filter(|_| endpoint.is_some());
        Self { spec: spec.clone(), endpoint, mtu, oneshot: false }
    }

    /// The host paths that it mounts.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.spec.sources()
    }

    /// The host ports on which a program must listen.
    #[must_use]
    pub fn host_ports(&self) -> Vec<HostPort> {
        self.endpoint.iter().flat_map(|endpoint| &endpoint.ports).map(|port| port.host).collect()
    }
}
