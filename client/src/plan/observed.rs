//! The observed state before a launch, including podman's secrets, and its differences from the
//! desired state, for each service and for the network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures_util::future::{try_join, try_join_all, try_join3, try_join4};

use super::conflict::NetworkDifference;
use super::label::{SECRETS, is_ours, same_settings, service_of};
use super::setting::Setting;
use super::{Desired, Difference, Expected, Launch, NetworkReset, is_set_aside, read_back};
use crate::kernel::{PathKind, View};
use crate::podman::{
    Container, ContainerDetail, ContainerSpec, ContainerState, HostFacts, Network, NetworkSpec, Networking, Pod,
    Podman, Result,
};

/// podman's objects, from one listing per kind, and the inspections of our containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// All networks.
    pub networks: Vec<Network>,
    /// The names of all volumes.
    pub volumes: BTreeSet<String>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All containers.
    pub containers: Vec<Container>,
    /// Those of the requested images that are in storage.
    pub images: BTreeSet<String>,
    /// The inspections of our containers, by container name.
    pub details: BTreeMap<String, Inspection>,
    /// The kind of each host path that containers use. A path that this user may not look at has no
    /// entry.
    pub paths: BTreeMap<PathBuf, PathKind>,
    /// The ids of podman's secrets by name; read only if a service uses one.
    pub secrets: BTreeMap<String, String>,
    /// Facts that may explain a limit that is not in force; read only if there is one.
    pub facts: Option<HostFacts>,
}

/// The reports of podman and the kernel about one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Podman's report.
    pub detail: ContainerDetail,
    /// The kernel's view.
    pub kernel: View,
}

impl Observed {
    /// Reads all listings and looks the images up, concurrently.
    pub async fn of(podman: &impl Podman, images: BTreeSet<String>) -> Result<Self> {
        let listings = try_join4(podman.networks(), podman.volumes(), podman.pods(), podman.containers());
        let inspect = |image: String| async move {
            let there = podman.image_exists(&image).await?;
            Ok(there.then_some(image))
        };
        let (listed, images) = try_join(listings, try_join_all(images.into_iter().map(inspect))).await?;
        let (networks, volumes, pods, containers) = listed;
        Ok(Self {
            networks,
            volumes: volumes.into_iter().collect(),
            pods,
            containers,
            images: images.into_iter().flatten().collect(),
            ..Self::default()
        })
    }

    /// Reads the state for a launch with as few calls as possible. The containers that airpods made
    /// for it are inspected; images and volumes are looked up only if something has to be created.
    pub async fn for_launch(podman: &impl Podman, desired: &Desired, reset: NetworkReset) -> Result<Self> {
        let (networks, pods, containers) = try_join3(podman.networks(), podman.pods(), podman.containers()).await?;
        let mut observed = Self { networks, pods, containers, ..Self::default() };
        observed.look_at_secrets(podman, desired).await?;
        observed.inspect_launches(podman, desired).await?;
        if reset != NetworkReset::AskedFor && observed.is_as_wanted(desired) {
            return Ok(observed);
        }
        let inspect = |image: String| async move {
            let there = podman.image_exists(&image).await?;
            Ok(there.then_some(image))
        };
        observed.look_at_paths(desired);
        let images = try_join_all(desired.images().into_iter().map(inspect));
        let (volumes, images) = try_join(podman.volumes(), images).await?;
        observed.volumes = volumes.into_iter().collect();
        observed.images = images.into_iter().flatten().collect();
        Ok(observed)
    }

    /// Reads podman's secrets, if a service uses one.
    pub async fn look_at_secrets(&mut self, podman: &impl Podman, desired: &Desired) -> Result<()> {
        if desired.needs_podman_secrets() {
            self.secrets = podman.secrets().await?;
        }
        Ok(())
    }

    fn look_at_paths(&mut self, desired: &Desired) {
        for launch in desired.launches.iter().chain(&desired.others) {
            for path in launch.container.sources().chain(launch.container.device_paths()) {
                self.paths.extend(PathKind::of(path).map(|kind| (path.to_owned(), kind)));
            }
        }
    }

    async fn inspect_launches(&mut self, podman: &impl Podman, desired: &Desired) -> Result<()> {
        let ours = desired
            .launches
            .iter()
            .filter(|launch| self.container(&launch.container.name).is_some_and(|found| is_ours(&found.labels)));
        let inspect = |launch| async move {
            let expected = desired.expected(launch);
            let name = launch.container.name.clone();
            let inspection = match Inspection::at(podman, &expected).await {
                // The container was removed between the listing and this call.
                Err(error) if error.is_not_found() => return Ok((name, None, false)),
                inspection => inspection?,
            };
            let excusable = read_back(&expected, &inspection.detail, &inspection.kernel)
                .iter()
                .any(|one| one.setting.controller().is_some());
            Ok((name, Some(inspection), excusable))
        };
        let inspected = try_join_all(ours.map(inspect)).await?;
        if inspected.iter().any(|(_, _, excusable)| *excusable) {
            self.facts = Some(podman.host_facts().await?);
        }
        for (name, inspection, _) in inspected {
            match inspection {
                Some(inspection) => drop(self.details.insert(name, inspection)),
                None => self.containers.retain(|container| container.name != name),
            }
        }
        Ok(())
    }

