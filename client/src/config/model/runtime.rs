//! `[runtime]`: how containers are run.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::Network;
use crate::config::name::{NetworkAlias, ObjectName};

/// How containers are run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Runtime {
    /// The container engine asked for. Only podman is driven; `docker` gives a warning when the file is loaded.
    pub prefer: Engine,
    /// The socket to reach podman at; `None` finds one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub podman_url: Option<PodmanUrl>,
    /// The name that containers reach the host by.
    pub host_gateway: HostGateway,
    /// The network that the services share.
    pub network_name: ObjectName,
    /// How that network is made.
    pub network: Network,
    /// Which device gives a container the GPU.
    pub gpu_device_flag: GpuDevice,
    /// When podman starts a container again by itself.
    pub restart_policy: RestartPolicy,
    /// Accepted for the earlier tool's files; no effect.
    pub cuda_version: String,
}

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Whatever there is, which is podman.
    Auto,
    /// podman.
    Podman,
    /// docker, which is not driven.
    Docker,
}

/// The socket of a podman service: `unix:///run/podman/podman.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodmanUrl(PathBuf);

impl PodmanUrl {
    /// The URL of an absolute socket path.
    #[must_use]
    pub fn from_socket(path: PathBuf) -> Option<Self> {
        path.is_absolute().then_some(Self(path))
    }

    /// The socket's absolute path.
    #[must_use]
    pub fn socket(&self) -> &std::path::Path {
        &self.0
    }
}

impl fmt::Display for PodmanUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

impl Serialize for PodmanUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name or the address by which containers reach the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostGateway {
    /// podman's own name, `host.containers.internal`.
    Auto,
    /// Another name.
    Name(NetworkAlias),
    /// An address.
    Address(IpAddr),
}

impl HostGateway {
    /// What a template `{{runtime.host_gateway}}` becomes.
    #[must_use]
    pub fn resolved(&self) -> String {
        match self {
            Self::Auto => "host.containers.internal".to_owned(),
            Self::Name(name) => name.to_string(),
            Self::Address(address) => address.to_string(),
        }
    }
}

impl Serialize for HostGateway {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            named => serializer.serialize_str(&named.resolved()),
        }
    }
}

/// Which device gives a container the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuDevice {
    /// CDI's `nvidia.com/gpu=all` where the machine describes such a device, else none.
    Auto,
    /// None, whatever there is.
    None,
    /// A CDI name (`vendor/class=device`) or a path under `/dev`.
    Device(String),
    /// One of those that `Auto` finds, by the number or name that it has there.
    One(String),
}

impl Serialize for GpuDevice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Device(device) | Self::One(device) => device,
        })
    }
}

/// When podman starts a container again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    No,
    /// When it failed.
    OnFailure,
    /// Always.
    Always,
    /// Unless somebody stopped it.
    UnlessStopped,
}
