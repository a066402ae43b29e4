//! Containers: what is asked for, as a listing tells it, and as it is read back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::secret::without_paths;
use super::{Networking, Options, PublishedPort, SecretSource};
use crate::config::Period;
use crate::port::HostPort;
use crate::secret::SecretValues;

mod create;
mod detail;
mod listing;

pub(super) use create::ContainerBody;
pub(super) use detail::{DetailAnswer, HealthAnswer, Names};
pub(super) use listing::{ContainerAnswer, state};

/// A container to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// Its image, with registry and tag.
    pub image: String,
    /// How it is connected.
    pub networking: Networking,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Variables that are secret: their values come into `env` last of all, so that this value can be shown. Those of podman's
    /// own secrets never do.
    #[serde(serialize_with = "without_paths")]
    pub secret_env: BTreeMap<String, SecretSource>,
    /// Arguments in place of the image's.
    pub command: Option<Vec<String>>,
    /// Program in place of the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Volumes and folders.
    pub mounts: Vec<Mount>,
    /// The limits the kernel keeps.
    pub limits: Limits,
    /// When podman restarts it.
    pub restart: Restart,
    /// The devices of the GPU that it is given: paths, or CDI names such as `nvidia.com/gpu=all`.
    pub gpu: Vec<String>,
    /// Further devices: CDI names, or paths as `HOST[:CONTAINER[:rwm]]`.
    pub devices: Vec<String>,
    /// The value, passed to podman as written.
    pub options: Options,
    /// Further names in `/etc/hosts`, as `NAME:ADDRESS`; in a pod they are the pod's.
    pub hosts: Vec<String>,
    /// The command by which its health is asked, beginning with `CMD` or `CMD-SHELL`.
    pub health: Option<Vec<String>>,
    /// How long that command may take; none is podman's default.
    pub health_timeout: Option<Period>,
    /// Whether `SELinux` leaves it alone, as GPU devices need.
    pub label_disable: bool,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// The paths of the host that it mounts.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind { source, .. } => Some(source.as_path()),
            Mount::Volume { .. } => None,
        })
    }

    /// The paths of the host's devices that it is given.
    pub fn device_paths(&self) -> impl Iterator<Item = &Path> {
        let paths = self.gpu.iter().chain(&self.devices).filter(|device| device.starts_with('/'));
        paths.filter_map(|device| device.split(':').next()).map(Path::new)
    }

    /// Sets the secret variables whose values are known.
    pub fn give_secrets(&mut self, values: &SecretValues) {
        let known = self.secret_env.iter().filter_map(|(name, source)| Some((name, values.get(source)?)));
        self.env.extend(known.map(|(name, value)| (name.clone(), value.expose().to_owned())));
    }

    /// The variables whose secret values airpods reads itself, with where each is kept.
    pub fn secrets_of_ours(&self) -> impl Iterator<Item = (&str, &SecretSource)> {
        let ours = self.secret_env.iter().filter(|(_, source)| !matches!(source, SecretSource::Podman(_)));
        ours.map(|(variable, source)| (variable.as_str(), source))
    }

    /// The variables that are given a secret of podman's, with the secret's name.
    pub fn podman_secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secret_env.iter().filter_map(|(variable, source)| match source {
            SecretSource::Podman(name) => Some((variable.as_str(), name.as_str())),
            SecretSource::WebUi | SecretSource::File(_) => None,
        })
    }
}

/// Something of the host's within a container.
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
        /// What becomes of its `SELinux` label.
        relabel: Relabel,
    },
}

impl Mount {
    /// Where it is in the container.
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

/// What becomes of the `SELinux` label of a folder that is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    /// It stays, and containers may not use the folder where it does not let them.
    #[default]
    No,
    /// It is changed so that every container can use the folder.
    Shared,
    /// It is changed so that this container alone can.
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

/// The limits that the kernel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Processes and threads.
    pub pids: u32,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// CPUs, 1.5 being one and a half.
    pub cpus: Option<f64>,
}

