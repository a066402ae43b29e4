//! Pods: the desired spec, and podman's report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Endpoint;
use super::container::state;
use super::network::NetworkPart;
use super::rest::or_default;

/// The desired spec of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodSpec {
    /// Its name.
    pub name: String,
    /// The endpoint that all its containers share.
    pub endpoint: Endpoint,
    /// Labels, ours among them.
    pub labels: BTreeMap<String, String>,
}

/// A pod as podman reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The names of its containers, without the infra container.
    pub containers: Vec<String>,
    /// Whether its network is up, and with it its host ports.
    pub up: bool,
    /// Why podman cannot start any of its containers. Such a pod has to be recreated.
    pub broken: Option<String>,
}

/// The request by which libpod creates a pod.
#[derive(Serialize)]
pub(super) struct PodBody<'a> {
    name: &'a str,
    labels: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    network: NetworkPart<'a>,
}

impl<'a> From<&'a PodSpec> for PodBody<'a> {
    fn from(spec: &'a PodSpec) -> Self {
        let network = NetworkPart::own(&spec.endpoint, &spec.endpoint.hosts);
        Self { name: &spec.name, labels: &spec.labels, network }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct PodAnswer {
    name: String,
    #[serde(default)]
    infra_id: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<PodMember>,
}

#[derive(Deserialize)]
pub(in crate::podman) struct PodDetailAnswer {
    #[serde(rename = "InfraContainerID")]
    pub(in crate::podman) infra_container_id: String,
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
        let holder = answer.containers.iter().find(|member| member.id == infra);
        let broken = match holder.map(|holder| state(&holder.status, 0).improper()) {
            // A user can create a pod without an infra container; airpods never does.
            None if infra.is_empty() => None,
            None => Some("its infra container is gone".to_owned()),
            Some(improper) => improper.map(|word| format!("its infra container is in the state `{word}`")),
        };
        let up = holder.is_some_and(|holder| holder.status == "running");
        Self {
            broken,
            up,
            name: answer.name,
            labels: answer.labels,
            containers: answer
                .containers
                .into_iter()
                .filter(|member| member.id != infra)
                .map(|member| member.names)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_is_broken_where_its_infra_container_is_gone_or_cannot_be_started() {
        let pod = |members: Value| {
            let answer =
                json!({ "Name": "ai", "InfraId": "1f", "Status": "Degraded", "Labels": {}, "Containers": members });
            Pod::from(PodAnswer::deserialize(answer).unwrap())
        };
        let member = |id: &str, status: &str| json!({ "Id": id, "Names": format!("n{id}"), "Status": status });
        for (infra, up, broken) in [
            (Some("running"), true, None),
            (Some("exited"), false, None),
            (Some("created"), false, None),
            (Some("configured"), false, None),
            (Some("removing"), false, Some("its infra container is in the state `removing`")),
            (Some("unknown"), false, Some("its infra container is in the state `unknown`")),
            (None, false, Some("its infra container is gone")),
        ] {
            let infra = infra.map(|status| member("1f", status));
            let found = pod(infra.into_iter().chain([member("2a", "exited")]).collect());
            assert_eq!((found.up, found.broken.as_deref(), found.containers), (up, broken, vec!["n2a".to_owned()]));
        }
    }
}
