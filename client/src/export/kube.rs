//! Kubernetes YAML, which `podman kube play` also runs (podman-kube-play(1)): pods, their Services,
//! and valid names.

mod container;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use container::{secret_key, set_protocol, volume};
use serde_json::{Value, json};

use super::{Export, ExportSet, File, endpoint};
use crate::config::Condition;
use crate::plan::{Launch, is_own_label};
use crate::podman::{Endpoint, Mount, NetworkSpec, Networking, Restart};
use crate::port::Protocol;
use crate::secret::Secret;

/// The default name of the file.
pub const FILE: &str = "airpods.yaml";

/// The Secret that holds the values of secret variables.
const SECRET: &str = "airpods-secrets";

/// The storage that each claim requests. It is a guess: nothing tells how much a service stores.
const CLAIM_SIZE: &str = "20Gi";

/// The maximum number of name servers of a pod (Kubernetes, "DNS for Services and Pods").
const MAX_NAME_SERVERS: usize = 3;

/// The kind of object that runs the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Pods, which podman calls by the names that services reach each other by
    Pod,
    /// Deployments, which a cluster makes again on another machine
    Deployment,
}

/// Exports everything as one file. Known secrets are in it, and then it is private.
#[must_use]
pub fn export(set: &ExportSet<'_>, workload: Workload) -> Export {
    let mut writer = Writer { set, workload, documents: Vec::new(), warnings: Vec::new() };
    let private = writer.secrets();
    writer.claims();
    let groups = groups(set);
    for group in &groups {
        writer.workload(group);
    }
    writer.services(&groups);
    writer.warn_of_pids();
    writer.warn_of_network();
    let documents = writer.documents.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>();
    // Plain JSON values can always be written.
    let text = documents.unwrap_or_default().join("---\n");
    Export { files: vec![File { name: FILE.to_owned(), text, private }], warnings: writer.warnings }
}

/// Containers that share a network namespace.
struct Group<'a> {
    name: String,
    /// None on the host's network.
    endpoint: Option<&'a Endpoint>,
    launches: Vec<&'a Launch>,
}

/// The groups in the order of the services. The containers of a pod form one group, every other
/// container its own.
fn groups<'a>(set: &'a ExportSet<'_>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for launch in &set.desired.launches {
        let name = match &launch.container.networking {
            Networking::Pod(pod) => label(pod),
            Networking::Own(_) | Networking::Host => label(&launch.service),
        };
        let in_pod = matches!(launch.container.networking, Networking::Pod(_));
        match groups.iter_mut().find(|group| in_pod && group.name == name) {
            Some(group) => group.launches.push(launch),
            None => groups.push(Group { name, endpoint: endpoint(&set.desired, launch), launches: vec![launch] }),
        }
    }
    groups
}

struct Writer<'a> {
    set: &'a ExportSet<'a>,
    workload: Workload,
    documents: Vec<Value>,
    warnings: Vec<String>,
}

