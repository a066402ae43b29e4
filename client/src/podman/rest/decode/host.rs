//! podman's word about its host.

use std::path::PathBuf;

use serde::Deserialize;

use super::or_default;
use crate::podman::model::{HostFacts, NetworkBackend, StorageFacts};

#[derive(Deserialize)]
pub(in crate::podman::rest) struct InfoAnswer {
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
