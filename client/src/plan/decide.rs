//! Compares the desired with the observed state, and returns the steps between them or the conflict
//! that forbids them.

mod obstacles;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use super::label::{is_ours, same_settings};
use super::observed::{State, differences};
use super::services::ordered;
use super::{Action, Conflict, Desired, Kind, Launch, Observed, Plan, Replaced, Step, Unchanged};
use crate::config::Pull;
use crate::podman::{Container, ContainerState, Mount, Networking, PodSpec};
use crate::port::HostPort;

/// Plans a launch.
///
/// # Errors
/// The first conflict found.
pub fn decide(desired: &Desired, observed: &Observed, reset: NetworkReset) -> Result<Plan, Conflict> {
    let mut builder = Builder::new(desired, observed);
    builder.find_conflicts_of_names()?;
    builder.find_missing()?;
    builder.network(reset)?;
    builder.choose();
    builder.find_foreign_on_network()?;
    builder.find_conflicts_of_ports()?;
    builder.find_conflicts_of_paths()?;
    builder.objects();
    builder.set_aside();
    for launch in ordered(&builder.launches) {
        builder.launch(launch);
    }
    builder.discard();
    Ok(builder.plan)
}

/// Whether the network is recreated, with every container on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkReset {
    /// No: a network with other settings is a conflict.
    Never,
    /// Yes if its settings differ, subject to confirmation.
    Proposed,
    /// Yes: the user asked for it.
    AskedFor,
}

struct Builder<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    plan: Plan,
    /// The requested launches, and those of other services that have to be recreated with them.
    launches: Vec<&'a Launch>,
    /// The network is removed first.
    reset: bool,
    /// The step that creates the network.
    network: Option<usize>,
    /// The pods to be recreated.
    stale_pods: BTreeSet<&'a str>,
    /// The step that creates each thing that others wait for.
    made: BTreeMap<Prerequisite, usize>,
    /// The step that moves the former container of each service out of the way.
    cleared: BTreeMap<&'a str, usize>,
    /// The step after which each host port is free.
    released: BTreeMap<HostPort, usize>,
    /// The step that starts each service.
    started: BTreeMap<&'a str, usize>,
    /// The step after which each service is healthy or, if it is a one-shot service, has ended.
    ready: BTreeMap<&'a str, usize>,
    /// The last start within each pod. Starts in a pod are serialized: podman sets the pod's
    /// network up with the first one.
    last_start: BTreeMap<&'a str, usize>,
}

/// Something that a container needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Prerequisite {
    Volume(String),
    Folder(std::path::PathBuf),
    Image(String),
    Pod(String),
}