impl Writer<'_> {
    /// Adds the Secret if all its values are known, and returns whether it did.
    fn secrets(&mut self) -> bool {
        let launches = &self.set.desired.launches;
        for (launch, (variable, name)) in
            launches.iter().flat_map(|launch| launch.container.podman_secrets().map(move |secret| (launch, secret)))
        {
            self.warnings.push(format!(
                "`services.{}.secret_env.{variable}`: podman's secret `{name}` is not in the file; the Secret `{}` with the key \
                 `{variable}` has to be there (`kubectl create secret generic`)",
                launch.service,
                label(name)
            ));
        }
        let of_launch = |launch: &Launch| {
            let ours = launch.container.secrets_of_ours();
            let secret =
                |(variable, source)| (secret_key(&launch.service, variable, source), self.set.secrets.get(source));
            ours.map(secret).collect::<Vec<_>>()
        };
        let wanted: BTreeMap<String, Option<&Secret>> = launches.iter().flat_map(of_launch).collect();
        if wanted.is_empty() {
            return false;
        }
        let known = wanted.iter().map(|(key, value)| value.map(|value| (key.as_str(), value.expose())));
        if let Some(known) = known.collect::<Option<BTreeMap<_, _>>>() {
            self.documents.push(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": SECRET }, "stringData": known,
            }));
            return true;
        }
        let keys = wanted.into_keys().collect::<Vec<_>>().join("`, `");
        self.warnings.push(format!(
            "the Secret `{SECRET}` with `{keys}` is not printed: `-o FILE` writes it too, for its owner alone"
        ));
        false
    }

    fn claims(&mut self) {
        let mut names = BTreeMap::new();
        let mounts = self.set.desired.launches.iter().flat_map(|launch| &launch.container.mounts);
        for mount in mounts {
            if let Mount::Volume { name, .. } = mount {
                names.insert(label(name), name);
            }
        }
        for (claim, volume) in &names {
            self.documents.push(json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": claim },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": CLAIM_SIZE } } },
            }));
            if claim != *volume {
                self.warnings.push(format!(
                    "the volume `{volume}` is called `{claim}` there, and begins empty: `podman volume export {volume}` \
                     writes what is in it"
                ));
            }
        }
        if !names.is_empty() {
            self.warnings.push(format!(
                "every volume claims {CLAIM_SIZE}, which is a guess: change it before a cluster grants it"
            ));
        }
    }

    fn workload(&mut self, group: &Group<'_>) {
        let labels = json!({ "app.kubernetes.io/name": group.name, "app.kubernetes.io/part-of": "airpods" });
        let spec = self.pod_spec(group);
        // podman's annotation; a cluster ignores it, and has the kubelet's `podPidsLimit` instead.
        let pids = group.launches.iter().map(|launch| {
            let key = format!("io.podman.annotations.pids-limit/{}", label(&launch.service));
            (key, launch.container.limits.pids.to_string())
        });
        let mut annotations: BTreeMap<String, String> = pids.collect();
        annotations.extend(group.launches.iter().flat_map(|launch| container::annotations(launch)));
        // A label's value in Kubernetes cannot have a space or a slash, but an annotation's can.
        let own = group.launches.iter().flat_map(|launch| &launch.container.labels);
        let own = own.filter(|(label, _)| !is_own_label(label));
        annotations.extend(own.map(|(label, value)| (label.clone(), value.clone())));
        let metadata = json!({ "name": group.name, "labels": labels, "annotations": annotations });
        self.documents.push(match self.workload {
            Workload::Pod => json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }),
            Workload::Deployment => json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": group.name, "labels": labels },
                "spec": {
                    "replicas": 1,
                    // Two pods at once would write to the same volumes and want the same ports.
                    "strategy": { "type": "Recreate" },
                    "selector": { "matchLabels": { "app.kubernetes.io/name": group.name } },
                    "template": {
                        "metadata": { "labels": labels, "annotations": metadata["annotations"] },
                        "spec": spec,
                    },
                },
            }),
        });
    }

    fn pod_spec(&mut self, group: &Group<'_>) -> Value {
        let containers: Vec<_> = group.launches.iter().map(|launch| self.container(launch, group.endpoint)).collect();
        let volumes: BTreeMap<_, _> =
            group.launches.iter().flat_map(|launch| &launch.container.mounts).map(volume).collect();
        let mut spec = json!({
            "containers": containers,
            "restartPolicy": self.restart(group),
            "terminationGracePeriodSeconds": self.set.timeouts.stop_timeout.get(),
        });
        if !volumes.is_empty() {
            spec["volumes"] = volumes.into_values().collect();
        }
        match group.endpoint {
            None => spec["hostNetwork"] = true.into(),
            Some(endpoint) => self.dns(group, endpoint, &mut spec),
        }
        for launch in &group.launches {
            let unexpressed = container::of_pod(launch, &mut spec);
            self.warnings.extend(unexpressed);
        }
        self.hosts(group, &mut spec);
        self.warn_of_order(group);
        self.warn_of_containers(group);
        spec
    }

    /// Warns about containers with names of their own: Kubernetes names a pod, and podman adds the
    /// name of the service to it.
    fn warn_of_containers(&mut self, group: &Group<'_>) {
        let is_named = |launch: &&&Launch| launch.container.name != format!("{}-0", launch.service);
        for launch in group.launches.iter().filter(is_named) {
            self.warnings.push(format!(
                "`services.{}.container`: `podman kube play` calls it `{}-{}` instead of `{}`",
                launch.service,
                group.name,
                label(&launch.service),
                launch.container.name
            ));
        }
    }

    /// Warns that pods do not wait for each other: Kubernetes starts them concurrently.
    fn warn_of_order(&mut self, group: &Group<'_>) {
        for launch in &group.launches {
            let waited: Vec<_> = launch
                .uses
                .iter()
                .filter(|(_, condition)| **condition != Condition::Started)
                .map(|(name, _)| name.as_str())
                .collect();
            if !waited.is_empty() {
                self.warnings.push(format!(
                    "`services.{}.depends_on`: Kubernetes starts pods side by side, and this one does not wait for `{}`",
                    launch.service,
                    waited.join("`, `")
                ));
            }
        }
    }

    /// Adds names with a fixed address. The host's own address is not known in advance, so its name
    /// is only a warning.
    fn hosts(&mut self, group: &Group<'_>, spec: &mut Value) {
        let of_pod = group.endpoint.iter().flat_map(|endpoint| &endpoint.hosts);
        let own = group.launches.iter().flat_map(|launch| &launch.container.hosts);
        let mut aliases = Vec::new();
        for (name, address) in of_pod.chain(own).filter_map(|host| host.split_once(':')) {
            if address == "host-gateway" {
                self.warnings.push(format!(
                    "`extra_hosts`: `{}` does not know the host by the name `{name}`, as its address is not known in advance",
                    group.name
                ));
            } else {
                aliases.push(json!({ "ip": address, "hostnames": [name] }));
            }
        }
        if !aliases.is_empty() {
            spec["hostAliases"] = aliases.into();
        }
        for network in group.endpoint.iter().flat_map(|endpoint| &endpoint.further) {
            self.warnings.push(format!(
                "`networks`: `{}` is not on `{network}` in a cluster; `podman kube play --network {network}` puts it there",
                group.name
            ));
        }
    }

    fn restart(&mut self, group: &Group<'_>) -> &'static str {
        let mut policies = group.launches.iter().map(|launch| match launch.container.restart {
            Restart::No => "Never",
            Restart::OnFailure => "OnFailure",
            Restart::Always | Restart::UnlessStopped => "Always",
        });
        let policy = policies.next_back().unwrap_or("Always");
        if self.workload == Workload::Deployment && policy != "Always" {
            self.warnings.push("`runtime.restart_policy`: a Deployment always starts its pods again".to_owned());
            return "Always";
        }
        policy
    }

    fn dns(&mut self, group: &Group<'_>, endpoint: &Endpoint, spec: &mut Value) {
        if !endpoint.dns_servers.is_empty() {
            let servers: Vec<_> = endpoint.dns_servers.iter().take(MAX_NAME_SERVERS).collect();
            if servers.len() < endpoint.dns_servers.len() {
                self.warnings
                    .push(format!("`runtime.network.dns_servers`: a pod has {MAX_NAME_SERVERS} name servers at most"));
            }
            spec["dnsConfig"] = json!({ "nameservers": servers });
        }
        if let Some(name) = &endpoint.host_name {
            self.warnings.push(format!(
                "`runtime.host_gateway`: `{}` does not know the host by the name `{name}`, as its address is not known in advance",
                group.name
            ));
        }
    }

    fn warn_of_pids(&mut self) {
        self.warnings.push(
            "`pids_limit` is an annotation that podman 5.4 and before does not heed; in a cluster the kubelet's `podPidsLimit` is the only one"
                .to_owned(),
        );
    }

    fn warn_of_network(&mut self) {
        let network = &self.set.desired.network;
        let options = podman_options(network);
        if options.is_empty()
            || self.set.desired.launches.iter().all(|launch| launch.container.networking == Networking::Host)
        {
            return;
        }
        let (name, options) = (&network.name, options.join(" "));
        self.warnings.push(format!(
            "the settings of the network are not in the file, as a cluster has its own: for podman, `podman network create {options} \
             {name}` and `podman kube play --network {name}` keep them"
        ));
    }
}

