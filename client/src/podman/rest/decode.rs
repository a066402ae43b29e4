//! From libpod's JSON to our values. Fields that are not used are not named; fields that one
//! version leaves out have defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use crate::podman::model::{
    Container, ContainerDetail, ContainerState, DiskUsage, HostFacts, MountDetail, Network, NetworkBackend, Pod,
    PublishedPort, StorageFacts,
};

/// `null` and absence both mean the default: podman writes empty lists as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
pub(super) struct InfoAnswer {
    host: HostAnswer,
    #[serde(default)]
    store: StoreAnswer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostAnswer {
    cgroup_version: String,
    #[serde(default, deserialize_with = "or_default")]
    cgroup_controllers: Vec<String>,
    security: SecurityAnswer,
    #[serde(default)]
    network_backend: String,
    #[serde(default)]
    rootless_network_cmd: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoreAnswer {
    graph_driver_name: String,
    graph_root: PathBuf,
}

#[derive(Deserialize)]
struct SecurityAnswer {
    rootless: bool,
}

impl From<InfoAnswer> for HostFacts {
    fn from(answer: InfoAnswer) -> Self {
        Self {
            rootless: answer.host.security.rootless,
            cgroups_v2: answer.host.cgroup_version == "v2",
            cgroup_controllers: answer.host.cgroup_controllers,
            network: NetworkBackend {
                name: answer.host.network_backend,
                rootless_program: Some(answer.host.rootless_network_cmd).filter(|name| !name.is_empty()),
            },
            storage: StorageFacts { driver: answer.store.graph_driver_name, root: answer.store.graph_root },
        }
    }
}

#[derive(Deserialize)]
pub(super) struct NetworkAnswer {
    name: String,
    driver: String,
    #[serde(default, deserialize_with = "or_default")]
    subnets: Vec<SubnetAnswer>,
    #[serde(default)]
    network_interface: String,
    #[serde(default)]
    ipv6_enabled: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    dns_enabled: bool,
    #[serde(default, deserialize_with = "or_default")]
    options: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct SubnetAnswer {
    subnet: IpNet,
    gateway: Option<IpAddr>,
}

impl From<NetworkAnswer> for Network {
    fn from(answer: NetworkAnswer) -> Self {
        Self {
            name: answer.name,
            driver: answer.driver,
            subnets: answer.subnets.into_iter().map(|part| (part.subnet, part.gateway)).collect(),
            ipv6: answer.ipv6_enabled,
            internal: answer.internal,
            interface: (!answer.network_interface.is_empty()).then_some(answer.network_interface),
            dns: answer.dns_enabled,
            mtu: answer.options.get("mtu").and_then(|mtu| mtu.parse().ok()),
            labels: answer.labels,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct VolumeAnswer {
    #[serde(rename = "Name")]
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UsageAnswer {
    #[serde(default, deserialize_with = "or_default")]
    images: Vec<ImageUsage>,
    #[serde(default, deserialize_with = "or_default")]
    volumes: Vec<VolumeUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageUsage {
    repository: String,
    tag: String,
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeUsage {
    volume_name: String,
    size: u64,
}

impl From<UsageAnswer> for DiskUsage {
    fn from(answer: UsageAnswer) -> Self {
        let image = |image: ImageUsage| (format!("{}:{}", image.repository, image.tag), image.size);
        Self {
            images: answer.images.into_iter().map(image).collect(),
            volumes: answer.volumes.into_iter().map(|volume| (volume.volume_name, volume.size)).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PodAnswer {
    name: String,
    #[serde(default)]
    infra_id: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<PodMember>,
}

#[derive(Deserialize)]
pub(super) struct PodDetailAnswer {
    #[serde(rename = "InfraContainerID")]
    pub(super) infra_container_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PodMember {
    id: String,
    #[serde(default)]
    names: String,
    #[serde(default)]
    status: String,
}

impl From<PodAnswer> for Pod {
    fn from(answer: PodAnswer) -> Self {
        let infra = answer.infra_id;
        Self {
            name: answer.name,
            labels: answer.labels,
            up: answer.containers.iter().any(|member| member.id == infra && member.status == "running"),
            containers: answer
                .containers
                .into_iter()
                .filter(|member| member.id != infra)
                .map(|member| member.names)
                .collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ContainerAnswer {
    #[serde(default, deserialize_with = "or_default")]
    names: Vec<String>,
    image: String,
    state: String,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    started_at: i64,
    #[serde(default)]
    exited_at: i64,
    #[serde(default)]
    pub(super) is_infra: bool,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    pod_name: String,
    #[serde(default, deserialize_with = "or_default")]
    ports: Vec<PortAnswer>,
    #[serde(default, deserialize_with = "or_default")]
    networks: Vec<String>,
}

#[derive(Deserialize)]
struct PortAnswer {
    host_port: u16,
    #[serde(default)]
    range: u16,
}

impl From<ContainerAnswer> for Container {
    fn from(answer: ContainerAnswer) -> Self {
        // Go's zero time is far before 1970: never.
        let moment = |seconds: i64| (seconds > 0).then_some(seconds);
        Self {
            name: answer.names.into_iter().next().unwrap_or_default(),
            image: answer.image,
            state: state(&answer.state, answer.exit_code),
            started_at: moment(answer.started_at),
            exited_at: moment(answer.exited_at),
            labels: answer.labels,
            pod: (!answer.pod_name.is_empty()).then_some(answer.pod_name),
            host_ports: answer
                .ports
                .iter()
                .flat_map(|port| port.host_port..=port.host_port.saturating_add(port.range.saturating_sub(1)))
                .collect(),
            networks: answer.networks,
        }
    }
}

/// podman's word for a state (`libpod/define/containerstate.go`).
fn state(word: &str, exit_code: i32) -> ContainerState {
    match word {
        "running" => ContainerState::Running,
        "created" | "configured" | "initialized" => ContainerState::Created,
        "exited" | "stopped" => ContainerState::Exited(exit_code),
        _ => ContainerState::Other,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DetailAnswer {
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
    #[serde(default)]
    exit_code: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MountAnswer {
    /// Only of a volume.
    #[serde(default)]
    name: String,
    #[serde(default)]
    source: PathBuf,
    destination: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigAnswer {
    #[serde(default, deserialize_with = "or_default")]
    env: Vec<String>,
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
    pub(super) fn network_owner(&self) -> Option<&str> {
        self.host_config.network_mode.strip_prefix("container:")
    }

    /// The DNS servers given to this very container.
    pub(super) fn dns(&self) -> Vec<IpAddr> {
        self.host_config.dns.clone()
    }

    /// The whole, with DNS servers that may be those of the pod.
    pub(super) fn into_detail(self, dns_servers: Vec<IpAddr>) -> ContainerDetail {
        let settings = self.network_settings;
        ContainerDetail {
            state: state(&self.state.status, self.state.exit_code),
            restarts: self.restart_count,
            pid: (self.state.pid != 0).then_some(self.state.pid),
            id: self.id,
            image: self.image_name,
            command: std::iter::once(self.path).filter(|path| !path.is_empty()).chain(self.args).collect(),
            env: self.config.env.iter().map(|variable| variable_of(variable)).collect(),
            mounts: self.mounts.into_iter().map(Into::into).collect(),
            devices: self.host_config.devices.into_iter().map(|device| device.path_on_host).collect(),
            host_network: self.host_config.network_mode == "host",
            networks: settings.networks.into_iter().map(|(name, attachment)| (name, attachment.aliases)).collect(),
            ports: ports(&settings.ports),
            dns_servers,
            pids_limit: self.host_config.pids_limit,
            memory: self.host_config.memory,
            nano_cpus: self.host_config.nano_cpus,
            restart: if self.host_config.restart_policy.name.is_empty() {
                // podman 4.3 leaves "no" empty.
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
    let mut ports: Vec<_> =
        answer
            .iter()
            .filter_map(|(name, bindings)| {
                let container = name.split('/').next()?.parse().ok()?;
                Some(bindings.iter().flatten().filter_map(move |binding| {
                    Some(PublishedPort { host: binding.host_port.parse().ok()?, container })
                }))
            })
            .flatten()
            .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// One line of the stream that a pull sends (the form of Docker's API).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PullAnswer {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) error: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) progress_detail: PullBytes,
}

#[derive(Default, Deserialize)]
pub(super) struct PullBytes {
    #[serde(default)]
    pub(super) current: u64,
    #[serde(default)]
    pub(super) total: u64,
}
