//! The values that travel between this program and podman: what is asked for (`…Spec`) and what
//! is reported. Nothing here knows how either is encoded.

mod endpoint;

pub use endpoint::{Endpoint, Fixed, Pin, PublishedPort};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

/// podman's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 4 in 4.3.1.
    pub major: u32,
    /// 3 in 4.3.1.
    pub minor: u32,
}

impl Version {
    /// The oldest that this program is made for, and tested with.
    pub const OLDEST: Self = Self { major: 4, minor: 3 };

    /// Reads `4.3.1`, `5.0.0-rc1` and the like.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '-']);
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }

    /// Whether a container's own DNS servers are asked *behind* the network's name service, so
    /// that aliases resolve as well. Before 4.4 podman writes them into resolv.conf in place of it.
    ///
    /// Source: podman commit 06241077cc (4.4), and measured with 4.3.1 and 5.4.2.
    #[must_use]
    pub fn forwards_dns_per_container(self) -> bool {
        self >= Self { major: 4, minor: 4 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Facts that explain why a limit does not hold, or a network or an image cannot be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// podman runs as an ordinary user.
    pub rootless: bool,
    /// The host has cgroups of version 2.
    pub cgroups_v2: bool,
    /// The controllers that podman may use.
    pub cgroup_controllers: Vec<String>,
    /// How networks are made.
    pub network: NetworkBackend,
    /// Where images lie.
    pub storage: StorageFacts,
}

/// How podman makes networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkBackend {
    /// `netavark` or `cni`.
    pub name: String,
    /// The program through which rootless containers reach the network, where podman tells (5.0 and later).
    pub rootless_program: Option<String>,
}

/// Where podman keeps images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// `overlay`, `vfs` or another driver.
    pub driver: String,
    /// The folder.
    pub root: PathBuf,
}

/// One report from a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The layer, a short digest.
    pub layer: String,
    /// What happens to it, in podman's words.
    pub status: String,
    /// Bytes done and bytes in all, while they are known.
    pub bytes: Option<(u64, u64)>,
}

/// A network to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan` or `ipvlan`.
    pub driver: String,
    /// The addresses; none leaves the choice to podman.
    pub subnet: Option<IpNet>,
    /// The bridge's own address within `subnet`.
    pub gateway: Option<IpAddr>,
    /// Whether it has IPv6 as well.
    pub ipv6: bool,
    /// Whether it is cut off from everything else.
    pub internal: bool,
    /// MTU of its links in bytes; none leaves it to podman.
    pub mtu: Option<u32>,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

/// A network as podman reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Each subnet with its gateway.
    pub subnets: Vec<(IpNet, Option<IpAddr>)>,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Whether it is cut off.
    pub internal: bool,
    /// The name of its bridge, which is there while a container is on it.
    pub interface: Option<String>,
    /// Whether names are resolved on it.
    pub dns: bool,
    /// Its MTU where one was set.
    pub mtu: Option<u32>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Networking {
    /// By its own endpoint.
    Own(Endpoint),
    /// Through the pod of this name.
    Pod(String),
    /// It shares the host's network.
    Host,
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
    },
    /// A folder of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path in the container.
        target: PathBuf,
        /// Whether `SELinux` labels may be changed so that the container can use it: only for
        /// folders that are ours.
        relabel: bool,
    },
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

/// A pod to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodSpec {
    /// Its name.
    pub name: String,
    /// The way onto the network for all its containers.
    pub endpoint: Endpoint,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

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
    /// Variables that are secret: their values come into `env` last of all, so that this value can be shown.
    pub secret_env: BTreeSet<String>,
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
    /// Devices, paths or CDI names such as `nvidia.com/gpu=all`.
    pub devices: Vec<String>,
    /// Whether `SELinux` leaves it alone, as GPU devices need.
    pub label_disable: bool,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// Sets a variable that is secret, if it is one of this container's.
    pub fn give_secret(&mut self, variable: &str, value: &str) {
        if self.secret_env.contains(variable) {
            self.env.insert(variable.to_owned(), value.to_owned());
        }
    }
}

/// A pod as podman reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The names of its containers but the one that holds the network.
    pub containers: Vec<String>,
    /// Whether its network, with the ports of the host, is up.
    pub up: bool,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made and never started.
    Created,
    /// Running.
    Running,
    /// Ended, with this code.
    Exited(i32),
    /// Anything else podman knows (paused, stopping, removing).
    Other,
}

/// A container as a listing reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What it is doing.
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
    pub host_ports: Vec<u16>,
    /// The networks it is on; empty for one in a pod.
    pub networks: Vec<String>,
}

/// A container with everything that is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerDetail {
    /// What it is doing.
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
    /// What of the host's is within it.
    pub mounts: Vec<MountDetail>,
    /// The host's devices that it has.
    pub devices: Vec<PathBuf>,
    /// It shares the host's network.
    pub host_network: bool,
    /// Each network it is on with its aliases, through its pod too.
    pub networks: BTreeMap<String, Vec<String>>,
    /// What leads in from the host.
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

/// How many bytes things take, by their names; what podman does not say is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images, by name and tag.
    pub images: BTreeMap<String, u64>,
    /// Volumes.
    pub volumes: BTreeMap<String, u64>,
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
}

/// Which part of a log to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Wait for more.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u32>,
    /// Only since then: RFC 3339, seconds since 1970, or an age such as `10m`.
    pub since: Option<String>,
}

/// Where a line of a log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a log, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub source: LogSource,
    /// When it was written, in podman's words (RFC 3339).
    pub time: String,
    /// Its bytes; a program may write anything.
    pub text: Vec<u8>,
}
