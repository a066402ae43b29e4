//! `[runtime]`, how containers run, and `[runtime.network]`, the network that the services share:
//! the values, and reading them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::device::{GpuDevice, gpu_device};
use super::earlier;
use super::model::is_false;
use super::name::{NetworkAlias, ObjectName};
use super::problem::Problem;
use super::quantity::NetworkMtu;
use super::section::{Mismatch, Read, Section, boolean, list, owned_text, parsed, text, whole, word};
use super::tree::{Node, Value};

/// How containers run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Runtime {
    /// The requested container engine. Only podman is supported; `docker` gives a warning when the
    /// file is loaded.
    pub prefer: Engine,
    /// The socket of podman's API; `None` means that airpods finds or starts one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub podman_url: Option<PodmanUrl>,
    /// The name by which containers reach the host.
    pub host_gateway: HostGateway,
    /// The network that the services share.
    pub network_name: ObjectName,
    /// The settings of that network.
    pub network: Network,
    /// The device that gives a container the GPU.
    pub gpu_device_flag: GpuDevice,
    /// When podman restarts a container by itself.
    pub restart_policy: RestartPolicy,
    /// Accepted for files of the Python airpods; no effect.
    pub cuda_version: String,
}

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The engine that is available, which is podman.
    Auto,
    /// podman.
    Podman,
    /// docker, which is not supported.
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
    /// The text for the template `{{runtime.host_gateway}}`.
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

/// When podman restarts a container by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    No,
    /// After a failure.
    OnFailure,
    /// Always.
    Always,
    /// Unless it was stopped on purpose.
    UnlessStopped,
}

/// The network of the services. `gateway` lies in `subnet`, and an IPv6 subnet implies `ipv6`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub struct Network {
    /// An existing network that airpods did not make: it is used, and never made, changed or
    /// removed.
    #[serde(skip_serializing_if = "is_false")]
    pub external: bool,
    /// podman's driver, which makes the links.
    pub driver: NetworkDriver,
    /// Its addresses; `None` leaves the choice to podman.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// The host's address on it; `None` is the first address of the subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The name servers for names that belong to no service.
    pub dns_servers: DnsServers,
    /// Whether it has IPv6 beside IPv4.
    pub ipv6: bool,
    /// Whether it is isolated from every other network.
    pub internal: bool,
    /// The MTU of its links in bytes; `None` leaves it to podman. With the VPN's MTU here, networks
    /// made afterwards have no classic black hole: without root, for TCP and UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<NetworkMtu>,
    /// The reaction of `start` to a VPN whose MTU is below this network's.
    pub mss_clamp: MssClamp,
    /// Whether `start` measures the path behind a VPN, once for each network.
    pub measure: bool,
}

/// podman's network drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A bridge behind NAT.
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

/// The name servers of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsServers {
    /// Those of the link that the traffic leaves by, determined when services start.
    Auto,
    /// These; an empty list means the host's own.
    List(Vec<IpAddr>),
}

impl Serialize for DnsServers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::List(servers) => servers.serialize(serializer),
        }
    }
}

/// The reaction of `start` to a VPN whose MTU is below the network's, so that large packets may
/// vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MssClamp {
    /// Offers the clamp if it helps, and asks for confirmation.
    Auto,
    /// Nothing.
    Off,
    /// Sets the clamp without a question, and starts nothing if it cannot be set.
    Require,
}

/// Reads `[runtime]`.
pub(super) fn runtime(root: &Section<'_>) -> Option<Runtime> {
    let section = root.section("runtime")?;
    let prefer = section.required("prefer", word(ENGINES));
    if prefer == Some(Engine::Docker) {
        let ineffective = Problem::warning("`runtime.prefer`: docker is not driven; podman is used");
        section.push(ineffective.at(section.at("prefer").cloned()));
    }
    let podman_url = section.optional("podman_url", podman_url);
    let host_gateway = section.required("host_gateway", host_gateway);
    let network_name = section.required("network_name", parsed);
    let network = network(&section);
    let gpu_device_flag = section.required("gpu_device_flag", gpu_device);
    let restart_policy = section.required("restart_policy", word(RESTART_POLICIES));
    earlier::runtime(&section);
    let cuda_version = section.required("cuda_version", owned_text);
    if cuda_version.as_ref().is_some_and(|version| version != "auto") {
        let ineffective = Problem::warning("`runtime.cuda_version` has no effect: name the image you want");
        section.push(ineffective.at(section.at("cuda_version").cloned()));
    }
    section.finish();
    Some(Runtime {
        prefer: prefer?,
        podman_url,
        host_gateway: host_gateway?,
        network_name: network_name?,
        network: network?,
        gpu_device_flag: gpu_device_flag?,
        restart_policy: restart_policy?,
        cuda_version: cuda_version?,
    })
}

