//! The objects of the simulated podman, and its rules. A container's name is unique, and all it
//! refers to must exist. It holds its host ports alone while it runs. A network in use cannot be
//! removed. A pod stops and removes its containers with itself. Images and volumes stay while a
//! container uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::spelling::reported;
use super::{missing, refused, taken};
use crate::config::Reference;
use crate::podman::{
    Container, ContainerDetail, ContainerSpec, ContainerState, DiskUsage, Endpoint, Mount, MountDetail, Network,
    NetworkSpec, Networking, Pod, PodSpec, Result,
};
use crate::port::{HostPort, any_overlaps};

/// The objects of the simulated podman. Equal ones are in the same state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// Images in storage.
    pub images: BTreeSet<String>,
    /// Images that the registry has.
    pub registry: BTreeSet<String>,
    /// Networks by name.
    pub networks: BTreeMap<String, Network>,
    /// Volumes.
    pub volumes: BTreeSet<String>,
    /// Ids of secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Pods by name.
    pub pods: BTreeMap<String, PodSpec>,
    /// The pods whose network is up.
    pub pods_up: BTreeSet<String>,
    /// The pods whose infra container is gone.
    pub pods_broken: BTreeSet<String>,
    /// Containers by name, with their state.
    pub containers: BTreeMap<String, (ContainerSpec, ContainerState)>,
}

impl Objects {
    pub(in crate::podman::simulated) fn list_containers(&self) -> Vec<Container> {
        let containers = self.containers.values().map(|(spec, state)| Container {
            name: spec.name.clone(),
            image: spec.image.clone(),
            state: *state,
            started_at: (*state != ContainerState::Created).then_some(1_000_000_000),
            exited_at: matches!(state, ContainerState::Exited(_)).then_some(1_000_000_100),
            labels: spec.labels.clone(),
            pod: match &spec.networking {
                Networking::Pod(pod) => Some(pod.clone()),
                _ => None,
            },
            host_ports: self
                .endpoint(spec)
                .map(|endpoint| endpoint.ports.iter().map(|port| port.host).collect())
                .unwrap_or_default(),
            networks: match &spec.networking {
                Networking::Own(endpoint) => vec![endpoint.network.clone()],
                _ => Vec::new(),
            },
        });
        containers.collect()
    }

    pub(in crate::podman::simulated) fn inspect_container(&self, name: &str) -> Result<ContainerDetail> {
        let (spec, state) = self.containers.get(name).ok_or_else(|| missing("container", name))?;
        let endpoint = self.endpoint(spec);
        Ok(ContainerDetail {
            state: *state,
            oom_killed: false,
            stopped_by_user: false,
            restarts: 0,
            pid: None,
            id: spec.name.clone(),
            image: spec.image.clone(),
            // podman drops empty words of an entrypoint (`makeCommand` in `pkg/specgen/generate`).
            command: spec
                .entrypoint
                .iter()
                .flatten()
                .filter(|word| !word.is_empty())
                .chain(spec.command.iter().flatten())
                .cloned()
                .collect(),
            env: spec.env.clone().into_iter().chain(self.given_secrets(spec, *state)).collect(),
            mounts: spec.mounts.iter().map(mounted).collect(),
            devices: spec.gpu.iter().chain(&spec.devices).map(|device| on_host(device)).collect(),
            options: reported(&spec.options),
            labels: spec.labels.clone(),
            hosts: spec.hosts.iter().chain(endpoint.iter().flat_map(|endpoint| &endpoint.hosts)).cloned().collect(),
            health: spec.health.clone().unwrap_or_default(),
            health_timeout: spec.health_timeout.map(crate::config::Period::get),
            host_network: spec.networking == Networking::Host,
            networks: endpoint
                .map(|endpoint| (endpoint.network.clone(), endpoint.aliases.clone()))
                .into_iter()
                .chain(endpoint.iter().flat_map(|endpoint| &endpoint.further).map(|name| (name.clone(), Vec::new())))
                .collect(),
            ports: endpoint.map(|endpoint| endpoint.ports.clone()).unwrap_or_default(),
            dns_servers: endpoint.map(|endpoint| endpoint.dns_servers.clone()).unwrap_or_default(),
            pids_limit: spec.limits.pids.into(),
            memory: spec.limits.memory.unwrap_or(0),
            nano_cpus: 0,
            restart: spec.restart.as_str().into(),
        })
    }