    /// Our pods in which podman can start no container, each with the reason.
    #[must_use]
    pub fn broken_pods(&self, desired: &Desired) -> Vec<(String, String)> {
        let ours = self.pods.iter().filter(|pod| desired.pods.contains_key(&pod.name) && is_ours(&pod.labels));
        ours.filter_map(|pod| Some((pod.name.clone(), pod.broken.clone()?))).collect()
    }

    pub(super) fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub(super) fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    pub(super) fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }
}

impl Inspection {
    /// Inspects a container that should have these settings: podman's report, the kernel's limits,
    /// its host ports, and the host paths that it mounts.
    pub async fn at(podman: &impl Podman, expected: &Expected) -> Result<Self> {
        let detail = podman.inspect_container(&expected.spec.name).await?;
        let running = detail.pid.filter(|_| detail.state == ContainerState::Running);
        let view = |pid| View::of(pid, &detail.id, &expected.host_ports());
        let mut kernel = running.map(view).unwrap_or_default();
        if let Some(pid) = running {
            kernel.read_sysctls(pid, &expected.spec.options.sysctls().map(|(name, _)| name).collect::<Vec<_>>()).await;
        }
        let found = detail.mounts.iter().filter(|mount| mount.volume.is_none()).map(|mount| mount.source.as_path());
        kernel.follow(expected.sources().chain(found));
        Ok(Self { detail, kernel })
    }
}

impl Observed {
    /// The value of the secrets label for a container created now; none if it uses no podman
    /// secret.
    fn secrets_label(&self, spec: &ContainerSpec) -> Option<String> {
        let ids = spec.podman_secrets().filter_map(|(variable, name)| {
            let id = self.secrets.get(name)?;
            Some(format!("{variable}={id}"))
        });
        let ids: Vec<String> = ids.collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    /// The spec of a container created now, with the label of its secrets.
    pub(super) fn with_secrets(&self, spec: &ContainerSpec) -> ContainerSpec {
        let mut spec = spec.clone();
        let label = self.secrets_label(&spec);
        spec.labels.extend(label.map(|label| (SECRETS.to_owned(), label)));
        spec
    }

    /// Whether a container has the current secrets. podman reads the values when it creates and
    /// starts a container, and never reports them. A secret with another value has another id.
    pub(super) fn has_secrets(&self, launch: &Launch, found: &Container) -> bool {
        found.labels.get(SECRETS) == self.secrets_label(&launch.container).as_ref()
    }

    /// The first secret that the service uses and podman does not have, as variable and name.
    pub(super) fn missing_secret<'a>(&self, launch: &'a Launch) -> Option<(&'a str, &'a str)> {
        launch.container.podman_secrets().find(|(_, name)| !self.secrets.contains_key(*name))
    }
}

/// How the container of a service compares with the desired settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// The service has no container.
    Absent,
    /// The container has the desired settings.
    AsWanted {
        /// It runs or, in a one-shot service, has ended with success.
        running: bool,
    },
    /// It was made with other settings, or was changed since. Each known difference is a sentence.
    Differs(Vec<String>),
}

/// The container that was made for a service, found by its labels, whatever its name. Of several,
/// it prefers the configured name, then one that was not set aside, then a running one.
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
        // podman refuses to start a container in this state. One that is `stopping` can be stopped
        // again and then started.
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
        let message = |one: &Difference| format!("`{}`: {one}", one.setting.place(&launch.service));
        State::Differs(differences.iter().map(message).collect())
    }

    /// The container of a service: the one with its configured name, or one that was made for it
    /// under another name.
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

    /// The differences of a container from its desired settings; empty if it was not inspected.
    fn differences(&self, desired: &Desired, launch: &Launch) -> Vec<Difference> {
        let Some(inspection) = self.details.get(&launch.container.name) else { return Vec::new() };
        let mut differences = read_back(&desired.expected(launch), &inspection.detail, &inspection.kernel);
        // A new container would not get a limit that this host cannot enforce.
        differences.retain(|one| self.facts.as_ref().and_then(|facts| one.excuse(facts)).is_none());
        differences
    }

    /// Warnings about limits of a running service that this host cannot enforce.
    pub(super) fn excused(&self, desired: &Desired, launch: &Launch) -> Vec<String> {
        let (Some(inspection), Some(facts)) = (self.details.get(&launch.container.name), &self.facts) else {
            return Vec::new();
        };
        let differences = read_back(&desired.expected(launch), &inspection.detail, &inspection.kernel);
        let warned = |one: &Difference| Some(one.warning(&launch.service, &one.excuse(facts)?));
        differences.iter().filter_map(warned).collect()
    }

    /// Whether every launch runs as desired, so that nothing has to be created.
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

/// The configured settings of a network that it does not have. A setting that is left to podman
/// matches any value.
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
