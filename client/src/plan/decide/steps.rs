//! The steps of a plan. A service's container is created, started, read back and waited for.
//! Objects to be replaced are moved out of the way first: containers are set aside, pods and
//! networks are removed.

use std::collections::BTreeSet;

use super::{Builder, Prerequisite};
use crate::config::Condition;
use crate::plan::label::{SERVICE, is_ours};
use crate::plan::observed::State;
use crate::plan::{Action, Kind, Launch, Replaced, Step, Unchanged, former_name, is_set_aside};
use crate::podman::{Container, ContainerState, Mount, Networking};
use crate::port::HostPort;

impl<'a> Builder<'a> {
    /// Adds the steps for one service: create, start, read back, wait.
    pub(super) fn launch(&mut self, launch: &'a Launch) {
        let service = launch.service.as_str();
        if self.runs_as_wanted(launch) {
            self.plan.warnings.extend(self.observed.excused(self.desired, launch));
            self.plan.kept.push(Unchanged::Service(launch.service.clone()));
            // A running service can still be unhealthy.
            self.await_health(launch, None);
            if self.is_awaited(service, Condition::Completed) {
                self.await_end(launch, None);
            }
            return;
        }
        let spec = &launch.container;
        let found = self.observed.container_of(self.desired, launch);
        let is_removed_with_parent = found.is_some_and(|found| self.is_removed_with_parent(launch, found));
        let same = matches!(self.observed.state(self.desired, launch), State::AsWanted { .. });
        let mut before_start: Vec<usize> = Vec::new();
        if !same || is_removed_with_parent {
            let mut needed = self.needed(launch);
            needed.extend(self.cleared.get(service));
            if is_removed_with_parent {
                // The name is free only after the former container is removed, perhaps with another
                // pod than the wanted one. So this waits for every removal.
                needed.extend(self.steps_removing());
            }
            before_start.push(self.add(
                Action::CreateContainer(Box::new(self.observed.with_secrets(spec))),
                Some(service),
                needed,
            ));
        }
        let pod = match &spec.networking {
            Networking::Pod(pod) => Some(pod.as_str()),
            _ => None,
        };
        before_start.extend(pod.and_then(|pod| self.last_start.get(pod).copied()));
        let expected = self.desired.expected(launch);
        let ports = launch.host_ports.iter().copied().chain(expected.host_ports());
        let released = |port: HostPort| self.released.iter().filter(move |(other, _)| other.overlaps(port));
        before_start.extend(ports.flat_map(released).map(|(_, step)| *step));
        for (used, condition) in &launch.uses {
            let started = self.started.get(used.as_str());
            let ready = self.ready.get(used.as_str()).filter(|_| *condition != Condition::Started);
            before_start.extend(ready.or(started));
        }
        if found.is_some_and(|found| found.state.stops_first()) && same && !is_removed_with_parent {
            let stop = self.add(Action::Stop { name: spec.name.clone() }, Some(service), []);
            before_start.push(stop);
        }
        let start = self.add(Action::Start { name: spec.name.clone() }, Some(service), before_start);
        self.started.insert(service, start);
        if let Some(pod) = pod {
            self.last_start.insert(pod, start);
        }
        let read = self.add(Action::ReadBack(Box::new(expected)), Some(service), [start]);
        self.await_health(launch, Some(read));
        if launch.oneshot {
            self.await_end(launch, Some(read));
        }
    }

    /// Waits until a one-shot service has ended.
    fn await_end(&mut self, launch: &'a Launch, read_back: Option<usize>) {
        let required = self.is_awaited(&launch.service, Condition::Completed);
        let action = Action::AwaitEnd { container: launch.container.name.clone(), required };
        let step = self.add(action, Some(&launch.service), read_back);
        self.ready.insert(&launch.service, step);
    }

    /// Whether a service that this plan starts waits for this one to meet `condition`.
    fn is_awaited(&self, service: &str, condition: Condition) -> bool {
        let waits = |other: &&&Launch| other.uses.get(service) == Some(&condition);
        self.launches.iter().filter(waits).any(|other| !self.runs_as_wanted(other))
    }