    /// The secret variables of a running container, with the secrets' ids as values: an older
    /// podman shows values.
    fn given_secrets(&self, spec: &ContainerSpec, state: ContainerState) -> Vec<(String, String)> {
        let running = state == ContainerState::Running;
        let given = spec.podman_secrets().filter(|_| running);
        given
            .map(|(variable, name)| (variable.to_owned(), self.secrets.get(name).cloned().unwrap_or_default()))
            .collect()
    }

    pub(in crate::podman::simulated) fn create_container(&mut self, spec: &ContainerSpec) -> Result<()> {
        if self.containers.contains_key(&spec.name) {
            return Err(taken("container", &spec.name));
        }
        let wanted = Reference::of(&spec.image);
        if !self.images.iter().any(|there| wanted.is_met_by(&Reference::of(there))) {
            return Err(missing("image", &spec.image));
        }
        let known = match &spec.networking {
            Networking::Own(endpoint) => self.networks.contains_key(&endpoint.network),
            Networking::Pod(pod) => self.pods.contains_key(pod),
            Networking::Host => true,
        };
        if !known {
            return Err(missing("network or pod of container", &spec.name));
        }
        if let Some((_, secret)) = spec.podman_secrets().find(|(_, name)| !self.secrets.contains_key(*name)) {
            return Err(missing("secret", secret));
        }
        self.containers.insert(spec.name.clone(), (spec.clone(), ContainerState::Created));
        Ok(())
    }

    pub(in crate::podman::simulated) fn start_container(&mut self, name: &str) -> Result<()> {
        let (spec, state) = self.containers.get(name).ok_or_else(|| missing("container", name))?;
        if let Some(word) = state.improper() {
            return Err(refused(
                500,
                format!("unable to start container {name} in state {word}: container state improper"),
            ));
        }
        if let Networking::Pod(pod) = &spec.networking
            && self.pods_broken.contains(pod)
        {
            return Err(refused(500, format!("starting infra container of pod {pod}: no such container")));
        }
        let others = self.ports_of_others(spec);
        let clash = self
            .endpoint(spec)
            .and_then(|endpoint| endpoint.ports.iter().find(|port| any_overlaps(&others, port.host)).copied());
        if let Some(port) = clash {
            let (name, at) = (port.host.protocol.as_str(), port.host.listens_at());
            return Err(refused(500, format!("listen {name} {at}: bind: address already in use")));
        }
        let pod = match &spec.networking {
            Networking::Pod(pod) => Some(pod.clone()),
            _ => None,
        };
        self.pods_up.extend(pod);
        self.set_state(name, ContainerState::Running)
    }

    /// Puts a container into a state, whatever its present state.
    pub(in crate::podman::simulated) fn set_state(&mut self, name: &str, to: ContainerState) -> Result<()> {
        let (_, state) = self.containers.get_mut(name).ok_or_else(|| missing("container", name))?;
        *state = to;
        Ok(())
    }

    /// Stops a container, if podman could in its present state.
    pub(in crate::podman::simulated) fn stop_container(&mut self, name: &str) -> Result<()> {
        let (_, state) = self.containers.get(name).ok_or_else(|| missing("container", name))?;
        if let Some(word) = state.improper().filter(|_| !state.stops_first()) {
            return Err(refused(500, format!("can only stop created or running containers, not in state {word}")));
        }
        self.set_state(name, ContainerState::Exited(0))
    }

