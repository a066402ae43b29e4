//! Obstacles to a launch, found before anything is pulled, made or touched: also missing paths and devices of
//! the host.

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
            // The container that the service has may have to be set aside under this name.
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

    /// Objects that are not ours to make must be there: networks of others, and images that are never pulled.
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

    /// Before a network is made anew everything on it is removed, so all of it must be ours.
    pub(super) fn find_strangers_on_network(&self) -> Result<(), Conflict> {
        let name = &self.desired.network.name;
        let holder = self.observed.containers.iter().find(|container| {
            self.reset && container.networks.contains(name) && container.pod.is_none() && !is_ours(&container.labels)
        });
        match holder {
            Some(holder) => Err(Conflict::NetworkHeld { name: name.clone(), holder: holder.name.clone() }),
            None => Ok(()),
        }
    }

    /// Nobody else's running container may hold a port that is wanted. Ports held by what is kept or made again
    /// are no conflict; the others are left for the kernel to be asked about.
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

    /// The ports of containers that are replaced: whoever wants one is started when it is free.
    fn freed_ports(&self) -> BTreeSet<HostPort> {
        let replaced = self.launches.iter().filter_map(|launch| {
            let found = self.observed.container_of(self.desired, launch)?;
            let stale = found.pod.as_deref().is_some_and(|pod| self.stale_pods.contains(pod));
            let goes = stale
                || found.pod.is_none()
                    && (self.goes_along(launch, found)
                        || matches!(self.observed.state(self.desired, launch), State::Differs(_)));
            (goes && found.state.is_alive()).then_some(&found.host_ports)
        });
        replaced.flatten().copied().collect()
    }

    /// The ports that the service already holds: by its running container, or by its pod.
    fn own_ports(&self, launch: &Launch) -> BTreeSet<HostPort> {
        let container = self.observed.container_of(self.desired, launch);
        let running = container.is_some_and(|found| found.state.is_alive());
        let pod = match &launch.container.networking {
            Networking::Pod(pod) => self.observed.pod(pod).filter(|found| found.up),
            _ => None,
        };
        let all = launch.host_ports.iter().copied();
        if let Some(pod) = pod {
            // A pod made with other settings may hold other ports than those wanted now.
            let inside = self.observed.containers.iter().filter(|other| other.pod.as_ref() == Some(&pod.name));
            let stale = self.stale_pods.contains(pod.name.as_str());
            let known: BTreeSet<HostPort> = inside.flat_map(|other| other.host_ports.iter().copied()).collect();
            return if stale && !known.is_empty() { known } else { all.collect() };
        }
        if running && launch.container.networking == Networking::Host {
            return all.collect();
        }
        // A container made with other settings holds the ports it was made with, until it is removed.
        container.filter(|_| running).map(|found| found.host_ports.iter().copied().collect()).unwrap_or_default()
    }
}

fn not_ours(place: &str, kind: Kind, name: &str) -> Conflict {
    Conflict::NotOurs { place: place.to_owned(), kind, name: name.to_owned() }
}

impl Builder<'_> {
    /// Paths and devices of the host that containers are to have must be there, and be of the right kind.
    pub(super) fn find_conflicts_of_paths(&self) -> Result<(), Conflict> {
        let launches = || self.launches.iter().filter(|launch| !self.runs_as_wanted(launch));
        launches().try_for_each(|launch| self.find_conflicts_of_mounts(launch))?;
        launches().try_for_each(|launch| {
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
            // A folder of ours is made.
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

    /// Whether a path of ours is a file: it is mounted as it is, and no folder is made in its place.
    pub(super) fn is_file(&self, path: &Path) -> bool {
        self.kind(path) == Some(PathKind::File)
    }
}

/// Paths that this user may not look at are left to podman.
fn is_there(kind: Option<PathKind>) -> bool {
    !matches!(kind, Some(PathKind::Missing | PathKind::Blocked))
}

/// A path that ends with a slash names a folder.
fn is_meant_as_folder(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}
