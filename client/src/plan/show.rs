//! Prints a plan: as text, one line per step, and as JSON. Also the size of its pulls.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::label::is_own;
use super::{Action, Plan, Replaced, Step, Unchanged};
use crate::health::HealthCheck;
use crate::podman::{Blobs, ContainerSpec, Endpoint, Mount, NetworkSpec, Networking, OptionShape, SecretSource};
use crate::port::port_ranges;
use crate::terminal::readable_size;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kept in &self.kept {
            writeln!(f, "     {kept}")?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            write!(f, "{:>3}. {}", index + 1, step.action)?;
            if !step.after.is_empty() {
                let after: Vec<String> = step.after.iter().map(|index| (index + 1).to_string()).collect();
                write!(f, " (after {})", after.join(", "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) => write!(f, "use the network `{name}`"),
            Self::Volume(name) => write!(f, "use the volume `{name}`"),
            Self::Pod(name) => write!(f, "use the pod `{name}`"),
            Self::Service(name) => write!(f, "leave `{name}`, which runs with these settings"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNetwork(spec) => write!(f, "create the network `{}`{}", spec.name, network(spec)),
            Self::RemoveNetwork(name) => write!(f, "remove the network `{name}` to recreate it"),
            Self::CreateVolume(name) => write!(f, "create the volume `{name}`"),
            Self::CreateFolder(path) => write!(f, "make the folder `{}` unless it is there", path.display()),
            Self::Pull(image) => write!(f, "pull the image `{image}`"),
            Self::SetAside { name, .. } => write!(f, "set aside the container `{name}`, whose settings differ"),
            Self::Discard { name } => write!(f, "remove the container `{name}`, which was set aside"),
            Self::RemoveContainer { name, .. } => write!(f, "remove the container `{name}` to replace it"),
            Self::RemovePod { name, .. } => write!(f, "remove the pod `{name}` to recreate it"),
            Self::CreatePod(spec) => write!(f, "create the pod `{}`{}", spec.name, endpoint(&spec.endpoint)),
            Self::CreateContainer(spec) => write!(f, "create the container `{}`{}", spec.name, container(spec)),
            Self::Start { name } => write!(f, "start the container `{name}`"),
            Self::Stop { name } => write!(f, "stop the container `{name}`"),
            Self::CheckRuns { name } => write!(f, "see that the container `{name}` runs"),
            Self::ReadBack(expected) => write!(f, "check every setting of the container `{}`", expected.spec.name),
            Self::AwaitHealth { check: HealthCheck::Http(check), .. } => {
                write!(f, "wait until {} answers {}", check.url(), check.expected)
            }
            Self::AwaitHealth { check, container, .. } => {
                write!(f, "wait until `{}` succeeds in the container `{container}`", check.question())
            }
            Self::AwaitEnd { container, .. } => write!(f, "wait until the container `{container}` has ended well"),
        }
    }
}

fn network(spec: &NetworkSpec) -> String {
    let mut parts = vec![format!(" ({}", spec.driver)];
    parts.extend(spec.subnet.map(|subnet| format!("subnet {subnet}")));
    parts.extend(spec.gateway.map(|gateway| format!("gateway {gateway}")));
    parts.extend(spec.ipv6.then(|| "with IPv6".to_owned()));
    parts.extend(spec.internal.then(|| "internal".to_owned()));
    parts.extend(spec.mtu.map(|mtu| format!("MTU {mtu}")));
    parts.join(", ") + ")"
}

fn endpoint(endpoint: &Endpoint) -> String {
    let join = |values: Vec<String>| values.join(", ");
    let ports = port_ranges(&endpoint.ports).iter().map(ToString::to_string).collect();
    let servers = endpoint.dns_servers.iter().map(ToString::to_string).collect();
    let details = [
        Some(format!(" on the network `{}`", endpoint.network)),
        (!endpoint.aliases.is_empty()).then(|| format!("as {}", join(endpoint.aliases.clone()))),
        (!endpoint.ports.is_empty()).then(|| format!("ports {}", join(ports))),
        (!endpoint.further.is_empty()).then(|| format!("and on {}", join(endpoint.further.clone()))),
        (!endpoint.hosts.is_empty()).then(|| format!("hosts {}", join(endpoint.hosts.clone()))),
        (!endpoint.dns_servers.is_empty()).then(|| format!("DNS servers {}", join(servers))),
        endpoint.fixed_place.is_some().then(|| "with fixed addresses".to_owned()),
    ];
    join(details.into_iter().flatten().collect())
}

fn container(spec: &ContainerSpec) -> String {
    let networking = match &spec.networking {
        Networking::Own(own) => endpoint(own),
        Networking::Pod(pod) => format!(" in the pod `{pod}`"),
        Networking::Host => " on the host's network".to_owned(),
    };
    let mut parts =
        vec![format!(" from `{}`{networking}", spec.image), format!("at most {} processes", spec.limits.pids)];
    parts.extend(spec.limits.memory.map(|memory| format!("{memory} bytes of memory")));
    parts.extend(spec.limits.cpus.map(|cpus| format!("{cpus} CPUs")));
    let how = |mount: &Mount| if mount.is_read_only() { " (read-only)" } else { "" };
    parts.extend(spec.mounts.iter().map(|mount| match mount {
        Mount::Volume { name, target, .. } => format!("volume `{name}` at {}{}", target.display(), how(mount)),
        Mount::Bind { source, target, .. } => format!("{} at {}{}", source.display(), target.display(), how(mount)),
    }));
    let words = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    parts.extend(spec.entrypoint.as_deref().map(|program| format!("program {}", words(program))));
    parts.extend(spec.command.as_deref().map(|arguments| format!("arguments {}", words(arguments))));
    let whole = |value: &String| if value.contains(' ') { quoted(value) } else { value.clone() };
    parts.extend(spec.options.iter().map(|(row, values)| match row.shape {
        OptionShape::Switch => row.key.to_owned(),
        _ => format!("{} {}", row.key, values.iter().map(whole).collect::<Vec<_>>().join(" ")),
    }));
    let secrets = spec.secret_env.iter().filter(|(_, source)| **source != SecretSource::WebUi);
    parts.extend(secrets.map(|(variable, source)| format!("secret {variable} from {source}")));
    parts.extend(spec.hosts.iter().map(|host| format!("host {host}")));
    parts.extend(spec.health.iter().map(|check| format!("health by {}", words(check.get(1..).unwrap_or_default()))));
    let labels = spec.labels.iter().filter(|(label, _)| !is_own(label));
    parts.extend(labels.map(|(label, value)| format!("label {label}={}", quoted(value))));
    parts.extend(spec.gpu.iter().chain(&spec.devices).map(|device| format!("device {device}")));
    parts.push(format!("restart {}", spec.restart.as_str()));
    parts.join(", ")
}

/// A word quoted for a shell.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| format!("{word:?}"), Into::into)
}