    pub(in crate::podman::simulated) fn rename_container(&mut self, name: &str, new_name: &str) -> Result<()> {
        if let Some(word) = self.containers.get(name).and_then(|(_, state)| state.improper()) {
            return Err(refused(500, format!("cannot rename container {name} in state {word}")));
        }
        let (mut spec, state) = self.containers.get(name).cloned().ok_or_else(|| missing("container", name))?;
        if self.containers.contains_key(new_name) {
            return Err(taken("container", new_name));
        }
        self.containers.remove(name);
        spec.name = new_name.into();
        self.containers.insert(new_name.into(), (spec, state));
        Ok(())
    }

    pub(in crate::podman::simulated) fn remove_container(&mut self, name: &str) -> Result<()> {
        self.containers.remove(name).map(drop).ok_or_else(|| missing("container", name))
    }

    /// The endpoint through which a container is reached.
    fn endpoint(&self, spec: &ContainerSpec) -> Option<&Endpoint> {
        match &spec.networking {
            Networking::Own(endpoint) => self.containers.get(&spec.name).and_then(|(own, _)| {
                // Return the stored copy, which lives as long as they do.
                match &own.networking {
                    Networking::Own(stored) if stored == endpoint => Some(stored),
                    _ => None,
                }
            }),
            Networking::Pod(pod) => self.pods.get(pod).map(|pod| &pod.endpoint),
            Networking::Host => None,
        }
    }

    /// The host ports that other running containers hold, except those in the same pod.
    fn ports_of_others(&self, spec: &ContainerSpec) -> BTreeSet<HostPort> {
        let same_pod = |other: &ContainerSpec| {
            matches!((&spec.networking, &other.networking),
                (Networking::Pod(a), Networking::Pod(b)) if a == b)
        };
        self.containers
            .values()
            .filter(|(other, state)| *state == ContainerState::Running && other.name != spec.name && !same_pod(other))
            .filter_map(|(other, _)| self.endpoint(other))
            .flat_map(|endpoint| endpoint.ports.iter().map(|port| port.host))
            .collect()
    }
}

fn mounted(mount: &Mount) -> MountDetail {
    match mount {
        Mount::Volume { name, target, read_only } => MountDetail {
            volume: Some(name.clone()),
            source: "/volumes".into(),
            target: target.clone(),
            read_only: *read_only,
        },
        Mount::Bind { source, target, read_only, .. } => {
            MountDetail { volume: None, source: source.clone(), target: target.clone(), read_only: *read_only }
        }
    }
}

/// The path of a device on the host, `HOST[:CONTAINER[:rwm]]`.
fn on_host(device: &str) -> PathBuf {
    device.split(':').next().unwrap_or_default().into()
}

impl Objects {
    pub(in crate::podman::simulated) fn create_network(&mut self, spec: &NetworkSpec) -> Result<Network> {
        if self.networks.contains_key(&spec.name) {
            return Err(taken("network", &spec.name));
        }
        let subnet = spec.subnet.or_else(|| "10.89.0.0/24".parse().ok());
        let network = Network {
            name: spec.name.clone(),
            driver: spec.driver.clone(),
            subnets: subnet.into_iter().map(|subnet| (subnet, spec.gateway)).collect(),
            ipv6: spec.ipv6,
            internal: spec.internal,
            dns: true,
            interface: None,
            mtu: spec.mtu,
            labels: spec.labels.clone(),
        };
        self.networks.insert(spec.name.clone(), network.clone());
        Ok(network)
    }

    pub(in crate::podman::simulated) fn remove_network(&mut self, name: &str) -> Result<()> {
        if self.in_use(name) {
            return Err(refused(500, format!("network {name} is being used")));
        }
        self.networks.remove(name).map(drop).ok_or_else(|| missing("network", name))
    }

    fn in_use(&self, network: &str) -> bool {
        let on = |endpoint: &Endpoint| endpoint.network == network;
        self.pods.values().any(|pod| on(&pod.endpoint))
            || self
                .containers
                .values()
                .any(|(spec, _)| matches!(&spec.networking, Networking::Own(endpoint) if on(endpoint)))
    }
}