/// The options of `podman network create` that make this network differ from podman's default.
fn podman_options(network: &NetworkSpec) -> Vec<String> {
    let driver = (network.driver != "bridge").then(|| format!("--driver {}", network.driver));
    let subnet = network.subnet.map(|subnet| format!("--subnet {subnet}"));
    let gateway = network.gateway.map(|gateway| format!("--gateway {gateway}"));
    let mtu = network.mtu.map(|mtu| format!("--opt mtu={mtu}"));
    let switches = [("--ipv6", network.ipv6), ("--internal", network.internal)];
    let switches = switches.into_iter().filter(|(_, on)| *on).map(|(switch, _)| switch.to_owned());
    [driver, subnet, gateway, mtu].into_iter().flatten().chain(switches).collect()
}

impl Writer<'_> {
    /// Adds a Service for every name under which others find a container. podman ignores them:
    /// there, pods are found by their names.
    fn services(&mut self, groups: &[Group<'_>]) {
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

    /// Warns about names that podman does not know: it resolves a pod's name, and a Deployment's
    /// pod has another one.
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

/// A Service. Without ports it is headless, and its name resolves to the pod's address.
fn service(alias: &str, group: &Group<'_>, endpoint: &Endpoint) -> Value {
    let inner: BTreeSet<_> = endpoint.ports.iter().map(|port| (port.container, port.host.protocol)).collect();
    let port = |(port, protocol): (u16, Protocol)| {
        let mut value = json!({ "name": format!("{}-{port}", protocol.as_str()), "port": port, "targetPort": port });
        set_protocol(&mut value, protocol);
        value
    };
    let ports: Vec<_> = inner.into_iter().map(port).collect();
    let mut spec = json!({ "selector": { "app.kubernetes.io/name": group.name } });
    let (key, value) = if ports.is_empty() { ("clusterIP", "None".into()) } else { ("ports", ports.into()) };
    spec[key] = value;
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": alias }, "spec": spec })
}

/// The maximum length of a label.
pub(super) const MAX: usize = 63;

/// The label for the name of a service, a pod or a volume; unchanged if it is valid already.
pub(super) fn label(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(allowed).take(MAX).collect();
    let text = text.trim_matches('-');
    if text.is_empty() { "x".to_owned() } else { text.to_owned() }
}

/// A label for a path, unique in the pod through a digest. It has the end of a long path, which
/// tells more than the beginning.
pub(super) fn of_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let digest = text.bytes().fold(0xcbf2_9ce4_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let start = text.char_indices().rev().nth(39).map_or(0, |(at, _)| at);
    format!("{}-{digest:08x}", label(&text[start..]))
}