    /// Waits for the service's health check, if it has one: after its settings are read back, or at
    /// once if it already runs.
    fn await_health(&mut self, launch: &'a Launch, read_back: Option<usize>) {
        if let Some(check) = &launch.health {
            let (container, check) = (launch.container.name.clone(), check.clone());
            let required = self.is_awaited(&launch.service, Condition::Healthy);
            let action = Action::AwaitHealth {
                container,
                check,
                times: launch.health_times,
                kept: read_back.is_none(),
                required,
            };
            let step = self.add(action, Some(&launch.service), read_back);
            self.ready.insert(&launch.service, step);
        }
    }

    /// The steps that create what the container needs.
    pub(super) fn needed(&self, launch: &Launch) -> Vec<usize> {
        let spec = &launch.container;
        let mut prerequisites = vec![Prerequisite::Image(spec.image.clone())];
        prerequisites.extend(launch.folders.iter().cloned().map(Prerequisite::Folder));
        for mount in &spec.mounts {
            if let Mount::Volume { name, .. } = mount {
                prerequisites.push(Prerequisite::Volume(name.clone()));
            }
        }
        if let Networking::Pod(pod) = &spec.networking {
            prerequisites.push(Prerequisite::Pod(pod.clone()));
        }
        let network = self.network.filter(|_| matches!(spec.networking, Networking::Own(_)));
        prerequisites.iter().filter_map(|prerequisite| self.made.get(prerequisite).copied()).chain(network).collect()
    }

    fn steps_removing(&self) -> Vec<usize> {
        let removes = |step: &Step| matches!(step.action, Action::RemovePod { .. } | Action::RemoveContainer { .. });
        self.plan.steps.iter().enumerate().filter(|(_, step)| removes(step)).map(|(index, _)| index).collect()
    }
}

