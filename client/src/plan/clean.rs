//! Plans the removal of what airpods made, with a reason for each object that stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::label::{SERVICE, is_ours};
use super::{Kind, Observed, Stages, Teardown};
use crate::podman::{Container, ContainerState, DiskUsage, Pod};
use crate::terminal::readable_size;

/// The objects that `clean` removes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Scope {
    /// Containers and pods.
    pub pods: bool,
    /// Volumes.
    pub volumes: bool,
    /// Images.
    pub images: bool,
    /// The network.
    pub network: bool,
    /// Files of airpods' own.
    pub configs: bool,
}

/// The existing objects that the scope covers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// podman's objects. Its images are the configured ones that are in storage.
    pub observed: Observed,
    /// The existing volumes of the configuration, each with the containers that use it.
    pub volumes: BTreeMap<String, Vec<String>>,
    /// The size of each object; empty if podman does not report it.
    pub usage: DiskUsage,
    /// Files of airpods' own that exist.
    pub files: Vec<PathBuf>,
}

/// The plan of a clean-up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clean {
    /// The stages in order: stop containers, remove them, remove their pods, remove what they used,
    /// remove files.
    pub stages: Stages,
    /// The objects in scope that are kept.
    pub skipped: Vec<Skipped>,
    usage: DiskUsage,
}

