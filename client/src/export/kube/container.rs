//! One container of a pod: its settings, limits and health check, and Kubernetes' fields for the
//! settings that podman takes unchanged.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{SECRET, Writer, label, of_path};
use crate::config::Pull;
use crate::export::{is_success, missing_gpus, ports};
use crate::health::HealthCheck;
use crate::plan::Launch;
use crate::podman::{ContainerOption, ContainerSpec, Endpoint, Mount, Options, Relabel, SecretSource};
use crate::port::{Protocol, PublishedPort};

/// How long a health command may take by default; the same as podman's default.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

impl Writer<'_> {
    pub(super) fn container(&mut self, launch: &Launch, endpoint: Option<&Endpoint>) -> Value {
        let spec = &launch.container;
        let ports = ports(launch, endpoint);
        let mut container = json!({
            "name": label(&launch.service), "image": spec.image,
            // `IfNotPresent` does not pull an image that podman has already.
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
        set("env", env(spec, &launch.service));
        set("ports", ports.iter().map(port).collect());
        set("volumeMounts", spec.mounts.iter().map(mounted).collect());
        let context = security_context(&spec.options);
        if !context.is_empty() {
            container["securityContext"] = context.into();
        }
        mount_memory(launch, &mut container);
        if let Some(folder) = spec.options.get(ContainerOption::WorkingDir).first() {
            container["workingDir"] = folder.as_str().into();
        }
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
        let gpus = launch.container.gpu.iter().map(|device| ("gpu", device));
        for (key, device) in gpus.chain(launch.container.devices.iter().map(|device| ("devices", device))) {
            let place = format!("services.{}.{key}", launch.service);
            if let Some((class, _)) = device.split_once('=').filter(|(class, _)| !class.starts_with('/')) {
                all.insert(class.to_owned(), "1".into());
                self.warnings.push(format!(
                    "`{place}`: a cluster's device plugin gives one `{class}`, whichever is free, for `{device}`; \
                     `podman kube play` gives none"
                ));
            } else {
                self.warnings.push(format!("`{place}`: there is no device `{device}` in the pod"));
            }
        }
        self.warnings.extend(missing_gpus(launch));
        all
    }

    fn probe(&mut self, launch: &Launch, health: &HealthCheck, port: u16) -> Value {
        let (timeouts, own) = (self.set.timeouts, launch.health_times);
        let times = |mut probe: Value| {
            let of_all = Duration::from_secs_f64(timeouts.startup_check_interval);
            probe["periodSeconds"] = whole(own.interval_or(of_all).as_secs_f64()).into();
            if let Some(retries) = own.retries {
                probe["failureThreshold"] = retries.max(1).into();
            }
            probe
        };
        let timeout = |of_all: Duration| whole(own.timeout_or(of_all).as_secs_f64());
        let health = match health {
            HealthCheck::Http(check) => check,
            HealthCheck::Command(words) => {
                let (how, rest) = words.split_first().map_or(("", &[][..]), |(how, rest)| (how.as_str(), rest));
                let shell = ["/bin/sh", "-c"].map(str::to_owned);
                let command = if how == "CMD-SHELL" { [&shell[..], &[rest.join(" ")]].concat() } else { rest.to_vec() };
                return times(json!({ "exec": { "command": command }, "timeoutSeconds": timeout(COMMAND_TIMEOUT) }));
            }
        };
        if !is_success(health.expected) {
            self.warnings.push(format!(
                "`services.{}.health.expected_status`: Kubernetes takes 200 to 399 for an answer and not {}",
                launch.service, health.expected
            ));
        }
        let timeout = timeout(Duration::from_secs_f64(timeouts.ping_timeout));
        times(json!({ "httpGet": { "path": health.path, "port": port }, "timeoutSeconds": timeout }))
    }
}

/// The mount point of shared memory (`shm_overview(7)`).
const SHM: &str = "/dev/shm";

/// Writes one container's part of its pod's specification. Returns a sentence for each setting that
/// Kubernetes cannot express.
pub(super) fn of_pod(launch: &Launch, spec: &mut Value) -> Vec<String> {
    let mut unexpressed = Vec::new();
    let options = &launch.container.options;
    for (row, values) in options.iter() {
        let first = values.first().map(String::as_str).unwrap_or_default();
        let cannot = |why: &str| format!("`services.{}.{}`: {why}", launch.service, row.key);
        match row.option {
            ContainerOption::Hostname => spec["hostname"] = first.into(),
            ContainerOption::Ipc if first == "host" => spec["hostIPC"] = true.into(),
            ContainerOption::Ipc if first == "none" => unexpressed.push(cannot("every pod has shared memory")),
            ContainerOption::ShmSize => {
                let volume =
                    json!({ "name": shm(launch), "emptyDir": { "medium": "Memory", "sizeLimit": kubes(first) } });
                match spec["volumes"].as_array_mut() {
                    Some(volumes) => volumes.push(volume),
                    None => spec["volumes"] = json!([volume]),
                }
            }
            ContainerOption::Tmpfs => {
                let volumes = values.iter().map(|one| {
                    let mut folder = json!({ "medium": "Memory" });
                    if let Some(size) = tmpfs_options(one).find_map(|option| option.strip_prefix("size=")) {
                        folder["sizeLimit"] = kubes(size).into();
                    }
                    json!({ "name": tmpfs_name(launch, one), "emptyDir": folder })
                });
                let volumes: Vec<Value> = volumes.collect();
                match spec["volumes"].as_array_mut() {
                    Some(all) => all.extend(volumes),
                    None => spec["volumes"] = volumes.into(),
                }
                let other = |option: &&str| !option.starts_with("size=") && !matches!(*option, "rw" | "ro");
                let unknown = values.iter().flat_map(|one| tmpfs_options(one)).filter(other);
                unexpressed.extend(unknown.map(|option| cannot(&format!("Kubernetes has no word for `{option}`"))));
            }
            ContainerOption::Ulimits => unexpressed.push(cannot("Kubernetes has no such limits")),
            ContainerOption::Sysctls => {
                let named = |(name, value)| json!({ "name": name, "value": value });
                spec["securityContext"]["sysctls"] = options.sysctls().map(named).collect();
            }
            ContainerOption::GroupAdd => {
                let numbers: Vec<u32> = values.iter().filter_map(|group| group.parse().ok()).collect();
                if numbers.len() < values.len() {
                    unexpressed.push(cannot("Kubernetes has numbers of groups, and no names"));
                }
                if !numbers.is_empty() {
                    spec["securityContext"]["supplementalGroups"] = json!(numbers);
                }
            }
            ContainerOption::User if numbers(first).is_none() => {
                unexpressed.push(cannot("Kubernetes has numbers of users, and no names"));
            }
            ContainerOption::Userns => {
                unexpressed.push(cannot("is an annotation of podman's, which a cluster ignores"));
            }
            ContainerOption::Init => unexpressed.push(cannot("is an annotation of podman's, which a cluster ignores")),
            ContainerOption::SecurityOpt => {
                let known = |option: &String| {
                    option == "no-new-privileges" || option == "label=disable" || option.ends_with("=unconfined")
                };
                let unknown = values.iter().filter(|option| !known(option));
                unexpressed.extend(unknown.map(|option| cannot(&format!("Kubernetes has no word for `{option}`"))));
            }
            _ => {}
        }
    }
    unexpressed
}

/// The annotations that podman reads for settings without a field in Kubernetes.
pub(super) fn annotations(launch: &Launch) -> Vec<(String, String)> {
    let options = &launch.container.options;
    let init = options.get(ContainerOption::Init).first();
    let init = init.map(|_| (format!("io.podman.annotations.init/{}", label(&launch.service)), "TRUE".to_owned()));
    let userns = options.get(ContainerOption::Userns).first();
    let userns = userns.map(|mode| ("io.podman.annotations.userns".to_owned(), mode.clone()));
    init.into_iter().chain(userns).collect()
}

/// A container's `securityContext`; empty if no option needs one.
fn security_context(options: &Options) -> Map<String, Value> {
    let mut context = Map::new();
    if let Some((user, group)) = options.get(ContainerOption::User).first().and_then(|user| numbers(user)) {
        context.insert("runAsUser".to_owned(), user.into());
        context.extend(group.map(|group| ("runAsGroup".to_owned(), group.into())));
    }
    if !options.get(ContainerOption::Privileged).is_empty() {
        context.insert("privileged".to_owned(), true.into());
    }
    if !options.get(ContainerOption::ReadOnly).is_empty() {
        context.insert("readOnlyRootFilesystem".to_owned(), true.into());
    }
    let mut capabilities = Map::new();
    for (key, option) in [("add", ContainerOption::CapAdd), ("drop", ContainerOption::CapDrop)] {
        let names: Vec<&str> = options.get(option).iter().map(|name| name.trim_start_matches("CAP_")).collect();
        if !names.is_empty() {
            capabilities.insert(key.to_owned(), json!(names));
        }
    }
    if !capabilities.is_empty() {
        context.insert("capabilities".to_owned(), capabilities.into());
    }
    for option in options.get(ContainerOption::SecurityOpt) {
        let (key, value) = match option.as_str() {
            "no-new-privileges" => ("allowPrivilegeEscalation", json!(false)),
            "seccomp=unconfined" => ("seccompProfile", json!({ "type": "Unconfined" })),
            "apparmor=unconfined" => ("appArmorProfile", json!({ "type": "Unconfined" })),
            // The unconfined SELinux type (podman-kube-play(1)).
            "label=disable" => ("seLinuxOptions", json!({ "type": "spc_t" })),
            _ => continue,
        };
        context.insert(key.to_owned(), value);
    }
    context
}

/// Mounts folders in memory: sized shared memory, and the `tmpfs` ones.
fn mount_memory(launch: &Launch, container: &mut Value) {
    let options = &launch.container.options;
    let shared = options.get(ContainerOption::ShmSize).first();
    let shared = shared.map(|_| json!({ "name": shm(launch), "mountPath": SHM }));
    let folders = options.get(ContainerOption::Tmpfs).iter().map(|one| {
        let mut mount = json!({ "name": tmpfs_name(launch, one), "mountPath": tmpfs_path(one) });
        if tmpfs_options(one).any(|option| option == "ro") {
            mount["readOnly"] = true.into();
        }
        mount
    });
    let more: Vec<Value> = shared.into_iter().chain(folders).collect();
    match container["volumeMounts"].as_array_mut() {
        Some(mounts) => mounts.extend(more),
        None if !more.is_empty() => container["volumeMounts"] = more.into(),
        None => {}
    }
}

fn tmpfs_path(tmpfs: &str) -> &str {
    tmpfs.split(':').next().unwrap_or_default()
}

fn tmpfs_options(tmpfs: &str) -> impl Iterator<Item = &str> {
    let options = tmpfs.split_once(':').map_or("", |(_, options)| options);
    options.split(',').filter(|option| !option.is_empty())
}

/// A volume name for a tmpfs, unique in the pod.
fn tmpfs_name(launch: &Launch, tmpfs: &str) -> String {
    format!("tmp-{}", of_path(Path::new(&format!("{}{}", launch.service, tmpfs_path(tmpfs)))))
}

fn shm(launch: &Launch) -> String {
    format!("shm-{}", label(&launch.service))
}

/// Kubernetes' form of a size: `1g` becomes `1Gi`.
fn kubes(size: &str) -> String {
    let (number, unit) = size.split_at(size.trim_end_matches(|c: char| !c.is_ascii_digit()).len());
    if unit.is_empty() { number.to_owned() } else { format!("{number}{}i", unit.to_uppercase()) }
}

/// The ids of a user and, if given, of a group; none for a name.
fn numbers(user: &str) -> Option<(u32, Option<u32>)> {
    match user.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}

pub(super) fn env(spec: &ContainerSpec, service: &str) -> Value {
    let plain = spec.env.iter().map(|(name, value)| json!({ "name": name, "value": literal(value, spec) }));
    let secret = spec.secret_env.iter().map(|(name, source)| {
        let kept = match source {
            SecretSource::Podman(secret) => json!({ "name": label(secret), "key": name }),
            ours => json!({ "name": SECRET, "key": secret_key(service, name, ours) }),
        };
        json!({ "name": name, "valueFrom": { "secretKeyRef": kept } })
    });
    plain.chain(secret).collect()
}

/// The key of a value in the Secret, which all services share. Services may have different values
/// of one variable, but the web UI's secret is the same for all.
pub(super) fn secret_key(service: &str, variable: &str, source: &SecretSource) -> String {
    match source {
        SecretSource::WebUi => variable.to_owned(),
        SecretSource::File(_) | SecretSource::Podman(_) => format!("{}.{variable}", label(service)),
    }
}

pub(super) fn words(words: Option<&[String]>, spec: &ContainerSpec) -> Value {
    words.unwrap_or_default().iter().map(|word| literal(word, spec)).collect()
}

/// Whether Kubernetes would change a text: it expands `$(NAME)` for a variable of the container,
/// and turns `$$` into `$`.
fn has_reference(text: &str, spec: &ContainerSpec) -> bool {
    let mut names = spec.env.keys().chain(spec.secret_env.keys());
    text.contains("$$") || names.any(|name| text.contains(&format!("$({name})")))
}

fn literal(text: &str, spec: &ContainerSpec) -> String {
    if has_reference(text, spec) { text.replace('$', "$$") } else { text.to_owned() }
}

/// The volume of a mount, with its name in the pod.
pub(super) fn volume(mount: &Mount) -> (String, Value) {
    let name = volume_name(mount);
    let volume = match mount {
        Mount::Volume { .. } => json!({ "name": name, "persistentVolumeClaim": { "claimName": name } }),
        // Only a missing folder of ours is created.
        Mount::Bind { source, relabel: Relabel::Shared | Relabel::Private, .. } => {
            json!({ "name": name, "hostPath": { "path": source, "type": "DirectoryOrCreate" } })
        }
        Mount::Bind { source, .. } => json!({ "name": name, "hostPath": { "path": source } }),
    };
    (name, volume)
}

pub(super) fn mounted(mount: &Mount) -> Value {
    let mut value = json!({ "name": volume_name(mount), "mountPath": mount.target() });
    if mount.is_read_only() {
        value["readOnly"] = true.into();
    }
    value
}

fn volume_name(mount: &Mount) -> String {
    match mount {
        Mount::Volume { name, .. } => label(name),
        Mount::Bind { source, .. } => of_path(source),
    }
}

/// Bytes in the largest unit that gives a whole number.
pub(super) fn memory(bytes: u64) -> String {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    let fits = units.iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift));
    fits.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Whole seconds, at least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a configured time of 60 seconds at most")]
pub(super) fn whole(seconds: f64) -> u32 {
    (seconds.ceil() as u32).max(1)
}

/// A port of a container.
pub(super) fn port(port: &PublishedPort) -> Value {
    let mut value = json!({ "containerPort": port.container, "hostPort": port.host.port });
    if let Some(address) = port.host.address {
        value["hostIP"] = address.to_string().into();
    }
    set_protocol(&mut value, port.host.protocol);
    value
}

/// Writes the protocol, unless it is TCP, which is Kubernetes' default.
pub(super) fn set_protocol(port: &mut Value, protocol: Protocol) {
    if !protocol.is_tcp() {
        port["protocol"] = protocol.as_str().to_uppercase().into();
    }
}