impl Limits {
    /// The period against which CPU quotas are counted, in microseconds; podman's own default.
    pub const CPU_PERIOD: u64 = 100_000;

    /// The quota of so many CPUs, in microseconds of each [`Self::CPU_PERIOD`].
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

/// When podman starts a container again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// When it failed.
    OnFailure,
    /// Always.
    Always,
    /// Unless somebody stopped it.
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

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made and never started.
    Created,
    /// Running.
    Running,
    /// Ended, with this code.
    Exited(i32),
    /// Its processes are frozen.
    Paused,
    /// Being stopped, or left like that by a podman that ended meanwhile.
    Stopping,
    /// Being removed, or left like that by a podman that ended meanwhile.
    Removing,
    /// Running in podman's books, while its processes and the one that watches them are gone: a reset, or somebody's `kill -9`.
    Lost,
    /// podman itself does not know.
    Unknown,
}

impl ContainerState {
    /// podman's word for a state in which it starts no container ("container state improper"), though it may stop one that is
    /// `stopping`.
    #[must_use]
    pub fn improper(self) -> Option<&'static str> {
        match self {
            Self::Created | Self::Running | Self::Exited(_) => None,
            Self::Paused => Some("paused"),
            Self::Stopping => Some("stopping"),
            Self::Removing => Some("removing"),
            Self::Lost => Some("lost"),
            Self::Unknown => Some("unknown"),
        }
    }

    /// Whether it has processes, and with them its ports.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }

    /// Whether podman starts it once it was told to stop it. One that is lost it stops on paper, and may refuse to start all the same.
    #[must_use]
    pub fn stops_first(self) -> bool {
        self == Self::Stopping
    }
}

/// A container as a listing reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Its state.
    pub state: ContainerState,
    /// When it last started, in seconds since 1970; none if never.
    pub started_at: Option<i64>,
    /// When it last ended, in seconds since 1970; none if it never did.
    pub exited_at: Option<i64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The pod it is in.
    pub pod: Option<String>,
    /// The host ports that it, or its pod, holds.
    pub host_ports: Vec<HostPort>,
    /// The networks it is on; empty for one in a pod.
    pub networks: Vec<String>,
}

/// A container with everything that is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerDetail {
    /// Its state.
    pub state: ContainerState,
    /// How often podman has restarted it.
    pub restarts: u32,
    /// Its first process on the host; none when it does not run.
    pub pid: Option<u32>,
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its image, as it was named.
    pub image: String,
    /// The program and its arguments, the image's own among them.
    pub command: Vec<String>,
    /// Its environment, the image's and podman's own among it.
    pub env: BTreeMap<String, String>,
    /// The host's part within it.
    pub mounts: Vec<MountDetail>,
    /// The host's devices that it has.
    pub devices: Vec<PathBuf>,
    /// The value, passed to podman as written.
    pub options: Options,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The names added to `/etc/hosts`, as `NAME:ADDRESS`, those of its pod too.
    pub hosts: Vec<String>,
    /// The command by which its health is asked.
    pub health: Vec<String>,
    /// How long that command may take.
    pub health_timeout: Option<Duration>,
    /// It shares the host's network.
    pub host_network: bool,
    /// Each network it is on with its aliases, through its pod too.
    pub networks: BTreeMap<String, Vec<String>>,
    /// The ports published on the host.
    pub ports: Vec<PublishedPort>,
    /// The DNS servers it was given, through its pod too.
    pub dns_servers: Vec<IpAddr>,
    /// Its limits in podman's books; zero or less is none.
    pub pids_limit: i64,
    /// Bytes; zero is none.
    pub memory: u64,
    /// Billionths of a CPU; zero is none.
    pub nano_cpus: u64,
    /// The restart policy's name.
    pub restart: String,
}

/// Something of the host's within a container, as podman reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountDetail {
    /// The volume's name, if it is one.
    pub volume: Option<String>,
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// The container cannot write there.
    pub read_only: bool,
}
