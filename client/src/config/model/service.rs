//! `[services.NAME]`: one container and all that belongs to it.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Serialize, Serializer};

use crate::config::name::{ImageName, NetworkAlias, ObjectName, ServiceName};
use crate::config::port::PortMapping;
use crate::config::quantity::{Cpus, Memory, PidsLimit, StatusRange};
use crate::config::runtime::{GpuDevice, RestartPolicy};
use crate::podman::{HealthTiming, Options, Relabel, SecretSource};
use crate::port::HostPort;

/// One container that is launched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Whether `start` without names starts it.
    pub enabled: bool,
    /// Its image, with its registry.
    pub image: ImageName,
    /// The pod that it shares with every service that names the same one; `None`, or `network_mode`
    /// host: no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// Its container's name, unique among the services.
    pub container: ObjectName,
    /// The network it is on.
    pub network_mode: NetworkMode,
    /// The names by which other services reach it. Empty with [`NetworkMode::Host`], which has no
    /// such names.
    pub network_aliases: Vec<NetworkAlias>,
    /// Upper bound on its processes and threads.
    pub pids_limit: PidsLimit,
    /// The ports that lead into it. With [`NetworkMode::Host`] it listens on the host itself, on
    /// the `container` ports; see [`Service::host_ports`].
    pub ports: Vec<PortMapping>,
    /// Its volumes, by their names in the file.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub volumes: IndexMap<String, Volume>,
    /// Whether it gets the GPU.
    pub gpu: Gpu,
    /// Its health check; without one, airpods only knows whether it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its environment, templates replaced.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Files with further variables; those of `env` take precedence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_file: Vec<EnvFile>,
    /// Variables whose values are secret, and where each is kept. They take precedence over those
    /// of `env_file`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub secret_env: IndexMap<String, SecretSource>,
    /// Its limits.
    #[serde(skip_serializing_if = "Resources::is_unlimited")]
    pub resources: Resources,
    /// The settings that podman takes as they are.
    #[serde(flatten)]
    pub options: Options,
    /// Labels of its container.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// Devices in addition to the GPU's: CDI names, or paths as `HOST[:CONTAINER[:rwm]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Names in its `/etc/hosts`, as `NAME:ADDRESS`; the address may be `host-gateway`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Existing networks that it joins as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<ObjectName>,
    /// The services that are started before it, and the condition that each must meet.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub depends_on: IndexMap<ServiceName, Condition>,
    /// When podman restarts it by itself; `None` is `runtime.restart_policy`, and never for a
    /// one-shot service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Whether it does something once and ends.
    #[serde(skip_serializing_if = "is_false")]
    pub oneshot: bool,
    /// The model for templates to name; it has no effect by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// Keys of the built-in defaults that are removed from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// When its image is pulled.
    #[serde(skip_serializing_if = "Pull::is_missing")]
    pub pull: Pull,
    /// Whether it gets `WEBUI_SECRET_KEY`, see [`crate::webui_secret`].
    pub needs_webui_secret: bool,
    /// Arguments in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_args: Option<Vec<String>>,
    /// The program, with its first arguments, in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint_override: Option<Vec<String>>,
}

impl Service {
    /// Every port of the host that it occupies, with the index of its mapping. If it shares the
    /// host's network, these are the container's own ports.
    pub fn placed_ports(&self) -> impl Iterator<Item = (usize, HostPort)> {
        let of_mapping = |mapping: PortMapping| -> Vec<HostPort> {
            match self.network_mode {
                NetworkMode::Pod => mapping.pairs().map(|(host, _)| host).collect(),
                NetworkMode::Host => mapping.own().collect(),
            }
        };
        let mappings = self.ports.iter().copied().enumerate();
        mappings.flat_map(move |(index, mapping)| of_mapping(mapping).into_iter().map(move |port| (index, port)))
    }

    /// Every port of the host that it occupies.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort> {
        self.placed_ports().map(|(_, port)| port)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(on: &bool) -> bool {
    !on
}

/// A file with variables, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Its variables.
    pub variables: Vec<(String, String)>,
}

impl Serialize for EnvFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(serializer)
    }
}

/// The condition that a service must meet before one that depends on it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It was started.
    Started,
    /// It is healthy.
    Healthy,
    /// It has ended successfully.
    Completed,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// If it is missing.
    #[default]
    Missing,
    /// Whenever a container is made from it.
    Always,
    /// Never: it must be there.
    Never,
}

impl Pull {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_missing(&self) -> bool {
        *self == Self::Missing
    }
}

/// The network that a service is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The network of the services.
    Pod,
    /// The host's own.
    Host,
}

/// Data that outlives the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Where it lies.
    pub source: VolumeSource,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether the container must not write there.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// The `SELinux` label it gets. `None`: a folder of airpods gets the label that all containers
    /// share, any other keeps its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relabel: Option<Relabel>,
}

/// Where a volume lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A folder under the data folder, `bind://relative` in the file. airpods owns it and makes it
    /// if it is missing.
    Data {
        /// The absolute path, checked to lie under the data folder.
        path: PathBuf,
        /// The path below the data folder.
        relative: PathBuf,
    },
    /// A folder or file of the host, absolute. airpods never makes it and never relabels it.
    Host(PathBuf),
    /// A volume that podman keeps.
    Named(ObjectName),
}

impl Serialize for VolumeSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Data { relative, .. } => serializer.collect_str(&format_args!("bind://{}", relative.display())),
            Self::Host(path) => path.serialize(serializer),
            Self::Named(name) => name.serialize(serializer),
        }
    }
}

/// Whether a service gets the GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Use a GPU if there is one.
    pub enabled: bool,
    /// Use none, even with `enabled`.
    pub force_cpu: bool,
    /// The devices, in place of `runtime.gpu_device_flag`; empty means that setting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device: Vec<GpuDevice>,
}

impl Gpu {
    /// Whether a device is wanted.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.enabled && !self.force_cpu
    }
}

/// The health check of a service, and its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The check.
    #[serde(flatten)]
    pub test: HealthTest,
    /// Its times and retries.
    #[serde(flatten)]
    pub times: HealthTiming,
}

/// The request of the health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HealthTest {
    /// `GET http://127.0.0.1:PORT` + `path`, on its first TCP port.
    Http {
        /// Begins with `/`.
        path: String,
        /// The codes that mean healthy.
        expected_status: StatusRange,
    },
    /// A command in the container that must succeed.
    Command {
        /// podman's form: after `CMD-SHELL` a line for a shell, after `CMD` a program with its
        /// arguments.
        command: Vec<String>,
    },
}

/// The limits of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Resources {
    /// Memory; `None` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// CPUs; `None` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
}

impl Resources {
    fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}