impl Plan {
    /// The plan as JSON, by the schema `docs/schemas/plan.json`. Ids count from 1, as in the text.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().enumerate().map(|(index, step)| step.to_json(index)).collect();
        let kept: Vec<Value> = self.kept.iter().map(Unchanged::to_json).collect();
        let replaced: Vec<Value> = self.replaced.iter().map(Replaced::to_json).collect();
        let pulls = self.pull_size();
        json!({ "steps": steps, "kept": kept, "replaced": replaced, "pulls": pulls, "warnings": self.warnings })
    }
}

impl Step {
    fn to_json(&self, index: usize) -> Value {
        let (action, name) = self.action.parts();
        let after: Vec<usize> = self.after.iter().map(|index| index + 1).collect();
        json!({
            "id": index + 1,
            "action": action,
            "name": name,
            "service": self.service,
            "after": after,
            "text": self.action.to_string(),
        })
    }
}

impl Unchanged {
    fn to_json(&self) -> Value {
        let (kind, name) = match self {
            Self::Network(name) => ("network", name),
            Self::Volume(name) => ("volume", name),
            Self::Pod(name) => ("pod", name),
            Self::Service(name) => ("service", name),
        };
        json!({ "kind": kind, "name": name })
    }
}

impl Replaced {
    fn to_json(&self) -> Value {
        let kind = self.kind.to_string();
        let (why, stops) = (&self.why, &self.stops);
        json!({ "kind": kind, "name": self.name, "why": why, "stops": stops, "needs_consent": self.needs_consent() })
    }
}

