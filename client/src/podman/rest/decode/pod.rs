//! Pods.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::or_default;
use crate::podman::model::Pod;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman::rest) struct PodAnswer {
    name: String,
    #[serde(default)]
    infra_id: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<PodMember>,
}

#[derive(Deserialize)]
pub(in crate::podman::rest) struct PodDetailAnswer {
    #[serde(rename = "InfraContainerID")]
    pub(in crate::podman::rest) infra_container_id: String,
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
