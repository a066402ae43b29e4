//! From our values to libpod's JSON (`pkg/specgen` of podman). Pure; the tests hold the text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::option;

use crate::podman::model::{ContainerSpec, Endpoint, Limits, Mount, NetworkSpec, Networking, PodSpec, PublishedPort};
use crate::port::HostPort;

/// How long a health command may take, in nanoseconds; podman's own default.
const HEALTH_TIMEOUT: u64 = 30_000_000_000;

#[derive(Serialize)]
pub(super) struct NetworkBody<'a> {
    name: &'a str,
    driver: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subnets: Vec<SubnetBody>,
    ipv6_enabled: bool,
    internal: bool,
    dns_enabled: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<&'static str, String>,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct SubnetBody {
    subnet: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

#[derive(Serialize)]
pub(super) struct VolumeBody<'a> {
    #[serde(rename = "Name")]
    pub(super) name: &'a str,
    #[serde(rename = "Labels")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
pub(super) struct PodBody<'a> {
    name: &'a str,
    labels: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    network: NetworkPart<'a>,
}

/// The fields that say how a pod or a container is connected; the same names in both.
#[derive(Serialize)]
struct NetworkPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<Namespace>,
    #[serde(rename = "Networks", skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<&'a str, Attachment<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    portmappings: Vec<PortBody>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_server: &'a [IpAddr],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hostadd: Vec<String>,
}

#[derive(Serialize)]
struct Namespace {
    nsmode: &'static str,
}

#[derive(Serialize)]
struct Attachment<'a> {
    aliases: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    static_ips: Vec<IpAddr>,
}

#[derive(Serialize)]
struct PortBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    host_ip: Option<IpAddr>,
    host_port: u16,
    container_port: u16,
    protocol: &'static str,
}

#[derive(Serialize)]
pub(super) struct ContainerBody<'a> {
    name: &'a str,
    image: &'a str,
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(flatten)]
    network: NetworkPart<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: &'a BTreeMap<String, String>,
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

/// Without an interval, so that podman does not ask by itself through timers of systemd's, which there need not be.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthBody<'a> {
    test: &'a [String],
    /// Nanoseconds.
    timeout: u64,
    retries: u32,
}

#[derive(Serialize)]
struct MountBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'a Path,
    destination: &'a Path,
    options: Vec<&'static str>,
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

pub(super) fn network(spec: &NetworkSpec) -> NetworkBody<'_> {
    NetworkBody {
        name: &spec.name,
        driver: &spec.driver,
        subnets: spec
            .subnet
            .map(|subnet| SubnetBody { subnet: subnet.trunc().to_string(), gateway: spec.gateway })
            .into_iter()
            .collect(),
        ipv6_enabled: spec.ipv6,
        internal: spec.internal,
        dns_enabled: true,
        options: spec.mtu.map(|mtu| ("mtu", mtu.to_string())).into_iter().collect(),
        labels: &spec.labels,
    }
}

pub(super) fn pod(spec: &PodSpec) -> PodBody<'_> {
    PodBody { name: &spec.name, labels: &spec.labels, network: own(&spec.endpoint, &spec.endpoint.hosts) }
}

pub(super) fn container(spec: &ContainerSpec) -> ContainerBody<'_> {
    let (pod, network) = match &spec.networking {
        Networking::Own(endpoint) => (None, own(endpoint, &spec.hosts)),
        Networking::Pod(pod) => (Some(pod.as_str()), unconnected(None, &[])),
        Networking::Host => (None, unconnected(Some("host"), &spec.hosts)),
    };
    let mut mounts = Vec::new();
    let mut volumes = Vec::new();
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
    ContainerBody {
        name: &spec.name,
        image: &spec.image,
        labels: &spec.labels,
        pod,
        network,
        env: &spec.env,
        command: spec.command.as_deref(),
        entrypoint: spec.entrypoint.as_deref(),
        mounts,
        volumes,
        resource_limits: limits(&spec.limits),
        restart_policy: spec.restart.as_str(),
        devices: spec.gpu.iter().chain(&spec.devices).map(|path| DeviceBody { path }).collect(),
        healthconfig: spec.health.as_deref().map(|test| HealthBody { test, timeout: HEALTH_TIMEOUT, retries: 1 }),
        options: option::encode(&spec.options, spec.label_disable),
    }
}

fn own<'a>(endpoint: &'a Endpoint, more_hosts: &[String]) -> NetworkPart<'a> {
    let (address, hosts) = match &endpoint.fixed {
        Some(fixed) => (Some(fixed.address), fixed.hosts.as_slice()),
        None => (None, [].as_slice()),
    };
    let on_ours = Attachment { aliases: &endpoint.aliases, static_ips: address.into_iter().collect() };
    let elsewhere = |network: &'a String| (network.as_str(), Attachment { aliases: &[], static_ips: Vec::new() });
    let further = endpoint.further.iter().map(elsewhere);
    NetworkPart {
        netns: Some(Namespace { nsmode: "bridge" }),
        networks: further.chain([(endpoint.network.as_str(), on_ours)]).collect(),
        portmappings: endpoint.ports.iter().copied().map(port).collect(),
        dns_server: &endpoint.dns_servers,
        hostadd: hosts
            .iter()
            .map(|(name, address)| format!("{name}:{address}"))
            .chain(endpoint.host_name.iter().map(|name| format!("{name}:host-gateway")))
            .chain(more_hosts.iter().cloned())
            .collect(),
    }
}

fn unconnected<'a>(nsmode: Option<&'static str>, hosts: &[String]) -> NetworkPart<'a> {
    NetworkPart {
        netns: nsmode.map(|nsmode| Namespace { nsmode }),
        networks: BTreeMap::new(),
        portmappings: Vec::new(),
        dns_server: &[],
        hostadd: hosts.to_vec(),
    }
}

fn port(port: PublishedPort) -> PortBody {
    let HostPort { address, port: host_port, protocol } = port.host;
    PortBody { host_ip: address, host_port, container_port: port.container, protocol: protocol.as_str() }
}

fn limits(limits: &Limits) -> LimitsBody {
    let cpu = |cpus| CpuBody { quota: Limits::cpu_quota(cpus), period: Limits::CPU_PERIOD };
    LimitsBody {
        pids: LimitBody { limit: limits.pids },
        memory: limits.memory.map(|limit| LimitBody { limit }),
        cpu: limits.cpus.map(cpu),
    }
}
