//! Kubernetes YAML, which `podman kube play` runs as well (podman-kube-play(1)).

mod name;
mod option;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Export, File, Subject, endpoint, is_success, ports};
use crate::config::{Condition, Pull};
use crate::plan::{HealthCheck, Launch, is_own_label};
use crate::podman::{Endpoint, Mount, NetworkSpec, Networking, Relabel, Restart};
use crate::port::Protocol;

use name::label;
use value::{env, has_reference, memory, mounted, port, say_protocol, volume, whole, words};

/// The file's name where none is said.
pub const FILE: &str = "airpods.yaml";

/// The Secret with the values of the secret variables.
const SECRET: &str = "airpods-secrets";

/// What a claim asks for; nobody knows how much a service keeps.
const CLAIM: &str = "20Gi";

/// Name servers that a pod may have (Kubernetes, "DNS for Services and Pods").
const MAX_NAME_SERVERS: usize = 3;

/// What runs the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Pods, which podman calls by the names that services reach each other by
    Pod,
    /// Deployments, which a cluster makes again on another machine
    Deployment,
}

/// One file with everything. Secrets that are known are in it, and make it private.
#[must_use]
pub fn export(subject: &Subject<'_>, workload: Workload) -> Export {
    let mut writer = Writer { subject, workload, documents: Vec::new(), warnings: Vec::new() };
    let private = writer.secrets();
    writer.claims();
    let groups = groups(subject);
    for group in &groups {
        writer.workload(group);
    }
    writer.services(&groups);
    writer.warn_of_pids();
    writer.warn_of_network();
    let documents = writer.documents.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>();
    // Plain JSON values have nothing that cannot be written.
    let text = documents.unwrap_or_default().join("---\n");
    Export { files: vec![File { name: FILE.to_owned(), text, private }], warnings: writer.warnings }
}

/// The containers that share a network.
struct Group<'a> {
    name: String,
    /// None on the host's own.
    endpoint: Option<&'a Endpoint>,
    launches: Vec<&'a Launch>,
}

/// Those of a pod together, every other service by itself, in the order of the services.
fn groups<'a>(subject: &'a Subject<'_>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for launch in &subject.desired.launches {
        let name = match &launch.container.networking {
            Networking::Pod(pod) => label(pod),
            Networking::Own(_) | Networking::Host => label(&launch.service),
        };
        let in_pod = matches!(launch.container.networking, Networking::Pod(_));
        match groups.iter_mut().find(|group| in_pod && group.name == name) {
            Some(group) => group.launches.push(launch),
            None => groups.push(Group { name, endpoint: endpoint(&subject.desired, launch), launches: vec![launch] }),
        }
    }
    groups
}

struct Writer<'a> {
    subject: &'a Subject<'a>,
    workload: Workload,
    documents: Vec<Value>,
    warnings: Vec<String>,
}

