//! `[services.NAME]`: one container and all that belongs to it.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Serialize, Serializer};

use crate::config::image::ImageName;
use crate::config::name::{NetworkAlias, ObjectName};
use crate::config::quantity::{Cpus, Memory, PidsLimit, PortNumber, StatusRange};

/// One container that is launched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Whether `start` without names starts it.
    pub enabled: bool,
    /// Its image, with its registry.
    pub image: ImageName,
    /// The pod it lives in together with whoever names the same one; `None`, or `network_mode` host: no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// Its container's name; no two services have the same.
    pub container: ObjectName,
    /// Which network it is on.
    pub network_mode: NetworkMode,
    /// The names by which the others find it. Empty with [`NetworkMode::Host`], where there is no such thing.
    pub network_aliases: Vec<NetworkAlias>,
    /// Most processes and threads in it.
    pub pids_limit: PidsLimit,
    /// The ports that lead into it. With [`NetworkMode::Host`] nothing leads: it listens on the host itself, on
    /// `container`; see [`Service::reachable_port`].
    pub ports: Vec<PortMapping>,
    /// What it keeps, by the name it has in the file.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub volumes: IndexMap<String, Volume>,
    /// Whether it gets the GPU.
    pub gpu: Gpu,
    /// How its health is asked for; `None`: running is all there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its environment, templates replaced.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// What it may use at most.
    #[serde(skip_serializing_if = "Resources::is_unlimited")]
    pub resources: Resources,
    /// Whether it is given `WEBUI_SECRET_KEY`, see [`crate::webui_secret`].
    pub needs_webui_secret: bool,
    /// Arguments in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_args: Option<Vec<String>>,
    /// The program, with its first arguments, in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint_override: Option<Vec<String>>,
}

impl Service {
    /// The port on 127.0.0.1 that reaches a mapping: the container's own where it shares the host's network.
    #[must_use]
    pub fn reachable_port(&self, mapping: PortMapping) -> PortNumber {
        match self.network_mode {
            NetworkMode::Pod => mapping.host,
            NetworkMode::Host => mapping.container,
        }
    }

    /// Every port of the host that it occupies.
    pub fn host_ports(&self) -> impl Iterator<Item = PortNumber> {
        self.ports.iter().map(|&mapping| self.reachable_port(mapping))
    }
}

/// Which network a service is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The network of the services.
    Pod,
    /// The host's own.
    Host,
}

/// A TCP port of the host that leads to one of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PortMapping {
    /// The port on the host.
    pub host: PortNumber,
    /// The port in the container.
    pub container: PortNumber,
}

/// Something a container keeps beyond its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Where it lies.
    pub source: VolumeSource,
    /// Absolute path in the container.
    pub target: PathBuf,
}

/// Where a volume lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A folder under the data folder, `bind://relative` in the file: ours, made when missing.
    Data {
        /// The absolute path, proven to lie under the data folder.
        path: PathBuf,
        /// The path below the data folder.
        relative: PathBuf,
    },
    /// A folder or file of the host's, absolute. Not ours: never made and never relabelled.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Use one where there is one.
    pub enabled: bool,
    /// Use none even so.
    pub force_cpu: bool,
}

impl Gpu {
    /// Whether a device is wanted.
    #[must_use]
    pub fn wanted(self) -> bool {
        self.enabled && !self.force_cpu
    }
}

/// How a service's health is asked for: `GET http://127.0.0.1:PORT` + `path`, on its first port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Begins with `/`.
    pub path: String,
    /// The codes that mean healthy.
    pub expected_status: StatusRange,
}

/// What a service may use at most.
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
