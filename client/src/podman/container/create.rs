//! A container as libpod creates it (`pkg/specgen` of podman). Pure; the tests hold the text.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::podman::endpoint::NetworkPart;
use crate::podman::{ContainerOption, ContainerSpec, Limits, Mount, Networking, option};

/// How long a health command may take, in nanoseconds; podman's own default.
const HEALTH_TIMEOUT: u128 = 30_000_000_000;

/// The request.
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
    /// Names of podman's own secrets, by variable.
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

/// Without an interval, so that podman does not ask by itself through timers of systemd's, which there need not be.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthBody<'a> {
    test: &'a [String],
    /// Nanoseconds.
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