impl Objects {
    pub(in crate::podman::simulated) fn list_pods(&self) -> Vec<Pod> {
        let members = |pod: &str| {
            let inside = self.containers.values().filter(|(spec, _)| is_in(spec, pod));
            inside.map(|(spec, _)| spec.name.clone()).collect()
        };
        let pods = self.pods.values().map(|pod| Pod {
            name: pod.name.clone(),
            labels: pod.labels.clone(),
            up: self.pods_up.contains(&pod.name),
            broken: self.pods_broken.contains(&pod.name).then(|| "its infra container is gone".to_owned()),
            containers: members(&pod.name),
        });
        pods.collect()
    }

    pub(in crate::podman::simulated) fn create_pod(&mut self, spec: &PodSpec) -> Result<()> {
        if !self.networks.contains_key(&spec.endpoint.network) {
            return Err(missing("network", &spec.endpoint.network));
        }
        if self.pods.contains_key(&spec.name) {
            return Err(taken("pod", &spec.name));
        }
        self.pods.insert(spec.name.clone(), spec.clone());
        Ok(())
    }

    pub(in crate::podman::simulated) fn stop_pod(&mut self, name: &str) -> Result<()> {
        if !self.pods.contains_key(name) {
            return Err(missing("pod", name));
        }
        if self.pods_broken.contains(name) {
            return Err(refused(500, format!("pod {name}: no such container")));
        }
        self.pods_up.remove(name);
        for (spec, state) in self.containers.values_mut() {
            if *state == ContainerState::Running && is_in(spec, name) {
                *state = ContainerState::Exited(0);
            }
        }
        Ok(())
    }

    pub(in crate::podman::simulated) fn remove_pod(&mut self, name: &str) -> Result<()> {
        self.containers.retain(|_, (spec, _)| !is_in(spec, name));
        self.pods_up.remove(name);
        self.pods_broken.remove(name);
        self.pods.remove(name).map(drop).ok_or_else(|| missing("pod", name))
    }
}

fn is_in(spec: &ContainerSpec, pod: &str) -> bool {
    matches!(&spec.networking, Networking::Pod(name) if name == pod)
}

impl Objects {
    /// Pulls an image from the registry into storage.
    pub(in crate::podman::simulated) fn deliver(&mut self, image: &str) -> Result<()> {
        if !self.registry.contains(image) {
            return Err(refused(500, "manifest unknown"));
        }
        self.images.insert(image.into());
        Ok(())
    }

    pub(in crate::podman::simulated) fn remove_image(&mut self, image: &str) -> Result<()> {
        if self.containers.values().any(|(spec, _)| spec.image == image) {
            return Err(refused(409, format!("image {image} is in use by a container")));
        }
        if self.images.remove(image) { Ok(()) } else { Err(missing("image", image)) }
    }

    pub(in crate::podman::simulated) fn create_volume(&mut self, name: &str) -> Result<()> {
        if self.volumes.insert(name.into()) { Ok(()) } else { Err(taken("volume", name)) }
    }

    pub(in crate::podman::simulated) fn remove_volume(&mut self, name: &str) -> Result<()> {
        if !self.volume_users(name).is_empty() {
            return Err(refused(409, format!("volume {name} is being used by a container")));
        }
        if self.volumes.remove(name) { Ok(()) } else { Err(missing("volume", name)) }
    }

    pub(in crate::podman::simulated) fn volume_users(&self, name: &str) -> Vec<String> {
        let users = self.containers.values().filter(|(spec, _)| mounts(spec, name));
        users.map(|(spec, _)| spec.name.clone()).collect()
    }

    /// Reports a size of 1 KiB for every object.
    pub(in crate::podman::simulated) fn disk_usage(&self) -> DiskUsage {
        let each = |names: &BTreeSet<String>| names.iter().map(|name| (name.clone(), 1024)).collect();
        DiskUsage { images: each(&self.images), volumes: each(&self.volumes) }
    }
}

/// Whether a container mounts a volume.
fn mounts(spec: &ContainerSpec, volume: &str) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount, Mount::Volume { name, .. } if name == volume))
}