impl<'a> Builder<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed) -> Self {
        Self {
            desired,
            observed,
            plan: Plan::default(),
            launches: desired.launches.iter().collect(),
            reset: false,
            network: None,
            stale_pods: BTreeSet::new(),
            made: BTreeMap::new(),
            cleared: BTreeMap::new(),
            released: BTreeMap::new(),
            started: BTreeMap::new(),
            ready: BTreeMap::new(),
            last_start: BTreeMap::new(),
        }
    }

    fn add(&mut self, action: Action, service: Option<&str>, after: impl IntoIterator<Item = usize>) -> usize {
        let mut after: Vec<usize> = after.into_iter().collect();
        after.sort_unstable();
        after.dedup();
        self.plan.steps.push(Step { action, service: service.map(ToOwned::to_owned), after });
        self.plan.steps.len() - 1
    }

    fn needs_network(&self) -> bool {
        self.launches.iter().any(|launch| launch.container.networking != Networking::Host)
    }

    fn network(&mut self, reset: NetworkReset) -> Result<(), Conflict> {
        if !self.needs_network() {
            return Ok(());
        }
        let Some(found) = self.observed.network(&self.desired.network.name) else { return Ok(()) };
        let differences = differences(&self.desired.network, found);
        let asked_for = reset == NetworkReset::AskedFor && !self.desired.network.external;
        if asked_for || (reset == NetworkReset::Proposed && !differences.is_empty()) {
            self.reset = true;
            let why = differences.iter().map(ToString::to_string).collect();
            self.plan.replaced.push(Replaced {
                kind: Kind::Network,
                name: found.name.clone(),
                why,
                stops: self.running_on_network(),
                asked_for,
            });
            return Ok(());
        }
        if !differences.is_empty() {
            return Err(Conflict::NetworkDiffers { name: found.name.clone(), differences });
        }
        self.plan.kept.push(Unchanged::Network(found.name.clone()));
        self.plan.network = Some(found.clone());
        Ok(())
    }

    /// Our containers that run on the network, directly or through their pod.
    fn running_on_network(&self) -> Vec<String> {
        let name = &self.desired.network.name;
        let in_wanted_pod =
            |container: &Container| container.pod.as_ref().is_some_and(|pod| self.desired.pods.contains_key(pod));
        let running = self.observed.containers.iter().filter(|container| {
            container.state == ContainerState::Running
                && is_ours(&container.labels)
                && (container.networks.contains(name) || in_wanted_pod(container))
        });
        running.map(|container| container.name.clone()).collect()
    }

    /// Adds services that have to be recreated along with the requested ones. They run in a pod
    /// that is recreated, or on a network that is.
    fn choose(&mut self) {
        let (desired, observed) = (self.desired, self.observed);
        let stale = desired.pods.values().filter(|pod| {
            let found = observed.pod(&pod.name);
            found.is_some_and(|found| {
                let differs = found.broken.is_some() || !same_settings(&pod.labels, &found.labels);
                is_ours(&found.labels) && (self.reset || differs)
            })
        });
        let stale: BTreeSet<&str> = stale.map(|pod| pod.name.as_str()).collect();
        let in_pod = |launch: &Launch, pods: &BTreeSet<&str>| {
            matches!(&launch.container.networking,
            Networking::Pod(pod) if pods.contains(pod.as_str()))
        };
        self.stale_pods = if self.reset {
            stale
        } else {
            stale.into_iter().filter(|pod| self.launches.iter().any(|launch| in_pod(launch, &[*pod].into()))).collect()
        };
        for other in &desired.others {
            let running = observed
                .container_of(desired, other)
                .is_some_and(|found| is_ours(&found.labels) && found.state == ContainerState::Running);
            let on_network = other.container.networking != Networking::Host;
            if running && (in_pod(other, &self.stale_pods) || (self.reset && on_network)) {
                self.launches.push(other);
            }
        }
    }

    /// The network, volumes, folders, images and pods.
    fn objects(&mut self) {
        let launches: Vec<&Launch> =
            self.launches.iter().copied().filter(|launch| !self.runs_as_wanted(launch)).collect();
        for launch in &launches {
            self.image(launch);
        }
        // Everything else waits for the pulls: a pull that fails then leaves nothing to undo.
        let pulls: Vec<usize> = self.made.values().copied().collect();
        let mut before_network = self.removals();
        before_network.extend(pulls.iter().copied());
        if launches.iter().any(|launch| launch.container.networking != Networking::Host) && self.plan.network.is_none()
        {
            self.network = Some(self.add(Action::CreateNetwork(self.desired.network.clone()), None, before_network));
        }
        for launch in &launches {
            self.mounts(launch, &pulls);
            if let Networking::Pod(pod) = &launch.container.networking
                && let Some(spec) = self.desired.pods.get(pod)
            {
                self.pod(spec, &pulls);
            }
        }
    }

    fn image(&mut self, launch: &Launch) {
        let image = &launch.container.image;
        let prerequisite = Prerequisite::Image(image.clone());
        let there = self.observed.images.contains(image) && (launch.pull != Pull::Always || self.is_made(launch));
        if !there && !self.made.contains_key(&prerequisite) {
            let step = self.add(Action::Pull(image.clone()), Some(&launch.service), []);
            self.made.insert(prerequisite, step);
        }
    }

    /// Whether the container exists with the desired settings and only needs to be started.
    fn is_made(&self, launch: &Launch) -> bool {
        let goes = self
            .observed
            .container(&launch.container.name)
            .is_some_and(|found| self.is_removed_with_parent(launch, found));
        !goes && matches!(self.observed.state(self.desired, launch), State::AsWanted { .. })
    }

    fn mounts(&mut self, launch: &Launch, pulls: &[usize]) {
        for mount in &launch.container.mounts {
            let Mount::Volume { name, .. } = mount else { continue };
            let kept = Unchanged::Volume(name.clone());
            if self.observed.volumes.contains(name) {
                if !self.plan.kept.contains(&kept) {
                    self.plan.kept.push(kept);
                }
            } else if !self.made.contains_key(&Prerequisite::Volume(name.clone())) {
                let step = self.add(Action::CreateVolume(name.clone()), Some(&launch.service), pulls.iter().copied());
                self.made.insert(Prerequisite::Volume(name.clone()), step);
            }
        }
        for folder in &launch.folders {
            let prerequisite = Prerequisite::Folder(folder.clone());
            if !self.is_file(folder) && !self.made.contains_key(&prerequisite) {
                let step = self.add(Action::CreateFolder(folder.clone()), Some(&launch.service), pulls.iter().copied());
                self.made.insert(prerequisite, step);
            }
        }
    }

    fn pod(&mut self, spec: &'a PodSpec, pulls: &[usize]) {
        let prerequisite = Prerequisite::Pod(spec.name.clone());
        if self.made.contains_key(&prerequisite) {
            return;
        }
        let found = self.observed.pod(&spec.name).is_some();
        let stale = self.stale_pods.contains(spec.name.as_str());
        if found && !stale {
            let kept = Unchanged::Pod(spec.name.clone());
            if !self.plan.kept.contains(&kept) {
                self.plan.kept.push(kept);
            }
            return;
        }
        let mut after: Vec<usize> = self.network.into_iter().chain(pulls.iter().copied()).collect();
        if found && !self.reset {
            // Removal waits for the pulls: after a failed pull the old pod still runs.
            let images: Vec<usize> = self.images_of_pod(&spec.name);
            after.push(self.remove_pod(&spec.name, images));
        }
        let step = self.add(Action::CreatePod(spec.clone()), None, after);
        self.made.insert(prerequisite, step);
    }

    fn images_of_pod(&self, pod: &str) -> Vec<usize> {
        let inside = self
            .launches
            .iter()
            .filter(|launch| matches!(&launch.container.networking, Networking::Pod(name) if name == pod));
        inside
            .filter_map(|launch| self.made.get(&Prerequisite::Image(launch.container.image.clone())).copied())
            .collect()
    }

    fn wanted_pod(&self, name: &str) -> bool {
        self.launches.iter().any(|launch| matches!(&launch.container.networking, Networking::Pod(pod) if pod == name))
    }

    /// Whether the container is removed when its pod or its network is recreated.
    fn is_removed_with_parent(&self, launch: &Launch, found: &Container) -> bool {
        let in_stale_pod = found.pod.as_deref().is_some_and(|pod| self.stale_pods.contains(pod));
        let wanted_in_stale_pod = matches!(&launch.container.networking,
            Networking::Pod(pod) if self.stale_pods.contains(pod.as_str()));
        in_stale_pod || wanted_in_stale_pod || (self.reset && found.networks.contains(&self.desired.network.name))
    }

    fn runs_as_wanted(&self, launch: &Launch) -> bool {
        self.observed.state(self.desired, launch) == State::AsWanted { running: true }
            && !self
                .observed
                .container(&launch.container.name)
                .is_some_and(|found| self.is_removed_with_parent(launch, found))
    }
}