impl Action {
    /// The name of the action and of the object that it changes.
    fn parts(&self) -> (&'static str, String) {
        match self {
            Self::CreateNetwork(spec) => ("create-network", spec.name.clone()),
            Self::RemoveNetwork(name) => ("remove-network", name.clone()),
            Self::CreateVolume(name) => ("create-volume", name.clone()),
            Self::CreateFolder(path) => ("create-folder", path.display().to_string()),
            Self::Pull(image) => ("pull", image.clone()),
            Self::SetAside { name, .. } => ("set-aside", name.clone()),
            Self::Discard { name } => ("discard", name.clone()),
            Self::RemoveContainer { name, .. } => ("remove-container", name.clone()),
            Self::RemovePod { name, .. } => ("remove-pod", name.clone()),
            Self::CreatePod(spec) => ("create-pod", spec.name.clone()),
            Self::CreateContainer(spec) => ("create-container", spec.name.clone()),
            Self::Start { name } => ("start", name.clone()),
            Self::Stop { name } => ("stop", name.clone()),
            Self::CheckRuns { name } => ("check-runs", name.clone()),
            Self::ReadBack(expected) => ("read-back", expected.spec.name.clone()),
            Self::AwaitHealth { check, .. } => ("await-health", check.question()),
            Self::AwaitEnd { container, .. } => ("await-end", container.clone()),
        }
    }
}

/// The size of a plan's pulls, as far as the registries reported it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PullSize {
    /// The images to pull.
    pub images: usize,
    /// Those of known size.
    pub of_known_size: usize,
    /// The bytes to download for those of known size. podman skips the layers that it has, so it
    /// may be less.
    pub bytes_at_most: u64,
}

impl Plan {
    /// The size of the pulls. A layer that several images share counts once.
    #[must_use]
    pub fn pull_size(&self) -> PullSize {
        let known: Vec<&Blobs> = self.pulled_images().filter_map(|image| self.blobs.get(image)).collect();
        let blobs: BTreeMap<&String, u64> =
            known.iter().flat_map(|blobs| blobs.iter()).map(|(digest, size)| (digest, *size)).collect();
        PullSize {
            images: self.pulled_images().count(),
            of_known_size: known.len(),
            bytes_at_most: blobs.values().fold(0, |sum, size| sum.saturating_add(*size)),
        }
    }
}

impl fmt::Display for PullSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = if self.images == 1 { "image" } else { "images" };
        write!(f, "{} {images} to pull, ", self.images)?;
        let size = readable_size(self.bytes_at_most);
        match self.images.saturating_sub(self.of_known_size) {
            0 => write!(f, "a download of at most {size}"),
            _ if self.of_known_size == 0 => f.write_str("of unknown size"),
            unknown => write!(f, "a download of at most {size} plus {unknown} of unknown size"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;

    /// A plan that pulls these images, of which some have blobs.
    fn plan(images: &[(&str, &[(&str, u64)])]) -> Plan {
        let pull = |image: &str| Step { action: Action::Pull(image.into()), service: None, after: Vec::new() };
        let blobs = images.iter().filter(|(_, blobs)| !blobs.is_empty());
        let named = |blobs: &[(&str, u64)]| blobs.iter().map(|(digest, size)| ((*digest).to_owned(), *size)).collect();
        Plan {
            steps: images.iter().map(|(image, _)| pull(image)).collect(),
            blobs: blobs.map(|(image, blobs)| ((*image).to_owned(), named(blobs))).collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn a_layer_that_images_share_counts_once() {
        let plan = plan(&[("a", &[("base", 1000), ("a", 20)]), ("b", &[("base", 1000), ("b", 4)])]);
        assert_eq!(plan.pull_size(), PullSize { images: 2, of_known_size: 2, bytes_at_most: 1024 });
    }

    #[test]
    fn the_size_says_how_much_of_it_is_unknown() {
        let shown = |images: &[(&str, &[(&str, u64)])]| plan(images).pull_size().to_string();
        assert_eq!(shown(&[("a", &[])]), "1 image to pull, of unknown size");
        assert_eq!(shown(&[("a", &[("x", 2048)])]), "1 image to pull, a download of at most 2.00 KiB");
        assert_eq!(
            shown(&[("a", &[("x", 2048)]), ("b", &[]), ("c", &[])]),
            "3 images to pull, a download of at most 2.00 KiB plus 2 of unknown size"
        );
    }

    #[test]
    fn an_absurd_size_does_not_overflow() {
        assert_eq!(plan(&[("a", &[("x", u64::MAX), ("y", 1)])]).pull_size().bytes_at_most, u64::MAX);
    }
}
