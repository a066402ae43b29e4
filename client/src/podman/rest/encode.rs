//! From our values to libpod's JSON (`pkg/specgen` of podman). Pure; the tests hold the text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::podman::model::{ContainerSpec, Endpoint, Limits, Mount, NetworkSpec, Networking, PodSpec, PublishedPort};

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
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    selinux_opts: &'static [&'static str],
}

#[derive(Serialize)]
struct MountBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'a Path,
    destination: &'a Path,
    options: &'static [&'static str],
}

#[derive(Serialize)]
struct NamedVolume<'a> {
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(rename = "Dest")]
    dest: &'a Path,
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
    PodBody { name: &spec.name, labels: &spec.labels, network: own(&spec.endpoint) }
}

pub(super) fn container(spec: &ContainerSpec) -> ContainerBody<'_> {
    let (pod, network) = match &spec.networking {
        Networking::Own(endpoint) => (None, own(endpoint)),
        Networking::Pod(pod) => (Some(pod.as_str()), unconnected(None)),
        Networking::Host => (None, unconnected(Some("host"))),
    };
    let mut mounts = Vec::new();
    let mut volumes = Vec::new();
    for mount in &spec.mounts {
        match mount {
            Mount::Volume { name, target } => volumes.push(NamedVolume { name, dest: target }),
            Mount::Bind { source, target, relabel } => mounts.push(MountBody {
                kind: "bind",
                source,
                destination: target,
                options: if *relabel { &["rbind", "z"] } else { &["rbind"] },
            }),
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
        devices: spec.devices.iter().map(|path| DeviceBody { path }).collect(),
        selinux_opts: if spec.label_disable { &["disable"] } else { &[] },
    }
}

fn own(endpoint: &Endpoint) -> NetworkPart<'_> {
    let (address, hosts) = match &endpoint.fixed {
        Some(fixed) => (Some(fixed.address), fixed.hosts.as_slice()),
        None => (None, [].as_slice()),
    };
    NetworkPart {
        netns: Some(Namespace { nsmode: "bridge" }),
        networks: BTreeMap::from([(
            endpoint.network.as_str(),
            Attachment { aliases: &endpoint.aliases, static_ips: address.into_iter().collect() },
        )]),
        portmappings: endpoint.ports.iter().copied().map(port).collect(),
        dns_server: &endpoint.dns_servers,
        hostadd: hosts
            .iter()
            .map(|(name, address)| format!("{name}:{address}"))
            .chain(endpoint.host_name.iter().map(|name| format!("{name}:host-gateway")))
            .collect(),
    }
}

fn unconnected<'a>(nsmode: Option<&'static str>) -> NetworkPart<'a> {
    NetworkPart {
        netns: nsmode.map(|nsmode| Namespace { nsmode }),
        networks: BTreeMap::new(),
        portmappings: Vec::new(),
        dns_server: &[],
        hostadd: Vec::new(),
    }
}

fn port(port: PublishedPort) -> PortBody {
    PortBody { host_port: port.host, container_port: port.container, protocol: "tcp" }
}

fn limits(limits: &Limits) -> LimitsBody {
    let cpu = |cpus| CpuBody { quota: Limits::cpu_quota(cpus), period: Limits::CPU_PERIOD };
    LimitsBody {
        pids: LimitBody { limit: limits.pids },
        memory: limits.memory.map(|limit| LimitBody { limit }),
        cpu: limits.cpus.map(cpu),
    }
}
