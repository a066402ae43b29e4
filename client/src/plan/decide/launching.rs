//! The steps of one service: its container is made, started, read back and waited for.

use super::{Builder, Thing};
use crate::config::Condition;
use crate::plan::state::State;
use crate::plan::{Action, Kept, Launch, Step};
use crate::podman::{Mount, Networking};
use crate::port::HostPort;

impl<'a> Builder<'a> {
    /// The container itself: made, started, read back, waited for.
    pub(super) fn launch(&mut self, launch: &'a Launch) {
        let service = launch.service.as_str();
        if self.runs_as_wanted(launch) {
            self.plan.warnings.extend(self.observed.excused(self.desired, launch));
            self.plan.kept.push(Kept::Service(launch.service.clone()));
            // It need not be well because it runs.
            self.await_health(launch, None);
            if self.is_awaited(service, Condition::Completed) {
                self.await_end(launch, None);
            }
            return;
        }
        let spec = &launch.container;
        let found = self.observed.container_of(self.desired, launch);
        let goes_along = found.is_some_and(|found| self.goes_along(launch, found));
        let same = matches!(self.observed.state(self.desired, launch), State::AsWanted { .. });
        let mut before_start: Vec<usize> = Vec::new();
        if !same || goes_along {
            let mut needed = self.needed(launch);
            needed.extend(self.cleared.get(service));
            if goes_along {
                // Its name is free once its former pod is gone, which need not be its pod to be.
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
        if found.is_some_and(|found| found.state.stops_first()) && same && !goes_along {
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

    /// Waits until a one-shot service has done what it does.
    fn await_end(&mut self, launch: &'a Launch, read_back: Option<usize>) {
        let required = self.is_awaited(&launch.service, Condition::Completed);
        let action = Action::AwaitEnd { container: launch.container.name.clone(), required };
        let step = self.add(action, Some(&launch.service), read_back);
        self.ready.insert(&launch.service, step);
    }

    /// Whether a service that is to be started waits until this one has come so far.
    fn is_awaited(&self, service: &str, condition: Condition) -> bool {
        let waits = |other: &&&Launch| other.uses.get(service) == Some(&condition);
        self.launches.iter().filter(waits).any(|other| !self.runs_as_wanted(other))
    }

    /// Waits until the service answers, if there is a way to ask it: after its settings were read back, or at once where it runs
    /// already.
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

    /// The steps that make what the container needs.
    pub(super) fn needed(&self, launch: &Launch) -> Vec<usize> {
        let spec = &launch.container;
        let mut things = vec![Thing::Image(spec.image.clone())];
        things.extend(launch.folders.iter().cloned().map(Thing::Folder));
        for mount in &spec.mounts {
            if let Mount::Volume { name, .. } = mount {
                things.push(Thing::Volume(name.clone()));
            }
        }
        if let Networking::Pod(pod) = &spec.networking {
            things.push(Thing::Pod(pod.clone()));
        }
        let network = self.network.filter(|_| matches!(spec.networking, Networking::Own(_)));
        things.iter().filter_map(|thing| self.made.get(thing).copied()).chain(network).collect()
    }

    fn steps_removing(&self) -> Vec<usize> {
        let removes = |step: &Step| matches!(step.action, Action::RemovePod { .. } | Action::RemoveContainer { .. });
        self.plan.steps.iter().enumerate().filter(|(_, step)| removes(step)).map(|(index, _)| index).collect()
    }
}
