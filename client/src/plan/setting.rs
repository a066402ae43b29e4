//! The settings that are read back, and where each stands in the configuration.

use crate::podman::ContainerOption;

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
    /// One of those that go to podman as they are written.
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
    /// The controller of the kernel's cgroups that enforces it, which rootless podman may have no right to.
    #[must_use]
    pub fn controller(self) -> Option<&'static str> {
        match self {
            Self::PidsLimit => Some("pids"),
            Self::Memory => Some("memory"),
            Self::Cpus => Some("cpu"),
            _ => None,
        }
    }

    /// Where it stands in the configuration.
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
