//! Finds obstacles to a launch, such as missing paths and devices of the host, before the first
//! step.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Builder;
use crate::config::Pull;
use crate::kernel::PathKind;
use crate::plan::conflict::Kind;
use crate::plan::label::is_ours;
use crate::plan::observed::State;
use crate::plan::{Conflict, Launch, former_name};
use crate::podman::{Mount, Networking};
use crate::port::{HostPort, any_overlaps};

impl Builder<'_> {
    /// Every object with one of our names must be ours.
    pub(super) fn find_conflicts_of_names(&self) -> Result<(), Conflict> {
        let network = &self.desired.network.name;
        if self.needs_network()
            && !self.desired.network.external
            && self.observed.network(network).is_some_and(|found| !is_ours(&found.labels))
        {
            return Err(not_ours("runtime.network_name", Kind::Network, network));
        }
        for launch in &self.launches {
            let place = |key: &str| format!("services.{}.{key}", launch.service);
            let name = &launch.container.name;
            if self.observed.container(name).is_some_and(|found| !is_ours(&found.labels)) {
                return Err(not_ours(&place("container"), Kind::Container, name));
            }
            // A container about to be set aside is renamed to this, so a foreign one must not have
            // the name.
            let found = self.observed.container_of(self.desired, launch);
            let former = former_name(found.map_or(name, |found| &found.name));
            if self.observed.container(&former).is_some_and(|found| !is_ours(&found.labels)) {
                return Err(not_ours(&place("container"), Kind::Container, &former));
            }
            if let Networking::Pod(pod) = &launch.container.networking
                && self.observed.pod(pod).is_some_and(|found| !is_ours(&found.labels))
            {
                return Err(not_ours(&place("pod"), Kind::Pod, pod));
            }
        }
        Ok(())
    }

    /// Objects that airpods does not create must exist: external networks, podman secrets, and
    /// images with `pull = "never"`.
    pub(super) fn find_missing(&self) -> Result<(), Conflict> {
        let missing =
            |place: String, kind: Kind, name: &str| Err(Conflict::Missing { place, kind, name: name.to_owned() });
        let network = &self.desired.network;
        if network.external && self.needs_network() && self.observed.network(&network.name).is_none() {
            return missing("runtime.network_name".to_owned(), Kind::Network, &network.name);
        }
        for launch in &self.launches {
            let endpoint = match &launch.container.networking {
                Networking::Own(endpoint) => Some(endpoint),
                Networking::Pod(pod) => self.desired.pods.get(pod).map(|pod| &pod.endpoint),
                Networking::Host => None,
            };
            let further = endpoint.iter().flat_map(|endpoint| &endpoint.further);
            if let Some(name) = further.into_iter().find(|name| self.observed.network(name).is_none()) {
                return missing(format!("services.{}.networks", launch.service), Kind::Network, name);
            }
            if let Some((variable, name)) = self.observed.missing_secret(launch) {
                let (service, variable, name) = (launch.service.clone(), variable.to_owned(), name.to_owned());
                return Err(Conflict::SecretMissing { service, variable, name });
            }
            let image = &launch.container.image;
            let needs_image = launch.pull == Pull::Never && !self.is_made(launch);
            if needs_image && !self.observed.images.contains(image) {
                return missing(format!("services.{}.image", launch.service), Kind::Image, image);
            }
        }
        Ok(())
    }

    /// Before a network is recreated everything on it is removed, so all of it must be ours.
    /// Containers in a pod are left out: podman's listing has no networks for them.
    pub(super) fn find_foreign_on_network(&self) -> Result<(), Conflict> {
        let name = &self.desired.network.name;
        let holder = self.observed.containers.iter().find(|container| {
            self.reset && container.networks.contains(name) && container.pod.is_none() && !is_ours(&container.labels)
        });
        match holder {
            Some(holder) => Err(Conflict::NetworkHeld { name: name.clone(), holder: holder.name.clone() }),
            None => Ok(()),
        }
    }

    /// Returns a conflict if a live container holds a wanted port. A port that the service itself
    /// holds, or that a replacement frees, is no conflict. All other ports go into
    /// [`Plan::ports`](crate::plan::Plan), to be checked with the kernel.
    pub(super) fn find_conflicts_of_ports(&mut self) -> Result<(), Conflict> {
        let freed = self.freed_ports();
        for launch in self.launches.clone() {
            let own: BTreeSet<HostPort> = self.own_ports(launch);
            let had = |port: &HostPort| any_overlaps(&own, *port) || any_overlaps(&freed, *port);
            for port in launch.host_ports.iter().filter(|port| !had(port)) {
                let holder = self.observed.containers.iter().find(|container| {
                    let has = |other: &HostPort| other.overlaps(*port);
                    container.state.is_alive() && container.host_ports.iter().any(has)
                });
                if let Some(holder) = holder {
                    let (service, holder) = (launch.service.clone(), holder.name.clone());
                    return Err(Conflict::PortHeld { service, port: *port, holder });
                }
                self.plan.ports.push((launch.service.clone(), *port));
            }
        }
        Ok(())
    }

    /// The host ports of containers that are replaced. A service that wants one starts after it is
    /// free.
    fn freed_ports(&self) -> BTreeSet<HostPort> {
        let replaced = self.launches.iter().filter_map(|launch| {
            let found = self.observed.container_of(self.desired, launch)?;
            let stale = found.pod.as_deref().is_some_and(|pod| self.stale_pods.contains(pod));
            let goes = stale
                || found.pod.is_none()
                    && (self.is_removed_with_parent(launch, found)
                        || matches!(self.observed.state(self.desired, launch), State::Differs(_)));
            (goes && found.state.is_alive()).then_some(&found.host_ports)
        });
        replaced.flatten().copied().collect()
    }

    /// The host ports that the service already holds, through its running container or its pod.
    fn own_ports(&self, launch: &Launch) -> BTreeSet<HostPort> {
        let container = self.observed.container_of(self.desired, launch);
        let running = container.is_some_and(|found| found.state.is_alive());
        let pod = match &launch.container.networking {
            Networking::Pod(pod) => self.observed.pod(pod).filter(|found| found.up),
            _ => None,
        };
        let all = launch.host_ports.iter().copied();
        if let Some(pod) = pod {
            // A pod that is to be recreated holds its old ports, which may differ from the wanted
            // ones.
            let inside = self.observed.containers.iter().filter(|other| other.pod.as_ref() == Some(&pod.name));
            let stale = self.stale_pods.contains(pod.name.as_str());
            let known: BTreeSet<HostPort> = inside.flat_map(|other| other.host_ports.iter().copied()).collect();
            return if stale && !known.is_empty() { known } else { all.collect() };
        }
        if running && launch.container.networking == Networking::Host {
            return all.collect();
        }
        // A running container holds the ports it was created with until it is removed, whatever is
        // wanted now.
        container.filter(|_| running).map(|found| found.host_ports.iter().copied().collect()).unwrap_or_default()
    }
}

