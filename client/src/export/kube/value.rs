//! Parts of a container and of its pod as Kubernetes writes them.

use serde_json::{Value, json};

use super::SECRET;
use super::name::{label, of_path};
use crate::podman::{ContainerSpec, Mount, PublishedPort, Relabel, SecretSource};
use crate::port::Protocol;

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

/// The key of a value in the Secret of all services: two services may have different values of one variable, but not of the web UI's.
pub(super) fn secret_key(service: &str, variable: &str, source: &SecretSource) -> String {
    match source {
        SecretSource::WebUi => variable.to_owned(),
        SecretSource::File(_) | SecretSource::Podman(_) => format!("{}.{variable}", label(service)),
    }
}

pub(super) fn words(words: Option<&[String]>, spec: &ContainerSpec) -> Value {
    words.unwrap_or_default().iter().map(|word| literal(word, spec)).collect()
}

/// Whether Kubernetes would replace something in a text: `$(NAME)` of a variable that the container has, `$$` by `$`.
pub(super) fn has_reference(text: &str, spec: &ContainerSpec) -> bool {
    let mut names = spec.env.keys().chain(spec.secret_env.keys());
    text.contains("$$") || names.any(|name| text.contains(&format!("$({name})")))
}

fn literal(text: &str, spec: &ContainerSpec) -> String {
    if has_reference(text, spec) { text.replace('$', "$$") } else { text.to_owned() }
}

/// The volume of a mount, by its name in the pod.
pub(super) fn volume(mount: &Mount) -> (String, Value) {
    let name = volume_name(mount);
    let volume = match mount {
        Mount::Volume { .. } => json!({ "name": name, "persistentVolumeClaim": { "claimName": name } }),
        // Only a folder of ours is made where it is missing.
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

/// Bytes with the largest unit that leaves a whole number.
pub(super) fn memory(bytes: u64) -> String {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    let fits = units.iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift));
    fits.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Whole seconds, one at least.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a configured time of 60 seconds at most")]
pub(super) fn whole(seconds: f64) -> u32 {
    (seconds.ceil() as u32).max(1)
}

/// A port that leads into a container.
pub(super) fn port(port: &PublishedPort) -> Value {
    let mut value = json!({ "containerPort": port.container, "hostPort": port.host.port });
    if let Some(address) = port.host.address {
        value["hostIP"] = address.to_string().into();
    }
    say_protocol(&mut value, port.host.protocol);
    value
}

/// Kubernetes takes a port for one of TCP where nothing else is said.
pub(super) fn say_protocol(port: &mut Value, protocol: Protocol) {
    if !protocol.is_tcp() {
        port["protocol"] = protocol.as_str().to_uppercase().into();
    }
}
