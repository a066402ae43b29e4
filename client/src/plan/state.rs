//! How what there is stands to what is wanted, service by service, and for the network.

use super::conflict::NetworkDifference;
use super::label::{same_settings, service_of};
use super::setting::Setting;
use super::{Desired, Difference, Launch, Observed, is_set_aside, read_back};
use crate::podman::{Container, ContainerState, Network, NetworkSpec, Networking};

/// How the container of a service stands to its settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// There is none.
    Absent,
    /// It has them.
    AsWanted {
        /// It runs, or has done what it does.
        running: bool,
    },
    /// It was made with others, or was changed since; each difference that can be told, as a sentence.
    Differs(Vec<String>),
}

/// The container that was made for a service, by its labels and whatever it is called by now. Where there are several, the one of
/// the configured name comes first, then one that was not set aside, then one that runs.
#[must_use]
pub fn container_made_for<'a>(
    service: &str,
    configured: Option<&str>,
    containers: impl IntoIterator<Item = &'a Container>,
) -> Option<&'a Container> {
    let made_for_it = containers.into_iter().filter(|container| service_of(&container.labels) == Some(service));
    made_for_it.max_by_key(|container| {
        let running = container.state == ContainerState::Running;
        (configured == Some(&container.name), !is_set_aside(&container.name), running)
    })
}

impl Observed {
    pub(super) fn state(&self, desired: &Desired, launch: &Launch) -> State {
        let Some(found) = self.container_of(desired, launch) else { return State::Absent };
        if found.name != launch.container.name {
            let (service, wanted) = (&launch.service, &launch.container.name);
            let renamed =
                format!("`services.{service}.container`: `{wanted}` was asked for and podman has `{}`", found.name);
            return State::Differs(vec![renamed]);
        }
        // podman would only refuse to start it; one that is being stopped can be stopped again first.
        if let Some(word) = found.state.improper().filter(|_| !found.state.stops_first()) {
            let name = &found.name;
            return State::Differs(vec![format!(
                "`{name}` is in the state `{word}`, in which podman does not start it"
            )]);
        }
        let differences = self.differences(desired, launch);
        if !self.has_secrets(launch, found) {
            let place = Setting::SecretEnv.place(&launch.service);
            return State::Differs(vec![format!("`{place}`: a secret of podman's has another value since")]);
        }
        if differences.is_empty() && same_settings(&launch.container.labels, &found.labels) {
            let done = launch.oneshot && found.state == ContainerState::Exited(0);
            return State::AsWanted { running: done || found.state == ContainerState::Running };
        }
        let told = |one: &Difference| format!("`{}`: {one}", one.setting.place(&launch.service));
        State::Differs(differences.iter().map(told).collect())
    }

    /// The container of a service: the one of its name, or the one that was made for it when it had another.
    pub(super) fn container_of(&self, desired: &Desired, launch: &Launch) -> Option<&Container> {
        let renamed = || {
            let made_for_it = self.containers.iter().filter(|container| {
                service_of(&container.labels) == Some(&launch.service)
                    && !is_set_aside(&container.name)
                    && !desired.names_a_container(&container.name)
            });
            made_for_it.max_by_key(|container| container.state == ContainerState::Running)
        };
        self.container(&launch.container.name).or_else(renamed)
    }

    /// What of a container is not as wanted; nothing of one that was not looked at closely.
    fn differences(&self, desired: &Desired, launch: &Launch) -> Vec<Difference> {
        let Some(closely) = self.details.get(&launch.container.name) else { return Vec::new() };
        let mut differences = read_back(&desired.expected(launch), &closely.detail, &closely.kernel);
        // Making it anew would not give a limit that this host cannot keep.
        differences.retain(|one| self.facts.as_ref().and_then(|facts| one.excuse(facts)).is_none());
        differences
    }

    /// The limits of services that run and that this host cannot keep, for a user to know.
    pub(super) fn excused(&self, desired: &Desired, launch: &Launch) -> Vec<String> {
        let (Some(closely), Some(facts)) = (self.details.get(&launch.container.name), &self.facts) else {
            return Vec::new();
        };
        let differences = read_back(&desired.expected(launch), &closely.detail, &closely.kernel);
        let warned = |one: &Difference| Some(one.warning(&launch.service, &one.excuse(facts)?));
        differences.iter().filter_map(warned).collect()
    }

    /// Whether everything to be launched runs as wanted, so that nothing has to be made.
    pub(super) fn is_as_wanted(&self, desired: &Desired) -> bool {
        let on_network = desired.launches.iter().any(|launch| launch.container.networking != Networking::Host);
        let network = self.network(&desired.network.name);
        let network_stands =
            !on_network || network.is_some_and(|found| differences(&desired.network, found).is_empty());
        network_stands
            && desired.launches.iter().all(|launch| {
                let pod_stands = match &launch.container.networking {
                    Networking::Pod(pod) => desired.pods.get(pod).zip(self.pod(pod)).is_some_and(|(wanted, found)| {
                        found.broken.is_none() && same_settings(&wanted.labels, &found.labels)
                    }),
                    Networking::Own(_) | Networking::Host => true,
                };
                pod_stands && self.state(desired, launch) == State::AsWanted { running: true }
            })
    }
}

/// The settings of a network that are configured and not met. What is left to podman is met by anything.
pub(super) fn differences(wanted: &NetworkSpec, found: &Network) -> Vec<NetworkDifference> {
    let mut differences = Vec::new();
    if wanted.external {
        return differences;
    }
    let mut compare = |key, wanted: String, found: String| {
        if wanted != found {
            differences.push(NetworkDifference { key, wanted, found });
        }
    };
    compare("runtime.network.driver", wanted.driver.clone(), found.driver.clone());
    compare("runtime.network.ipv6", wanted.ipv6.to_string(), found.ipv6.to_string());
    compare("runtime.network.internal", wanted.internal.to_string(), found.internal.to_string());
    if let Some(subnet) = wanted.subnet {
        let same = found.subnets.iter().find(|(other, _)| *other == subnet.trunc()).or_else(|| found.subnets.first());
        let shown = |subnet: Option<String>| subnet.unwrap_or_else(|| "none".to_owned());
        compare("runtime.network.subnet", subnet.trunc().to_string(), shown(same.map(|(other, _)| other.to_string())));
        if let Some(gateway) = wanted.gateway {
            let found = same.and_then(|(_, gateway)| gateway.map(|gateway| gateway.to_string()));
            compare("runtime.network.gateway", gateway.to_string(), shown(found));
        }
    }
    if let Some(mtu) = wanted.mtu {
        let found = found.mtu.map_or_else(|| "podman's own".to_owned(), |mtu| mtu.to_string());
        compare("runtime.network.mtu", mtu.to_string(), found);
    }
    differences
}
