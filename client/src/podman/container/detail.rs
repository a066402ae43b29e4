//! podman's inspection of a container, with everything that is read back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{host_ports, state};
use crate::config::Period;
use crate::kernel::lives;
use crate::podman::option::{self, ReportedOptions, UlimitAnswer};
use crate::podman::rest::or_default;
use crate::podman::{ContainerState, Options};
use crate::port::PublishedPort;

/// A container with everything that is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerDetail {
    /// Its state.
    pub state: ContainerState,
    /// The kernel has killed one of its processes because memory ran out.
    pub oom_killed: bool,
    /// The user stopped it. Only podman 4.7 and later report it.
    pub stopped_by_user: bool,
    /// How often podman has restarted it.
    pub restarts: u32,
    /// Its first process on the host; none if it does not run.
    pub pid: Option<u32>,
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its image, by the name it was created with.
    pub image: String,
    /// Its program and arguments, including the image's.
    pub command: Vec<String>,
    /// Its environment, including the image's and podman's variables.
    pub env: BTreeMap<String, String>,
    /// Its mounts: volumes and host folders.
    pub mounts: Vec<MountDetail>,
    /// The host devices that it can use.
    pub devices: Vec<PathBuf>,
    /// The settings that podman takes unchanged.
    pub options: Options,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The names added to `/etc/hosts`, as `NAME:ADDRESS`, including its pod's.
    pub hosts: Vec<String>,
    /// The health command.
    pub health: Vec<String>,
    /// How long the health command may take.
    pub health_timeout: Option<Duration>,
    /// It shares the host's network.
    pub host_network: bool,
    /// Its networks, also through its pod, with its aliases on each.
    pub networks: BTreeMap<String, Vec<String>>,
    /// The ports published on the host.
    pub ports: Vec<PublishedPort>,
    /// Its DNS servers, also through its pod.
    pub dns_servers: Vec<IpAddr>,
    /// The limit on processes that podman reports; zero or less means none.
    pub pids_limit: i64,
    /// The memory limit in bytes; zero means none.
    pub memory: u64,
    /// The CPU limit in billionths of a CPU; zero means none.
    pub nano_cpus: u64,
    /// The restart policy's name.
    pub restart: String,
}

/// A mount of a container, as podman reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountDetail {
    /// The volume's name, if it is one.
    pub volume: Option<String>,
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Whether the container cannot write there.
    pub read_only: bool,
}

