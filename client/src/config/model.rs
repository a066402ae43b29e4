//! The configuration as values: whatever is here has been checked, on its own and against the rest.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use indexmap::IndexMap;
use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::image::ImageName;
use super::name::{NetworkAlias, ObjectName, ServiceName};
use super::quantity::{
    ConcurrentPulls, Cpus, LogLines, Memory, NetworkMtu, PidsLimit, PortNumber, StartupTimeout, StatusRange,
    StopTimeout,
};

/// Everything that can be configured. Serialized, it is a `config.toml` that loads to the same value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// `[meta]`
    pub meta: Meta,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[cli]`
    pub cli: Cli,
    /// `[services.NAME]`, in the order of the built-in defaults and then of the file. Disabled ones are here too.
    pub services: IndexMap<ServiceName, Service>,
}

impl Config {
    /// The services that are enabled, in order.
    pub fn enabled(&self) -> impl Iterator<Item = (&ServiceName, &Service)> {
        self.services.iter().filter(|(_, service)| service.enabled)
    }
}

/// About the file itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Meta {
    /// The version of the file's format; any text, today.
    pub version: String,
}

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

/// The network of the services. `gateway` lies in `subnet`, and an IPv6 subnet implies `ipv6`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Who makes the links.
    pub driver: NetworkDriver,
    /// Its addresses; `None` leaves the choice to podman.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// The host's address on it; `None` is the subnet's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The servers asked for names that are no service's; empty means the host's own.
    pub dns_servers: Vec<IpAddr>,
    /// Whether it has IPv6 as well.
    pub ipv6: bool,
    /// Whether it is cut off from everything else.
    pub internal: bool,
    /// The MTU of its links in bytes; `None` leaves it to podman. The VPN's MTU here cures the classic black hole
    /// without root, for TCP and UDP, on networks made afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<NetworkMtu>,
}

/// podman's network drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A bridge of its own behind NAT.
    Bridge,
    /// Links with their own MAC address on a link of the host.
    Macvlan,
    /// Links with the MAC address of a link of the host.
    Ipvlan,
}

impl NetworkDriver {
    /// podman's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
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
}

impl Serialize for GpuDevice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Device(device) => device,
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

/// How the command behaves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cli {
    /// How long a container has to stop by itself, in seconds.
    pub stop_timeout: StopTimeout,
    /// Lines of a log that are shown.
    pub log_lines: LogLines,
    /// How long one look at a service's health may take, in seconds (0.1 to 60).
    pub ping_timeout: f64,
    /// How long a service has to become healthy, in seconds.
    pub startup_timeout: StartupTimeout,
    /// Time between two looks at its health, in seconds (0.5 to 10).
    pub startup_check_interval: f64,
    /// Images pulled at the same time.
    pub max_concurrent_pulls: ConcurrentPulls,
    /// Take every question as answered with yes.
    pub auto_confirm: bool,
    /// Accepted for the earlier tool's files; no effect, `true` gives a warning.
    pub verbose: bool,
    /// As `verbose`.
    pub debug: bool,
}

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
