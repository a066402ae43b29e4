//! podman's host: facts that explain a refusal, and how podman reports them.

use std::path::PathBuf;

use serde::Deserialize;

use super::rest::or_default;

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

#[derive(Deserialize)]
pub(in crate::podman) struct InfoAnswer {
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
