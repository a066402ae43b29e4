//! The desired spec of a container, and the request by which libpod creates it (`pkg/specgen` of
//! podman).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::Period;
use crate::podman::network::NetworkPart;
use crate::podman::storage::without_paths;
use crate::podman::{ContainerOption, Networking, Options, SecretSource, option};
use crate::secret::SecretValues;

/// The desired spec of a container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// Its image, with registry and tag.
    pub image: String,
    /// How it is connected.
    pub networking: Networking,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// The sources of secret variables. Their values are put into `env` only shortly before use, so
    /// that this spec can be printed. Values of podman's secrets never are.
    #[serde(serialize_with = "without_paths")]
    pub secret_env: BTreeMap<String, SecretSource>,
    /// Arguments that replace the image's.
    pub command: Option<Vec<String>>,
    /// Program that replaces the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Volumes and folders.
    pub mounts: Vec<Mount>,
    /// The limits that the kernel enforces.
    pub limits: Limits,
    /// When podman restarts it.
    pub restart: Restart,
    /// The GPU devices: paths, or CDI names such as `nvidia.com/gpu=all`.
    pub gpu: Vec<String>,
    /// Further devices: CDI names, or paths as `HOST[:CONTAINER[:rwm]]`.
    pub devices: Vec<String>,
    /// The settings that are passed to podman unchanged.
    pub options: Options,
    /// Further names in `/etc/hosts`, as `NAME:ADDRESS`. In a pod they belong to the pod.
    pub hosts: Vec<String>,
    /// The health command, beginning with `CMD` or `CMD-SHELL`.
    pub health: Option<Vec<String>>,
    /// How long the health command may take; none is podman's default.
    pub health_timeout: Option<Period>,
    /// Whether to turn `SELinux` separation off, as GPU devices need.
    pub label_disable: bool,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// The host paths that it mounts.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind { source, .. } => Some(source.as_path()),
            Mount::Volume { .. } => None,
        })
    }

    /// The host paths of its devices.
    pub fn device_paths(&self) -> impl Iterator<Item = &Path> {
        let paths = self.gpu.iter().chain(&self.devices).filter(|device| device.starts_with('/'));
        paths.filter_map(|device| device.split(':').next()).map(Path::new)
    }

    /// Puts the known values of secret variables into `env`.
    pub fn give_secrets(&mut self, values: &SecretValues) {
        let known = self.secret_env.iter().filter_map(|(name, source)| Some((name, values.get(source)?)));
        self.env.extend(known.map(|(name, value)| (name.clone(), value.expose().to_owned())));
    }

    /// The secret variables whose values airpods reads itself, with their sources.
    pub fn secrets_of_ours(&self) -> impl Iterator<Item = (&str, &SecretSource)> {
        let ours = self.secret_env.iter().filter(|(_, source)| !matches!(source, SecretSource::Podman(_)));
        ours.map(|(variable, source)| (variable.as_str(), source))
    }

    /// The variables that hold a podman secret, with the secret's name.
    pub fn podman_secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secret_env.iter().filter_map(|(variable, source)| match source {
            SecretSource::Podman(name) => Some((variable.as_str(), name.as_str())),
            SecretSource::WebUi | SecretSource::File(_) => None,
        })
    }
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Mount {
    /// A volume that podman keeps.
    Volume {
        /// The volume's name.
        name: String,
        /// Absolute path in the container.
        target: PathBuf,
        /// Whether the container must not write there.
        read_only: bool,
    },
    /// A folder of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path in the container.
        target: PathBuf,
        /// Whether the container must not write there.
        read_only: bool,
        /// podman's use of its `SELinux` label.
        relabel: Relabel,
    },
}

impl Mount {
    /// Its path in the container.
    #[must_use]
    pub fn target(&self) -> &Path {
        let (Self::Volume { target, .. } | Self::Bind { target, .. }) = self;
        target
    }

    /// Whether the container must not write there.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let (Self::Volume { read_only, .. } | Self::Bind { read_only, .. }) = self;
        *read_only
    }
}

/// podman's use of the `SELinux` label of a mounted folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    /// Keep it. Containers may then be denied access to the folder.
    #[default]
    No,
    /// Change it so that every container can use the folder.
    Shared,
    /// Change it so that only this container can use the folder.
    Private,
}

impl Relabel {
    /// podman's letter for it (podman-run(1), `--volume`).
    #[must_use]
    pub fn option(self) -> Option<&'static str> {
        match self {
            Self::No => None,
            Self::Shared => Some("z"),
            Self::Private => Some("Z"),
        }
    }
}

/// The limits that the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// The number of processes and threads.
    pub pids: u32,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// The number of CPUs; 1.5 means one and a half.
    pub cpus: Option<f64>,
}

impl Limits {
    /// The period of a CPU quota in microseconds; podman's default.
    pub const CPU_PERIOD: u64 = 100_000;

