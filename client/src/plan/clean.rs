//! Planning to remove what airpods made: deciding what goes, and why something stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::label::{SERVICE, is_ours};
use super::{Ending, Kind, Observed, Stages};
use crate::execute::bytes;
use crate::podman::{Container, ContainerState, DiskUsage, Pod};

/// What is to be cleaned.
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

/// What is there, as far as the scope goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holdings {
    /// podman's objects; its images are those of the configuration that are in storage.
    pub observed: Observed,
    /// The volumes of the configuration that are there, with the containers that use them.
    pub volumes: BTreeMap<String, Vec<String>>,
    /// What takes how much space; empty where podman does not say.
    pub usage: DiskUsage,
    /// Files of airpods' own that exist.
    pub files: Vec<PathBuf>,
}

/// What is removed, and what stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clean {
    /// What is done: containers are stopped, then removed with their pods, then what they used.
    pub stages: Stages,
    /// What would belong to it and stays.
    pub spared: Vec<Spared>,
    usage: DiskUsage,
}

/// Something that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spared {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Why it stays.
    pub why: String,
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}` stays: {}", self.kind, self.name, self.why)
    }
}

impl Spared {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "kind": self.kind.to_string(), "name": self.name, "why": self.why })
    }
}

impl Clean {
    /// What is done, a line each, with the space that podman says it takes.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.stages.iter().flatten().map(|ending| match self.size(ending) {
            Some(size) => format!("{ending} ({})", bytes(size)),
            None => ending.to_string(),
        })
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let steps = self.stages.iter().flatten().map(|ending| {
            let mut step = ending.to_json();
            step["size_bytes"] = json!(self.size(ending));
            step
        });
        json!({
            "steps": steps.collect::<Vec<_>>(),
            "kept": self.spared.iter().map(Spared::to_json).collect::<Vec<_>>(),
        })
    }

    /// The question before it is done. Volumes hold what people have downloaded and made, so each is named.
    #[must_use]
    pub fn question(&self) -> String {
        let volumes = self.stages.iter().flatten().filter_map(|ending| match ending {
            Ending::Remove(Kind::Volume, name) => Some(match self.size(ending) {
                Some(size) => format!("`{name}` ({})", bytes(size)),
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

    fn size(&self, ending: &Ending) -> Option<u64> {
        match ending {
            Ending::Remove(Kind::Volume, name) => self.usage.volumes.get(name).copied(),
            Ending::Remove(Kind::Image, name) => self.usage.images.get(name).copied(),
            _ => None,
        }
    }
}

/// Plans a clean-up: only what has our labels, or is named in the configuration and used by nobody else.
///
/// `spare_volumes` keeps them whatever the scope says: nobody will be asked about them by name.
#[must_use]
pub fn clean(scope: Scope, spare_volumes: bool, holdings: &Holdings) -> Clean {
    let cleaner = Cleaner { scope, holdings };
    let mut spared = Vec::new();
    let observed = &holdings.observed;
    let stops = observed.containers.iter().filter(|container| cleaner.goes(container)).filter_map(|container| {
        let service = container.labels.get(SERVICE).cloned().unwrap_or_default();
        let stop = Ending::Stop { service, container: container.name.clone(), started_at: container.started_at };
        (container.state == ContainerState::Running).then_some(stop)
    });
    let containers = observed.containers.iter().filter(|container| cleaner.goes(container));
    let remove = |kind: Kind| move |name: String| Ending::Remove(kind, name);
    let mut stages: Stages =
        vec![stops.collect(), containers.map(|container| remove(Kind::Container)(container.name.clone())).collect()];
    stages.push(cleaner.pods(&mut spared).into_iter().map(remove(Kind::Pod)).collect());
    let mut used: Vec<Ending> = cleaner.networks(&mut spared).into_iter().map(remove(Kind::Network)).collect();
    used.extend(cleaner.volumes(spare_volumes, &mut spared).into_iter().map(remove(Kind::Volume)));
    used.extend(cleaner.images(&mut spared).into_iter().map(remove(Kind::Image)));
    stages.push(used);
    stages.push(holdings.files.iter().filter(|_| scope.configs).cloned().map(Ending::Discard).collect());
    stages.retain(|stage| !stage.is_empty());
    Clean { stages, spared, usage: holdings.usage.clone() }
}

struct Cleaner<'a> {
    scope: Scope,
    holdings: &'a Holdings,
}

impl Cleaner<'_> {
    fn goes(&self, container: &Container) -> bool {
        self.scope.pods && is_ours(&container.labels)
    }

    /// Whether the container of this name is removed.
    fn is_gone(&self, name: &str) -> bool {
        self.holdings.observed.container(name).is_some_and(|container| self.goes(container))
    }

    /// Why something that a container holds stays.
    fn holder(&self, container: &str, verb: &str) -> String {
        let ours = self.holdings.observed.container(container).is_some_and(|found| is_ours(&found.labels));
        let hint = if ours { "; `--pods` removes that" } else { "" };
        format!("the container `{container}` {verb} it{hint}")
    }

    /// Pods of ours, but one with a container that somebody else put into it.
    fn pods(&self, spared: &mut Vec<Spared>) -> Vec<String> {
        let mut gone = Vec::new();
        for pod in self.holdings.observed.pods.iter().filter(|pod| self.scope.pods && is_ours(&pod.labels)) {
            match self.stranger_in(pod) {
                Some(stranger) => {
                    let why = format!("the container `{stranger}` in it was not made by airpods");
                    spared.push(Spared { kind: Kind::Pod, name: pod.name.clone(), why });
                }
                None => gone.push(pod.name.clone()),
            }
        }
        gone
    }

    fn stranger_in<'p>(&self, pod: &'p Pod) -> Option<&'p String> {
        pod.containers.iter().find(|name| !self.is_gone(name))
    }

    /// Networks of ours on which nothing is left.
    fn networks(&self, spared: &mut Vec<Spared>) -> Vec<String> {
        if !self.scope.network {
            return Vec::new();
        }
        let observed = &self.holdings.observed;
        let mut gone = Vec::new();
        for network in observed.networks.iter().filter(|network| is_ours(&network.labels)) {
            let on_it = |container: &&Container| container.networks.contains(&network.name) && !self.goes(container);
            // A pod's endpoint is in no listing; a pod of ours is on a network of ours.
            let pod = observed
                .pods
                .iter()
                .find(|pod| is_ours(&pod.labels) && (!self.scope.pods || self.stranger_in(pod).is_some()));
            if let Some(container) = observed.containers.iter().find(on_it) {
                let why = self.holder(&container.name, "is on");
                spared.push(Spared { kind: Kind::Network, name: network.name.clone(), why });
            } else if let Some(pod) = pod {
                let hint = if self.scope.pods { "" } else { "; `--pods` removes that" };
                let why = format!("the pod `{}` may be on it{hint}", pod.name);
                spared.push(Spared { kind: Kind::Network, name: network.name.clone(), why });
            } else {
                gone.push(network.name.clone());
            }
        }
        gone
    }

    fn volumes(&self, spare: bool, spared: &mut Vec<Spared>) -> Vec<String> {
        if !self.scope.volumes {
            return Vec::new();
        }
        let mut gone = Vec::new();
        for (volume, users) in &self.holdings.volumes {
            if let Some(user) = users.iter().find(|user| !self.is_gone(user)) {
                let why = self.holder(user, "uses");
                spared.push(Spared { kind: Kind::Volume, name: volume.clone(), why });
            } else if spare {
                let why = "nobody is asked about it by name; `--volumes` removes it".to_owned();
                spared.push(Spared { kind: Kind::Volume, name: volume.clone(), why });
            } else {
                gone.push(volume.clone());
            }
        }
        gone
    }

    fn images(&self, spared: &mut Vec<Spared>) -> Vec<String> {
        if !self.scope.images {
            return Vec::new();
        }
        let observed = &self.holdings.observed;
        let mut gone = BTreeSet::new();
        for image in &observed.images {
            let user = observed.containers.iter().find(|other| other.image == *image && !self.goes(other));
            match user {
                Some(user) => {
                    let why = self.holder(&user.name, "uses");
                    spared.push(Spared { kind: Kind::Image, name: image.clone(), why });
                }
                None => drop(gone.insert(image.clone())),
            }
        }
        gone.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::execute::end;
    use crate::plan::tests::{NEW, THREE, podman, start};
    use crate::podman::{Call, Podman, Simulated, World};
    use std::future::pending;

    const ALL: Scope = Scope { pods: true, volumes: true, images: true, network: true, configs: true };

    async fn holdings(podman: &Simulated) -> Holdings {
        let images = ["model", "web", "paint"].map(|name| format!("docker.io/lab/{name}:1"));
        Holdings {
            observed: Observed::of(podman, images.into()).await.unwrap(),
            volumes: [("weights".to_owned(), podman.volume_users("weights").await.unwrap())].into(),
            usage: podman.disk_usage().await.unwrap(),
            files: vec!["/home/x/config.toml".into()],
        }
    }

    /// Three services that run, one of them in a pod, beside a container, a volume and a network of somebody else.
    async fn among_others() -> Simulated {
        let podman = podman(NEW);
        start(&podman, &THREE.replace("[services.web]", "[services.web]\npod = \"alone\""), &[]).await;
        let mut world = podman.world();
        let mut stranger = world.containers["model-0"].clone();
        stranger.0.name = "stranger".into();
        stranger.0.labels.clear();
        stranger.0.mounts.clear();
        stranger.0.image = "docker.io/else/thing:1".into();
        stranger.0.networking = crate::podman::Networking::Host;
        world.containers.insert("stranger".into(), stranger);
        world.volumes.insert("theirs".into());
        world.images.insert("docker.io/else/thing:1".into());
        let mut network = world.networks["airpods_network"].clone();
        network.name = "theirs".into();
        network.labels.clear();
        world.networks.insert("theirs".into(), network);
        Simulated::new(NEW, world)
    }

    fn names(clean: &Clean) -> Vec<String> {
        clean.stages.iter().flatten().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn everything_of_ours_goes_and_nothing_of_others() {
        let podman = among_others().await;
        let plan = clean(ALL, false, &holdings(&podman).await);
        let podmans: Vec<Vec<Ending>> = plan.stages[..plan.stages.len() - 1].to_vec();
        assert_eq!(plan.stages.last().unwrap(), &[Ending::Discard("/home/x/config.toml".into())]);
        assert_eq!(plan.spared, []);
        let ended = end(&podman, &podmans, 1, |_| {}, pending(), pending()).await;
        assert_eq!(ended.refused, []);
        let world = podman.world();
        let left = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<String>>();
        assert_eq!(left(world.containers.keys().collect()), ["stranger"]);
        assert_eq!(left(world.volumes.iter().collect()), ["theirs"]);
        assert_eq!(left(world.networks.keys().collect()), ["theirs"]);
        assert_eq!(left(world.images.iter().collect()), ["docker.io/else/thing:1"]);
        assert!(world.pods.is_empty());
    }

    #[tokio::test]
    async fn what_is_in_use_stays_and_it_is_said_by_whom() {
        let podman = among_others().await;
        let scope = Scope { pods: false, configs: false, ..ALL };
        let plan = clean(scope, false, &holdings(&podman).await);
        assert_eq!(names(&plan), Vec::<String>::new());
        let said: Vec<String> = plan.spared.iter().map(ToString::to_string).collect();
        let expected = [
            "the network `airpods_network` stays: the container `model-0` is on it; `--pods` removes that",
            "the volume `weights` stays: the container `model-0` uses it; `--pods` removes that",
        ];
        assert_eq!(said[..2], expected);
        assert_eq!(said.len(), 5, "{said:?}");
    }

    #[tokio::test]
    async fn what_somebody_else_uses_stays_though_it_has_our_name() {
        let podman = among_others().await;
        let mut world = podman.world();
        let (stranger, _) = world.containers.get_mut("stranger").unwrap();
        stranger.image = "docker.io/lab/paint:1".into();
        stranger.mounts = vec![crate::podman::Mount::Volume { name: "weights".into(), target: "/x".into() }];
        stranger.networking = crate::podman::Networking::Pod("alone".into());
        let podman = Simulated::new(NEW, world);
        let plan = clean(ALL, false, &holdings(&podman).await);
        let said: Vec<String> = plan.spared.iter().map(ToString::to_string).collect();
        let expected = [
            "the pod `alone` stays: the container `stranger` in it was not made by airpods",
            "the network `airpods_network` stays: the pod `alone` may be on it",
            "the volume `weights` stays: the container `stranger` uses it",
            "the image `docker.io/lab/paint:1` stays: the container `stranger` uses it",
        ];
        assert_eq!(said, expected);
        let ended = end(&podman, &plan.stages[..plan.stages.len() - 1], 1, |_| {}, pending(), pending()).await;
        assert_eq!(ended.refused, []);
        assert!(!podman.calls().iter().any(|call| matches!(call, Call::RemovePod(_) | Call::RemoveVolume(_))));
        assert!(podman.world().containers.contains_key("stranger"));
    }

    #[tokio::test]
    async fn volumes_are_named_in_the_question_or_stay() {
        let podman = among_others().await;
        let holdings = holdings(&podman).await;
        let asked = clean(ALL, false, &holdings).question();
        assert_eq!(asked, "Do all of this, and lose what is in the volume `weights` (1.00 KiB)?");
        let forced = clean(ALL, true, &holdings);
        assert_eq!(forced.question(), "Do all of this?");
        assert_eq!(
            forced.spared[0].to_string(),
            "the volume `weights` stays: nobody is asked about it by name; `--volumes` removes it"
        );
        assert!(forced.lines().all(|line| !line.contains("volume")));
    }

    #[tokio::test]
    async fn nothing_at_all_is_nothing_to_clean() {
        let podman = Simulated::new(NEW, World::default());
        let observed = Observed::of(&podman, [].into()).await.unwrap();
        assert_eq!(clean(ALL, false, &Holdings { observed, ..Holdings::default() }), Clean::default());
    }
}