/// The times of a health check. Unset ones have the global value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HealthTiming {
    /// Time between two checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How long one check may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Failed checks in a row that are allowed after the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How long the start may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Period>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct DetailAnswer {
    id: String,
    state: StateAnswer,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    image_name: String,
    #[serde(default)]
    path: String,
    #[serde(default, deserialize_with = "or_default")]
    args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    bounding_caps: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    mounts: Vec<MountAnswer>,
    #[serde(default)]
    config: ConfigAnswer,
    host_config: HostConfigAnswer,
    network_settings: NetworkSettingsAnswer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StateAnswer {
    status: String,
    #[serde(default)]
    pid: u32,
    /// The process id of conmon, which watches the container.
    #[serde(default)]
    conmon_pid: u32,
    #[serde(default)]
    exit_code: i32,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
    #[serde(default)]
    stopped_by_user: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MountAnswer {
    /// Set only for a volume.
    #[serde(default)]
    name: String,
    #[serde(default)]
    source: PathBuf,
    destination: PathBuf,
    #[serde(rename = "RW", default = "writable")]
    rw: bool,
}

/// The default for a mount for which podman reports nothing: writable.
fn writable() -> bool {
    true
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigAnswer {
    #[serde(default, deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(default)]
    user: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    working_dir: String,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    healthcheck: Option<HealthcheckAnswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthcheckAnswer {
    #[serde(default, deserialize_with = "or_default")]
    test: Vec<String>,
    /// Nanoseconds.
    #[serde(default)]
    timeout: u64,
}

/// The outcome of a health check in a container.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct HealthAnswer {
    status: String,
}

impl HealthAnswer {
    /// podman's word for it (`define.HealthCheckHealthy`).
    pub(in crate::podman) fn is_healthy(&self) -> bool {
        self.status == "healthy"
    }
}

/// How a container resolves names.
#[derive(Default)]
pub(in crate::podman) struct Names {
    pub(in crate::podman) dns_servers: Vec<IpAddr>,
    /// Names in `/etc/hosts`, as `NAME:ADDRESS`.
    pub(in crate::podman) hosts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeviceAnswer {
    path_on_host: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfigAnswer {
    #[serde(default)]
    network_mode: String,
    #[serde(default)]
    pids_limit: i64,
    #[serde(default)]
    memory: u64,
    #[serde(default)]
    nano_cpus: u64,
    #[serde(default, deserialize_with = "or_default")]
    dns: Vec<IpAddr>,
    #[serde(default, deserialize_with = "or_default")]
    devices: Vec<DeviceAnswer>,
    #[serde(default, deserialize_with = "or_default")]
    extra_hosts: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    group_add: Vec<String>,
    #[serde(default)]
    init: bool,
    #[serde(default)]
    readonly_rootfs: bool,
    #[serde(default)]
    ipc_mode: String,
    #[serde(default)]
    userns_mode: String,
    #[serde(default)]
    shm_size: u64,
    #[serde(default, deserialize_with = "or_default")]
    security_opt: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    tmpfs: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    ulimits: Vec<UlimitAnswer>,
    #[serde(default)]
    privileged: bool,
    restart_policy: RestartAnswer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartAnswer {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettingsAnswer {
    #[serde(default, deserialize_with = "or_default")]
    ports: BTreeMap<String, Option<Vec<BindingAnswer>>>,
    #[serde(default, deserialize_with = "or_default")]
    networks: BTreeMap<String, AttachmentAnswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BindingAnswer {
    #[serde(default)]
    host_ip: String,
    host_port: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttachmentAnswer {
    #[serde(default, deserialize_with = "or_default")]
    aliases: Vec<String>,
}

impl DetailAnswer {
    /// The id of the container whose network this one shares: the pod's.
    pub(in crate::podman) fn network_owner(&self) -> Option<&str> {
        self.host_config.network_mode.strip_prefix("container:")
    }

    /// Whether podman reports it as running although its first process and conmon are gone. While
    /// conmon lives, it is about to report the end to podman.
    pub(in crate::podman) fn is_lost(&self) -> bool {
        let gone = |pid: u32| pid != 0 && !lives(pid);
        self.state.status == "running" && gone(self.state.pid) && gone(self.state.conmon_pid)
    }

    /// The name servers given to this container.
    pub(in crate::podman) fn names(&self) -> Names {
        Names { dns_servers: self.host_config.dns.clone(), hosts: self.host_config.extra_hosts.clone() }
    }

    fn reported_options(&self) -> ReportedOptions {
        let (config, host) = (&self.config, &self.host_config);
        ReportedOptions {
            user: config.user.clone(),
            hostname: config.hostname.clone(),
            annotations: config.annotations.clone(),
            groups: host.group_add.clone(),
            init: host.init,
            read_only: host.readonly_rootfs,
            ipc: host.ipc_mode.clone(),
            userns: host.userns_mode.clone(),
            shm_size: host.shm_size,
            bounding: self.bounding_caps.clone(),
            security: host.security_opt.clone(),
            working_dir: config.working_dir.clone(),
            tmpfs: host.tmpfs.clone(),
            ulimits: host.ulimits.clone(),
            privileged: host.privileged,
        }
    }

    /// The program and its arguments, without podman's own init.
    fn command(&self) -> Vec<String> {
        let words = std::iter::once(&self.path).filter(|path| !path.is_empty()).chain(&self.args).cloned();
        if !self.host_config.init {
            return words.collect();
        }
        let words: Vec<String> = words.collect();
        let own = words.iter().position(|word| word == "--").map_or(0, |at| at + 1);
        words.into_iter().skip(own).collect()
    }

    /// The whole detail. `names` are the pod's for a container in a pod.
    pub(in crate::podman) fn into_detail(self, names: Names) -> ContainerDetail {
        let (options, command) = (option::decode(self.reported_options()), self.command());
        let settings = self.network_settings;
        ContainerDetail {
            state: state(&self.state.status, self.state.exit_code),
            oom_killed: self.state.oom_killed,
            stopped_by_user: self.state.stopped_by_user,
            restarts: self.restart_count,
            pid: (self.state.pid != 0).then_some(self.state.pid),
            id: self.id,
            image: self.image_name,
            command,
            env: self.config.env.iter().map(|variable| variable_of(variable)).collect(),
            mounts: self.mounts.into_iter().map(Into::into).collect(),
            devices: self.host_config.devices.into_iter().map(|device| device.path_on_host).collect(),
            host_network: self.host_config.network_mode == "host",
            networks: settings.networks.into_iter().map(|(name, attachment)| (name, attachment.aliases)).collect(),
            ports: ports(&settings.ports),
            dns_servers: names.dns_servers,
            hosts: names.hosts,
            options,
            labels: self.config.labels,
            health_timeout: self.config.healthcheck.as_ref().map(|check| Duration::from_nanos(check.timeout)),
            health: self.config.healthcheck.map(|check| check.test).unwrap_or_default(),
            pids_limit: self.host_config.pids_limit,
            memory: self.host_config.memory,
            nano_cpus: self.host_config.nano_cpus,
            restart: if self.host_config.restart_policy.name.is_empty() {
                // podman 4.3 leaves the name empty for "no".
                "no".into()
            } else {
                self.host_config.restart_policy.name
            },
        }
    }
}

impl From<MountAnswer> for MountDetail {
    fn from(answer: MountAnswer) -> Self {
        Self {
            volume: (!answer.name.is_empty()).then_some(answer.name),
            source: answer.source,
            target: answer.destination,
            read_only: !answer.rw,
        }
    }
}

/// `NAME=value`; a name alone has no value.
fn variable_of(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// `{"8080/tcp": [{"HostPort": "3000"}]}` as ports.
fn ports(answer: &BTreeMap<String, Option<Vec<BindingAnswer>>>) -> Vec<PublishedPort> {
    let mut ports: Vec<_> = answer
        .iter()
        .filter_map(|(name, bindings)| {
            let (container, protocol) = name.split_once('/').unwrap_or((name, ""));
            let container = container.parse().ok()?;
            Some(bindings.iter().flatten().filter_map(move |binding| {
                let host = host_ports(&binding.host_ip, protocol, binding.host_port.parse().ok()?, 1);
                Some(PublishedPort { host: *host.first()?, container })
            }))
        })
        .flatten()
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