impl Builder<'_> {
    /// Removes everything on the network that is recreated, then the network.
    pub(super) fn removals(&mut self) -> Vec<usize> {
        if !self.reset {
            return Vec::new();
        }
        let observed = self.observed;
        let images: Vec<usize> = self.made.values().copied().collect();
        let mut removed = Vec::new();
        for pod in self.stale_pods.clone() {
            removed.push(self.remove_pod(pod, images.clone()));
        }
        let network = &self.desired.network.name;
        for container in observed.containers.iter().filter(|container| container.networks.contains(network)) {
            if is_ours(&container.labels) && container.pod.is_none() {
                removed.push(self.remove_container(container, images.clone()));
            }
        }
        vec![self.add(Action::RemoveNetwork(network.clone()), None, removed)]
    }

    pub(super) fn remove_pod(&mut self, name: &str, after: Vec<usize>) -> usize {
        let containers = self.observed.pod(name).map(|pod| pod.containers.clone()).unwrap_or_default();
        let inside = self.observed.containers.iter().filter(|other| other.pod.as_deref() == Some(name));
        let running: Vec<&Container> = inside.filter(|container| container.state == ContainerState::Running).collect();
        let stops: Vec<String> = running.iter().map(|container| container.name.clone()).collect();
        let action = Action::RemovePod { name: name.to_owned(), containers, running: stops.clone() };
        let step = self.add(action, None, after);
        for port in running.iter().flat_map(|container| &container.host_ports) {
            self.released.insert(*port, step);
        }
        if !self.reset {
            let broken = self.observed.pod(name).and_then(|pod| pod.broken.clone());
            let why = broken.map(|why| format!("the pod `{name}`: {why}")).into_iter().collect();
            let (kind, name) = (Kind::Pod, name.to_owned());
            self.plan.replaced.push(Replaced { kind, name, why, stops, asked_for: false });
        }
        step
    }

    fn remove_container(&mut self, container: &Container, after: Vec<usize>) -> usize {
        let running = container.state == ContainerState::Running;
        let service = container.labels.get(SERVICE).cloned();
        let step =
            self.add(Action::RemoveContainer { name: container.name.clone(), running }, service.as_deref(), after);
        self.released.extend(container.host_ports.iter().map(|port| (*port, step)));
        step
    }

    /// Moves containers with other settings out of the way. A container is set aside until its
    /// replacement runs. If its pod would be left empty, the pod is removed, because an empty pod
    /// keeps its host ports.
    pub(super) fn set_aside(&mut self) {
        for launch in self.launches.clone() {
            let Some(found) = self.observed.container_of(self.desired, launch) else { continue };
            let State::Differs(why) = self.observed.state(self.desired, launch) else { continue };
            if self.is_removed_with_parent(launch, found) {
                continue;
            }
            let mut needed = self.needed(launch);
            let former_pod = found.pod.as_deref().and_then(|pod| self.observed.pod(pod)).filter(|pod| {
                is_ours(&pod.labels) && pod.containers == [found.name.as_str()] && !self.wanted_pod(&pod.name)
            });
            let step = if let Some(pod) = former_pod {
                self.remove_pod(&pod.name, needed)
            } else if found.state.improper().is_some() && !found.state.stops_first() {
                // podman refuses to stop or rename it, so it is removed. A paused one still has
                // processes, so removing it needs confirmation.
                let stops = if found.state == ContainerState::Paused { vec![found.name.clone()] } else { Vec::new() };
                let (kind, name) = (Kind::Container, found.name.clone());
                self.plan.replaced.push(Replaced { kind, name, why, stops, asked_for: false });
                let step = self.remove_container(found, needed);
                if let Some(step) = self.plan.steps.get_mut(step) {
                    step.service = Some(launch.service.clone());
                }
                step
            } else {
                let former = former_name(&found.name);
                if let Some(left) = self.observed.container(&former) {
                    needed.push(self.remove_container(left, Vec::new()));
                }
                let running = found.state == ContainerState::Running || found.state.stops_first();
                let stops = if running { vec![found.name.clone()] } else { Vec::new() };
                let (kind, name) = (Kind::Container, found.name.clone());
                self.plan.replaced.push(Replaced { kind, name, why, stops, asked_for: false });
                let action = Action::SetAside { name: found.name.clone(), former, running };
                let step = self.add(action, Some(&launch.service), needed);
                if found.pod.is_none() {
                    self.released.extend(found.host_ports.iter().map(|port| (*port, step)));
                }
                step
            };
            self.cleared.insert(&launch.service, step);
        }
    }

    /// Removes containers that were set aside, by this plan or by one that was interrupted, after
    /// every other step.
    pub(super) fn discard(&mut self) {
        let waited_for: BTreeSet<usize> = self.plan.steps.iter().flat_map(|step| step.after.clone()).collect();
        let last: Vec<usize> = (0..self.plan.steps.len()).filter(|index| !waited_for.contains(index)).collect();
        for launch in self.launches.clone() {
            let left = self.observed.containers.iter().filter(|found| self.was_set_aside(launch, found));
            let set_aside = self.plan.steps.iter().filter_map(|step| match &step.action {
                Action::SetAside { former, .. } if step.service.as_ref() == Some(&launch.service) => Some(former),
                _ => None,
            });
            let former: BTreeSet<String> = left.map(|found| &found.name).chain(set_aside).cloned().collect();
            for name in former {
                self.add(Action::Discard { name }, Some(&launch.service), last.iter().copied());
            }
        }
    }

    /// Whether the container was set aside for this service and never removed.
    fn was_set_aside(&self, launch: &Launch, found: &Container) -> bool {
        let under_another_name = || {
            found.labels.get(SERVICE) == Some(&launch.service)
                && is_set_aside(&found.name)
                && found.state != ContainerState::Running
                && !self.desired.names_a_container(&found.name)
        };
        is_ours(&found.labels) && (found.name == former_name(&launch.container.name) || under_another_name())
    }
}
