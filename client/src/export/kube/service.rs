//! Services: the names by which others find a pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::name::label;
use super::value::say_protocol;
use super::{Group, Workload, Writer};
use crate::podman::Endpoint;
use crate::port::Protocol;

impl Writer<'_> {
    /// A Service for every name that others find a container by. podman leaves them out: pods have their names there.
    pub(super) fn services(&mut self, groups: &[Group<'_>]) {
        let mut taken = BTreeSet::new();
        for group in groups {
            let Some(endpoint) = group.endpoint else { continue };
            self.warn_of_names(group, endpoint);
            for alias in endpoint.aliases.iter().filter(|alias| taken.insert(alias.as_str())) {
                if label(alias) != *alias {
                    self.warnings.push(format!("`network_aliases`: `{alias}` cannot be the name of a Service"));
                    continue;
                }
                self.documents.push(service(alias, group, endpoint));
            }
        }
    }

    /// podman calls a pod by its name, and one of a Deployment by another.
    fn warn_of_names(&mut self, group: &Group<'_>, endpoint: &Endpoint) {
        let is_known = |alias: &&String| self.workload == Workload::Pod && **alias == group.name;
        let unknown: Vec<_> = endpoint.aliases.iter().filter(|alias| !is_known(alias)).cloned().collect();
        if !unknown.is_empty() {
            let names = unknown.join("`, `");
            self.warnings.push(format!(
                "`network_aliases`: `{names}` are Services of a cluster; with `podman kube play` they do not lead to `{}`",
                group.name
            ));
        }
    }
}

/// Without ports it has no address of its own, and its name leads to the pod.
fn service(alias: &str, group: &Group<'_>, endpoint: &Endpoint) -> Value {
    let inner: BTreeSet<_> = endpoint.ports.iter().map(|port| (port.container, port.host.protocol)).collect();
    let port = |(port, protocol): (u16, Protocol)| {
        let mut value = json!({ "name": format!("{}-{port}", protocol.as_str()), "port": port, "targetPort": port });
        say_protocol(&mut value, protocol);
        value
    };
    let ports: Vec<_> = inner.into_iter().map(port).collect();
    let mut spec = json!({ "selector": { "app.kubernetes.io/name": group.name } });
    let (key, value) = if ports.is_empty() { ("clusterIP", "None".into()) } else { ("ports", ports.into()) };
    spec[key] = value;
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": alias }, "spec": spec })
}