/// An object that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The kind of object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Why it stays.
    pub why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}` stays: {}", self.kind, self.name, self.why)
    }
}

impl Skipped {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "kind": self.kind.to_string(), "name": self.name, "why": self.why })
    }
}

impl Clean {
    /// The steps, a line each, with the size that podman reports for the object.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.stages.iter().flatten().map(|teardown| match self.size(teardown) {
            Some(size) => format!("{teardown} ({})", readable_size(size)),
            None => teardown.to_string(),
        })
    }

    /// The plan as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let steps = self.stages.iter().flatten().map(|teardown| {
            let mut step = teardown.to_json();
            step["size_bytes"] = json!(self.size(teardown));
            step
        });
        json!({
            "steps": steps.collect::<Vec<_>>(),
            "kept": self.skipped.iter().map(Skipped::to_json).collect::<Vec<_>>(),
        })
    }

    /// The question to confirm. It names each volume, because volumes hold data that people
    /// downloaded or made.
    #[must_use]
    pub fn question(&self) -> String {
        let volumes = self.stages.iter().flatten().filter_map(|teardown| match teardown {
            Teardown::Remove(Kind::Volume, name) => Some(match self.size(teardown) {
                Some(size) => format!("`{name}` ({})", readable_size(size)),
                None => format!("`{name}`"),
            }),
            _ => None,
        });
        match volumes.collect::<Vec<_>>().as_slice() {
            [] => "Do all of this?".to_owned(),
            [one] => format!("Do all of this, and lose what is in the volume {one}?"),
            many => format!("Do all of this, and lose what is in the volumes {}?", many.join(", ")),
        }
    }

    fn size(&self, teardown: &Teardown) -> Option<u64> {
        match teardown {
            Teardown::Remove(Kind::Volume, name) => self.usage.volumes.get(name).copied(),
            Teardown::Remove(Kind::Image, name) => self.usage.images.get(name).copied(),
            _ => None,
        }
    }
}

/// Plans a clean-up. It removes only objects with our labels, configured volumes and images that
/// nothing else uses, and files of airpods' own.
///
/// `keep_volumes` keeps volumes whatever the scope says, because no question will name them.
#[must_use]
pub fn clean(scope: Scope, keep_volumes: bool, inventory: &Inventory) -> Clean {
    let cleaner = Cleaner { scope, inventory };
    let mut skipped = Vec::new();
    let observed = &inventory.observed;
    let stops = observed.containers.iter().filter(|container| cleaner.goes(container)).filter_map(|container| {
        let service = container.labels.get(SERVICE).cloned().unwrap_or_default();
        let stop = Teardown::Stop { service, container: container.name.clone(), started_at: container.started_at };
        (container.state == ContainerState::Running).then_some(stop)
    });
    let containers = observed.containers.iter().filter(|container| cleaner.goes(container));
    let remove = |kind: Kind| move |name: String| Teardown::Remove(kind, name);
    let mut stages: Stages =
        vec![stops.collect(), containers.map(|container| remove(Kind::Container)(container.name.clone())).collect()];
    stages.push(cleaner.pods(&mut skipped).into_iter().map(remove(Kind::Pod)).collect());
    let mut used: Vec<Teardown> = cleaner.networks(&mut skipped).into_iter().map(remove(Kind::Network)).collect();
    used.extend(cleaner.volumes(keep_volumes, &mut skipped).into_iter().map(remove(Kind::Volume)));
    used.extend(cleaner.images(&mut skipped).into_iter().map(remove(Kind::Image)));
    stages.push(used);
    stages.push(inventory.files.iter().filter(|_| scope.configs).cloned().map(Teardown::Discard).collect());
    stages.retain(|stage| !stage.is_empty());
    Clean { stages, skipped, usage: inventory.usage.clone() }
}

struct Cleaner<'a> {
    scope: Scope,
    inventory: &'a Inventory,
}

impl Cleaner<'_> {
    fn goes(&self, container: &Container) -> bool {
        self.scope.pods && is_ours(&container.labels)
    }

    /// Whether the container of this name is removed.
    fn is_gone(&self, name: &str) -> bool {
        self.inventory.observed.container(name).is_some_and(|container| self.goes(container))
    }

    /// The reason that an object stays: the container that uses it.
    fn holder(&self, container: &str, verb: &str) -> String {
        let ours = self.inventory.observed.container(container).is_some_and(|found| is_ours(&found.labels));
        let hint = if ours { "; `--pods` removes that" } else { "" };
        format!("the container `{container}` {verb} it{hint}")
    }

    /// Our pods, except those with a container that stays.
    fn pods(&self, skipped: &mut Vec<Skipped>) -> Vec<String> {
        let mut gone = Vec::new();
        for pod in self.inventory.observed.pods.iter().filter(|pod| self.scope.pods && is_ours(&pod.labels)) {
            match self.foreign_container_in(pod) {
                Some(foreign) => {
                    let why = format!("the container `{foreign}` in it was not made by airpods");
                    skipped.push(Skipped { kind: Kind::Pod, name: pod.name.clone(), why });
                }
                None => gone.push(pod.name.clone()),
            }
        }
        gone
    }

    fn foreign_container_in<'p>(&self, pod: &'p Pod) -> Option<&'p String> {
        pod.containers.iter().find(|name| !self.is_gone(name))
    }

    /// Our networks that are free after the clean-up.
    fn networks(&self, skipped: &mut Vec<Skipped>) -> Vec<String> {
        if !self.scope.network {
            return Vec::new();
        }
        let observed = &self.inventory.observed;
        let mut gone = Vec::new();
        for network in observed.networks.iter().filter(|network| is_ours(&network.labels)) {
            let on_it = |container: &&Container| container.networks.contains(&network.name) && !self.goes(container);
            // podman's listing has no networks for a pod, so any pod of ours that stays may be on
            // this network.
            let pod = observed
                .pods
                .iter()
                .find(|pod| is_ours(&pod.labels) && (!self.scope.pods || self.foreign_container_in(pod).is_some()));
            if let Some(container) = observed.containers.iter().find(on_it) {
                let why = self.holder(&container.name, "is on");
                skipped.push(Skipped { kind: Kind::Network, name: network.name.clone(), why });
            } else if let Some(pod) = pod {
                let hint = if self.scope.pods { "" } else { "; `--pods` removes that" };
                let why = format!("the pod `{}` may be on it{hint}", pod.name);
                skipped.push(Skipped { kind: Kind::Network, name: network.name.clone(), why });
            } else {
                gone.push(network.name.clone());
            }
        }
        gone
    }

    fn volumes(&self, keep: bool, skipped: &mut Vec<Skipped>) -> Vec<String> {
        if !self.scope.volumes {
            return Vec::new();
        }
        let mut gone = Vec::new();
        for (volume, users) in &self.inventory.volumes {
            if let Some(user) = users.iter().find(|user| !self.is_gone(user)) {
                let why = self.holder(user, "uses");
                skipped.push(Skipped { kind: Kind::Volume, name: volume.clone(), why });
            } else if keep {
                let why = "no question names it; `--volumes` removes it".to_owned();
                skipped.push(Skipped { kind: Kind::Volume, name: volume.clone(), why });
            } else {
                gone.push(volume.clone());
            }
        }
        gone
    }

    fn images(&self, skipped: &mut Vec<Skipped>) -> Vec<String> {
        if !self.scope.images {
            return Vec::new();
        }
        let observed = &self.inventory.observed;
        let mut gone = BTreeSet::new();
        for image in &observed.images {
            let user = observed.containers.iter().find(|other| other.image == *image && !self.goes(other));
            match user {
                Some(user) => {
                    let why = self.holder(&user.name, "uses");
                    skipped.push(Skipped { kind: Kind::Image, name: image.clone(), why });
                }
                None => drop(gone.insert(image.clone())),
            }
        }
        gone.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