    /// The quota for this number of CPUs, in microseconds per [`Self::CPU_PERIOD`].
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a quota of microseconds far below 2^52"
    )]
    pub fn cpu_quota(cpus: f64) -> i64 {
        (cpus * Self::CPU_PERIOD as f64).round() as i64
    }
}

/// When podman restarts a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// After a failure.
    OnFailure,
    /// Always.
    Always,
    /// Unless the user stopped it.
    UnlessStopped,
}

impl Restart {
    /// podman's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// How long a health command may take, in nanoseconds; podman's default.
const HEALTH_TIMEOUT: u128 = 30_000_000_000;

/// The request by which libpod creates a container.
#[derive(Serialize)]
pub(in crate::podman) struct ContainerBody<'a> {
    name: &'a str,
    image: &'a str,
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(flatten)]
    network: NetworkPart<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: &'a BTreeMap<String, String>,
    /// Names of podman secrets, by variable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secret_env: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<MountBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<NamedVolume<'a>>,
    resource_limits: LimitsBody,
    restart_policy: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<DeviceBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthconfig: Option<HealthBody<'a>>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// The health check, without an interval: podman would run it by itself through systemd timers,
/// which need systemd.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthBody<'a> {
    test: &'a [String],
    /// In nanoseconds.
    timeout: u128,
    retries: u32,
}

#[derive(Serialize)]
struct MountBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'a Path,
    destination: &'a Path,
    options: Vec<&'a str>,
}

#[derive(Serialize)]
struct NamedVolume<'a> {
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(rename = "Dest")]
    dest: &'a Path,
    #[serde(rename = "Options", skip_serializing_if = "Vec::is_empty")]
    options: Vec<&'static str>,
}

#[derive(Serialize)]
struct LimitsBody {
    pids: LimitBody<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<LimitBody<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuBody>,
}

#[derive(Serialize)]
struct LimitBody<T> {
    limit: T,
}

#[derive(Serialize)]
struct CpuBody {
    quota: i64,
    period: u64,
}

#[derive(Serialize)]
struct DeviceBody<'a> {
    path: &'a str,
}

impl<'a> From<&'a ContainerSpec> for ContainerBody<'a> {
    fn from(spec: &'a ContainerSpec) -> Self {
        let (pod, network) = match &spec.networking {
            Networking::Own(endpoint) => (None, NetworkPart::own(endpoint, &spec.hosts)),
            Networking::Pod(pod) => (Some(pod.as_str()), NetworkPart::unconnected(None, &[])),
            Networking::Host => (None, NetworkPart::unconnected(Some("host"), &spec.hosts)),
        };
        let mut mounts = Vec::new();
        let mut volumes = Vec::new();
        for tmpfs in spec.options.get(ContainerOption::Tmpfs) {
            let (path, options) = tmpfs.split_once(':').unwrap_or((tmpfs, ""));
            let options = options.split(',').filter(|option| !option.is_empty()).collect();
            let (source, destination) = (Path::new("tmpfs"), Path::new(path));
            mounts.push(MountBody { kind: "tmpfs", source, destination, options });
        }
        for mount in &spec.mounts {
            match mount {
                Mount::Volume { name, target, read_only } => {
                    let options = read_only.then_some("ro").into_iter().collect();
                    volumes.push(NamedVolume { name, dest: target, options });
                }
                Mount::Bind { source, target, read_only, relabel } => {
                    let options = [Some("rbind"), read_only.then_some("ro"), relabel.option()];
                    let options = options.into_iter().flatten().collect();
                    mounts.push(MountBody { kind: "bind", source, destination: target, options });
                }
            }
        }
        Self {
            name: &spec.name,
            image: &spec.image,
            labels: &spec.labels,
            pod,
            network,
            env: &spec.env,
            secret_env: spec.podman_secrets().collect(),
            command: spec.command.as_deref(),
            entrypoint: spec.entrypoint.as_deref(),
            mounts,
            volumes,
            resource_limits: LimitsBody::from(&spec.limits),
            restart_policy: spec.restart.as_str(),
            devices: spec.gpu.iter().chain(&spec.devices).map(|path| DeviceBody { path }).collect(),
            healthconfig: spec.health.as_deref().map(|test| HealthBody::of(test, spec)),
            options: option::encode(&spec.options, spec.label_disable),
        }
    }
}

impl<'a> HealthBody<'a> {
    fn of(test: &'a [String], spec: &ContainerSpec) -> Self {
        let timeout = spec.health_timeout.map_or(HEALTH_TIMEOUT, |timeout| timeout.get().as_nanos());
        // podman calls a container unhealthy after this many failures in a row: each run decides.
        Self { test, timeout, retries: 1 }
    }
}

impl From<&Limits> for LimitsBody {
    fn from(limits: &Limits) -> Self {
        let cpu = |cpus| CpuBody { quota: Limits::cpu_quota(cpus), period: Limits::CPU_PERIOD };
        Self {
            pids: LimitBody { limit: limits.pids },
            memory: limits.memory.map(|limit| LimitBody { limit }),
            cpu: limits.cpus.map(cpu),
        }
    }
}