const ENGINES: &[(&str, Engine)] = &[("auto", Engine::Auto), ("podman", Engine::Podman), ("docker", Engine::Docker)];

pub(super) const RESTART_POLICIES: &[(&str, RestartPolicy)] = &[
    ("no", RestartPolicy::No),
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
    ("unless-stopped", RestartPolicy::UnlessStopped),
];

const DRIVERS: &[(&str, NetworkDriver)] =
    &[("bridge", NetworkDriver::Bridge), ("macvlan", NetworkDriver::Macvlan), ("ipvlan", NetworkDriver::Ipvlan)];

const MSS_CLAMPS: &[(&str, MssClamp)] =
    &[("auto", MssClamp::Auto), ("off", MssClamp::Off), ("require", MssClamp::Require)];

fn podman_url(node: &Node) -> Read<PodmanUrl> {
    let url = text(node)?;
    let socket = url.strip_prefix("unix://").map(PathBuf::from);
    socket.and_then(PodmanUrl::from_socket).ok_or_else(|| {
        Mismatch::new(format_args!("`{url}` is not the URL of a local socket"))
            .hint("such as `unix:///run/podman/podman.sock`; podman on another machine is not supported")
    })
}

fn host_gateway(node: &Node) -> Read<HostGateway> {
    let text = text(node)?;
    match text.parse::<IpAddr>() {
        _ if text == "auto" => Ok(HostGateway::Auto),
        Ok(address) => Ok(HostGateway::Address(address)),
        Err(_) => text
            .parse()
            .map(HostGateway::Name)
            .map_err(|_| Mismatch::new(format_args!("`{text}` is neither `auto` nor the host's name or address"))),
    }
}

fn network(runtime: &Section<'_>) -> Option<Network> {
    let section = runtime.section("network")?;
    let external = section.or("external", false, boolean);
    let driver = section.required("driver", word(DRIVERS));
    let subnet = section.optional("subnet", subnet);
    let gateway = section.optional("gateway", |node| address(node, "an address such as `10.89.0.1`"));
    section.may_be_list("dns_servers");
    let dns_servers = section.required("dns_servers", dns_servers);
    let ipv6 = section.required("ipv6", boolean);
    let internal = section.required("internal", boolean);
    let mtu = section.optional("mtu", whole);
    let mss_clamp = section.required("mss_clamp", word(MSS_CLAMPS));
    let measure = section.required("measure", boolean);
    section.finish();
    Some(Network {
        external,
        driver: driver?,
        subnet,
        gateway,
        dns_servers: dns_servers?,
        ipv6: ipv6?,
        internal: internal?,
        mtu,
        mss_clamp: mss_clamp?,
        measure: measure?,
    })
}

fn subnet(node: &Node) -> Read<IpNet> {
    let text = text(node)?;
    let subnet: IpNet =
        text.parse().map_err(|_| Mismatch::new(format_args!("`{text}` is not a subnet such as `10.89.0.0/16`")))?;
    if subnet.addr() != subnet.network() {
        return Err(Mismatch::new(format_args!("`{text}` is an address within a subnet"))
            .hint(format!("the subnet itself is `{}`", subnet.trunc())));
    }
    // It must hold the network's own address, the gateway, one container, and in IPv4 the broadcast
    // address.
    if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        return Err(Mismatch::new(format_args!("`{text}` is too small for a gateway and a container")));
    }
    Ok(subnet)
}

fn address(node: &Node, what: &str) -> Read<IpAddr> {
    let text = text(node)?;
    text.parse().map_err(|_| Mismatch::new(format_args!("`{text}` is not {what}")))
}

fn dns_servers(node: &Node) -> Read<DnsServers> {
    match &node.value {
        Value::String(word) if word == "auto" => Ok(DnsServers::Auto),
        Value::Array(_) => list(dns_server)(node).map(DnsServers::List),
        Value::String(text) => Err(Mismatch::new(format_args!("`{text}` is neither `auto` nor an array of addresses"))
            .hint("one server is an array too: `[\"192.0.2.53\"]`")),
        other => Err(Mismatch::new(format_args!("`auto` or an array is needed here, not {}", other.kind()))),
    }
}

fn dns_server(node: &Node) -> Read<IpAddr> {
    let server = address(node, "the address of a DNS server")?;
    if server.is_unspecified() || server.is_multicast() {
        return Err(Mismatch::new(format_args!("`{server}` cannot be the address of a DNS server")));
    }
    Ok(server)
}