fn not_ours(place: &str, kind: Kind, name: &str) -> Conflict {
    Conflict::NotOurs { place: place.to_owned(), kind, name: name.to_owned() }
}

impl Builder<'_> {
    /// Host paths and devices that containers use must exist and be of the right kind.
    pub(super) fn find_conflicts_of_paths(&self) -> Result<(), Conflict> {
        let launches = || self.launches.iter().filter(|launch| !self.runs_as_wanted(launch));
        launches().try_for_each(|launch| self.find_conflicts_of_mounts(launch))?;
        launches().try_for_each(|launch| {
            if let Some(gpu) = launch.missing_gpus.first() {
                return Err(Conflict::GpuMissing { service: launch.service.clone(), gpu: gpu.clone() });
            }
            match launch.container.device_paths().find(|device| !is_there(self.kind(device))) {
                Some(device) => {
                    let device = device.display().to_string();
                    Err(Conflict::DeviceMissing { service: launch.service.clone(), device })
                }
                None => Ok(()),
            }
        })
    }

    fn find_conflicts_of_mounts(&self, launch: &Launch) -> Result<(), Conflict> {
        for mount in &launch.container.mounts {
            let Mount::Bind { source, .. } = mount else { continue };
            let service = || launch.service.clone();
            // A step creates a missing folder of ours.
            let ours = launch.folders.contains(source);
            match self.kind(source) {
                Some(PathKind::Blocked) => {
                    return Err(Conflict::NoFolder { service: service(), path: source.clone() });
                }
                Some(PathKind::Missing) if !ours => {
                    return Err(Conflict::PathMissing { service: service(), path: source.clone() });
                }
                Some(PathKind::File) if is_meant_as_folder(source) => {
                    return Err(Conflict::NoFolder { service: service(), path: source.clone() });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn kind(&self, path: &Path) -> Option<PathKind> {
        self.observed.paths.get(path).copied()
    }

    /// Whether a path of ours is a file. A file is mounted as it is, and no folder is created in
    /// its place.
    pub(super) fn is_file(&self, path: &Path) -> bool {
        self.kind(path) == Some(PathKind::File)
    }
}

/// Whether the path exists. A path that this user may not look at counts as there: podman decides.
fn is_there(kind: Option<PathKind>) -> bool {
    !matches!(kind, Some(PathKind::Missing | PathKind::Blocked))
}

/// Whether the path ends with a slash and so names a folder.
fn is_meant_as_folder(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}