impl Writer<'_> {
    /// Answers whether there is a secret in the file now.
    fn secrets(&mut self) -> bool {
        let wanted: BTreeSet<&str> = self.subject.secret_variables().collect();
        if wanted.is_empty() {
            return false;
        }
        let known = &self.subject.secrets;
        if wanted.iter().all(|variable| known.contains_key(*variable)) {
            self.documents.push(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": SECRET }, "stringData": known,
            }));
            return true;
        }
        let keys = wanted.into_iter().collect::<Vec<_>>().join("`, `");
        self.warnings.push(format!(
            "the Secret `{SECRET}` with `{keys}` is not printed: `-o FILE` writes it too, for its owner alone"
        ));
        false
    }

    fn claims(&mut self) {
        let mut names = BTreeMap::new();
        let mounts = self.subject.desired.launches.iter().flat_map(|launch| &launch.container.mounts);
        for mount in mounts {
            if let Mount::Volume { name, .. } = mount {
                names.insert(label(name), name);
            }
        }
        for (claim, volume) in &names {
            self.documents.push(json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": claim },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": CLAIM } } },
            }));
            if claim != *volume {
                self.warnings.push(format!(
                    "the volume `{volume}` is called `{claim}` there, and begins empty: `podman volume export {volume}` \
                     writes what is in it"
                ));
            }
        }
        if !names.is_empty() {
            self.warnings
                .push(format!("every volume claims {CLAIM}, which is a guess: change it before a cluster grants it"));
        }
    }

    fn workload(&mut self, group: &Group<'_>) {
        let labels = json!({ "app.kubernetes.io/name": group.name, "app.kubernetes.io/part-of": "airpods" });
        let spec = self.pod_spec(group);
        // podman's own, which a cluster ignores: there it is the kubelet's `podPidsLimit`.
        let pids = group.launches.iter().map(|launch| {
            let key = format!("io.podman.annotations.pids-limit/{}", label(&launch.service));
            (key, launch.container.limits.pids.to_string())
        });
        let mut annotations: BTreeMap<String, String> = pids.collect();
        annotations.extend(group.launches.iter().flat_map(|launch| option::annotations(launch)));
        // Kubernetes takes no value of a label that has a space or a slash in it; an annotation may hold anything.
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
                    // Two at once would write to the same volumes and want the same ports.
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
            "terminationGracePeriodSeconds": self.subject.habits.stop_timeout.get(),
        });
        if !volumes.is_empty() {
            spec["volumes"] = volumes.into_values().collect();
        }
        match group.endpoint {
            None => spec["hostNetwork"] = true.into(),
            Some(endpoint) => self.dns(group, endpoint, &mut spec),
        }
        for launch in &group.launches {
            let unexpressed = option::of_pod(launch, &mut spec);
            self.warnings.extend(unexpressed);
        }
        self.hosts(group, &mut spec);
        self.warn_of_order(group);
        spec
    }

    /// Pods are started side by side.
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

    /// Names with an address; that of the host itself is not known beforehand.
    fn hosts(&mut self, group: &Group<'_>, spec: &mut Value) {
        let of_pod = group.endpoint.iter().flat_map(|endpoint| &endpoint.hosts);
        let own = group.launches.iter().flat_map(|launch| &launch.container.hosts);
        let mut aliases = Vec::new();
        for (name, address) in of_pod.chain(own).filter_map(|host| host.split_once(':')) {
            if address == "host-gateway" {
                self.warnings.push(format!(
                    "`extra_hosts`: `{}` does not know the host by the name `{name}`, as its address is not known beforehand",
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
                "`runtime.host_gateway`: `{}` does not know the host by the name `{name}`, as its address is not known beforehand",
                group.name
            ));
        }
    }

    fn container(&mut self, launch: &Launch, endpoint: Option<&Endpoint>) -> Value {
        let spec = &launch.container;
        let ports = ports(launch, endpoint);
        let mut container = json!({
            "name": label(&launch.service), "image": spec.image,
            // What podman has already is not pulled again.
            "imagePullPolicy": match launch.pull {
                Pull::Missing => "IfNotPresent",
                Pull::Always => "Always",
                Pull::Never => "Never",
            },
        });
        let mut set = |key: &str, value: Value| {
            if value.as_array().is_none_or(|items| !items.is_empty()) {
                container[key] = value;
            }
        };
        set("command", words(spec.entrypoint.as_deref(), spec));
        set("args", words(spec.command.as_deref(), spec));
        set("env", env(spec));
        set("ports", ports.iter().map(port).collect());
        set("volumeMounts", spec.mounts.iter().map(mounted).collect());
        let context = option::security_context(&spec.options);
        if !context.is_empty() {
            container["securityContext"] = context.into();
        }
        option::mount_shared_memory(launch, &mut container);
        if spec.env.values().any(|value| has_reference(value, spec)) {
            self.warnings.push(format!(
                "`services.{}.env`: every `$` of a value that would refer to a variable is doubled, which `podman kube play` does not undo",
                launch.service
            ));
        }
        let limits = self.limits(launch);
        if !limits.is_empty() {
            container["resources"] = json!({ "limits": limits });
        }
        if let Some((health, port)) =
            launch.health.as_ref().zip(Some(ports.iter().find(|port| port.host.protocol.is_tcp())))
        {
            container["readinessProbe"] = self.probe(launch, health, port.map_or(0, |port| port.container));
        }
        if spec
            .mounts
            .iter()
            .any(|mount| matches!(mount, Mount::Bind { relabel: Relabel::Shared | Relabel::Private, .. }))
        {
            self.warnings.push(format!(
                "`{}` mounts folders of this machine, which are not labelled for SELinux: `chcon -Rt container_file_t FOLDER` does it",
                launch.service
            ));
        }
        container
    }

    fn limits(&mut self, launch: &Launch) -> Map<String, Value> {
        let limits = &launch.container.limits;
        let mut all = Map::new();
        all.extend(limits.memory.map(|bytes| ("memory".to_owned(), memory(bytes).into())));
        all.extend(limits.cpus.map(|cpus| ("cpu".to_owned(), cpus.to_string().into())));
        for device in launch.container.gpu.iter().chain(&launch.container.devices) {
            if let Some((class, _)) = device.split_once('=').filter(|(class, _)| !class.starts_with('/')) {
                all.insert(class.to_owned(), "1".into());
                self.warnings.push(format!(
                    "`{}` gets one `{class}` from a cluster's device plugin; `podman kube play` gives it none",
                    launch.service
                ));
            } else {
                self.warnings.push(format!("`{}` does not get the device `{device}`", launch.service));
            }
        }
        all
    }

    fn probe(&mut self, launch: &Launch, health: &HealthCheck, port: u16) -> Value {
        let habits = self.subject.habits;
        let times = |mut probe: Value| {
            probe["periodSeconds"] = whole(habits.startup_check_interval).into();
            probe
        };
        let health = match health {
            HealthCheck::Http(check) => check,
            HealthCheck::Command(words) => {
                let (how, rest) = words.split_first().map_or(("", &[][..]), |(how, rest)| (how.as_str(), rest));
                let shell = ["/bin/sh", "-c"].map(str::to_owned);
                let command = if how == "CMD-SHELL" { [&shell[..], &[rest.join(" ")]].concat() } else { rest.to_vec() };
                return times(json!({ "exec": { "command": command }, "timeoutSeconds": 30 }));
            }
        };
        if !is_success(health.expected) {
            self.warnings.push(format!(
                "`services.{}.health.expected_status`: Kubernetes takes 200 to 399 for an answer and not {}",
                launch.service, health.expected
            ));
        }
        let timeout = whole(habits.ping_timeout);
        times(json!({ "httpGet": { "path": health.path, "port": port }, "timeoutSeconds": timeout }))
    }

    /// A Service for every name that others find a container by. podman leaves them out: pods have their names there.
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

    /// podman calls a pod by its name, and one of a Deployment by another.
    fn warn_of_names(&mut self, group: &Group<'_>, endpoint: &Endpoint) {
        let is_known = |alias: &&String| self.workload == Workload::Pod && **alias == group.name;
        let unknown: Vec<_> = endpoint.aliases.iter().filter(|alias| !is_known(alias)).cloned().collect();
        if !unknown.is_empty() {
            let names = unknown.join("`, `");
            self.warnings.push(format!(
                "`network_aliases`: `{names}` are Services of a cluster; with `podman kube play` nobody finds `{}` by them",
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
        let network = &self.subject.desired.network;
        let options = podman_options(network);
        if options.is_empty()
            || self.subject.desired.launches.iter().all(|launch| launch.container.networking == Networking::Host)
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

/// What makes this network another one than podman makes by itself.
fn podman_options(network: &NetworkSpec) -> Vec<String> {
    let driver = (network.driver != "bridge").then(|| format!("--driver {}", network.driver));
    let subnet = network.subnet.map(|subnet| format!("--subnet {subnet}"));
    let gateway = network.gateway.map(|gateway| format!("--gateway {gateway}"));
    let mtu = network.mtu.map(|mtu| format!("--opt mtu={mtu}"));
    let switches = [("--ipv6", network.ipv6), ("--internal", network.internal)];
    let switches = switches.into_iter().filter(|(_, on)| *on).map(|(switch, _)| switch.to_owned());
    [driver, subnet, gateway, mtu].into_iter().flatten().chain(switches).collect()
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
