//! One container with everything that is read back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::container::state;
use super::or_default;
use crate::podman::model::{ContainerDetail, MountDetail, PublishedPort};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman::rest) struct DetailAnswer {
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
    pub(in crate::podman::rest) fn network_owner(&self) -> Option<&str> {
        self.host_config.network_mode.strip_prefix("container:")
    }

    /// The DNS servers given to this very container.
    pub(in crate::podman::rest) fn dns(&self) -> Vec<IpAddr> {
        self.host_config.dns.clone()
    }

    /// The whole, with DNS servers that may be those of the pod.
    pub(in crate::podman::rest) fn into_detail(self, dns_servers: Vec<IpAddr>) -> ContainerDetail {
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
