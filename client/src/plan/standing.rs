//! How what there is stands to what is wanted, service by service.

use super::label::same_settings;
use super::network::differences;
use super::{Desired, Difference, Launch, Observed, read_back};
use crate::podman::{ContainerState, Networking};

/// How the container of a service stands to its settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// There is none.
    Absent,
    /// It has them.
    AsWanted {
        /// It runs.
        running: bool,
    },
    /// It was made with others, or was changed since; each difference that can be told, as a sentence.
    Differs(Vec<String>),
}

impl Observed {
    pub(super) fn standing(&self, desired: &Desired, launch: &Launch) -> Standing {
        let Some(found) = self.container(&launch.container.name) else { return Standing::Absent };
        let differences = self.differences(desired, launch);
        if differences.is_empty() && same_settings(&launch.container.labels, &found.labels) {
            return Standing::AsWanted { running: found.state == ContainerState::Running };
        }
        let told = |one: &Difference| format!("`{}`: {one}", one.setting.place(&launch.service));
        Standing::Differs(differences.iter().map(told).collect())
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
                    Networking::Pod(pod) => desired
                        .pods
                        .get(pod)
                        .zip(self.pod(pod))
                        .is_some_and(|(wanted, found)| same_settings(&wanted.labels, &found.labels)),
                    Networking::Own(_) | Networking::Host => true,
                };
                pod_stands && self.standing(desired, launch) == Standing::AsWanted { running: true }
            })
    }
}
