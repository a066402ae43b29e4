//! The twin of podman in memory. It keeps the rules that plans rely on (names are unique, a port
//! has one holder, a network in use stays), records every call, and fails where it is told to.

mod call;
mod world;

use std::cell::{Cell, RefCell};

use super::{
    Container, ContainerDetail, ContainerSpec, ContainerState, DiskUsage, HostFacts, LogLine, LogOptions, LogSource,
    Mount, MountDetail, Network, NetworkSpec, Networking, Pod, PodSpec, Podman, PodmanError, PullProgress, Result,
    Version,
};

pub use call::{Call, Look};
pub use world::World;

/// A podman in memory.
#[derive(Debug)]
pub struct Simulated {
    world: RefCell<World>,
    calls: RefCell<Vec<Call>>,
    looks: RefCell<Vec<Look>>,
    failing: RefCell<Vec<Call>>,
    pulling: Cell<usize>,
    most_pulling: Cell<usize>,
    version: Version,
    /// What the containers write into their logs.
    pub log: Vec<String>,
    /// Changes what is read back, as a podman would that ignores a setting.
    pub distort: Option<fn(&mut ContainerDetail)>,
    /// Facts about the host.
    pub facts: HostFacts,
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new(Version { major: 5, minor: 4 }, World::default())
    }
}

impl Simulated {
    /// A podman of this version that holds this.
    #[must_use]
    pub fn new(version: Version, world: World) -> Self {
        Self {
            world: RefCell::new(world),
            calls: RefCell::default(),
            looks: RefCell::default(),
            failing: RefCell::default(),
            pulling: Cell::new(0),
            most_pulling: Cell::new(0),
            version,
            log: Vec::new(),
            distort: None,
            facts: HostFacts { cgroups_v2: true, ..HostFacts::default() },
        }
    }

    /// Makes a call fail whenever it comes.
    pub fn fail_at(&self, call: Call) {
        self.failing.borrow_mut().push(call);
    }

    /// The calls that changed something, or tried to, in their order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// The calls that only read, in their order.
    #[must_use]
    pub fn looks(&self) -> Vec<Look> {
        self.looks.borrow().clone()
    }

    fn look(&self, look: Look) {
        self.looks.borrow_mut().push(look);
    }

    /// What it holds now.
    #[must_use]
    pub fn world(&self) -> World {
        self.world.borrow().clone()
    }

    /// The largest number of pulls that ran at once.
    #[must_use]
    pub fn most_pulls_at_once(&self) -> usize {
        self.most_pulling.get()
    }

    /// Ends a container with a code, as a program that fails would.
    pub fn end(&self, name: &str, code: i32) {
        if let Some((_, state)) = self.world.borrow_mut().containers.get_mut(name) {
            *state = ContainerState::Exited(code);
        }
    }

    /// Records a call, lets others run, and fails where told to.
    async fn enter(&self, call: Call) -> Result<()> {
        self.calls.borrow_mut().push(call.clone());
        tokio::task::yield_now().await;
        if self.failing.borrow().contains(&call) {
            return Err(refused(500, format!("simulated failure of {call:?}")));
        }
        Ok(())
    }
}

fn mounted(mount: &Mount) -> MountDetail {
    match mount {
        Mount::Volume { name, target } => {
            MountDetail { volume: Some(name.clone()), source: "/volumes".into(), target: target.clone() }
        }
        Mount::Bind { source, target, .. } => {
            MountDetail { volume: None, source: source.clone(), target: target.clone() }
        }
    }
}

fn refused(status: u16, message: impl Into<String>) -> PodmanError {
    PodmanError::Refused { status, message: message.into() }
}

fn missing(kind: &str, name: &str) -> PodmanError {
    refused(404, format!("no such {kind}: {name}"))
}

fn taken(kind: &str, name: &str) -> PodmanError {
    refused(409, format!("{kind} name {name} is already in use"))
}

impl Podman for Simulated {
    fn version(&self) -> Version {
        self.version
    }

    fn is_rootless(&self) -> bool {
        self.facts.rootless
    }

    async fn host_facts(&self) -> Result<HostFacts> {
        self.look(Look::HostFacts);
        Ok(self.facts.clone())
    }

    async fn image_exists(&self, image: &str) -> Result<bool> {
        self.look(Look::Image(image.into()));
        Ok(self.world.borrow().images.contains(image))
    }

    async fn pull(&self, image: &str, progress: &mut dyn FnMut(PullProgress)) -> Result<()> {
        self.pulling.set(self.pulling.get() + 1);
        self.most_pulling.set(self.most_pulling.get().max(self.pulling.get()));
        let entered = self.enter(Call::Pull(image.into())).await;
        for current in [1, 2, 3] {
            tokio::task::yield_now().await;
            progress(PullProgress {
                layer: "0123456789ab".into(),
                status: "Downloading".into(),
                bytes: Some((current, 3)),
            });
        }
        self.pulling.set(self.pulling.get() - 1);
        entered?;
        let mut world = self.world.borrow_mut();
        if !world.registry.contains(image) {
            return Err(refused(500, "manifest unknown"));
        }
        world.images.insert(image.into());
        Ok(())
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.enter(Call::RemoveImage(image.into())).await?;
        let mut world = self.world.borrow_mut();
        if world.containers.values().any(|(spec, _)| spec.image == image) {
            return Err(refused(409, format!("image {image} is in use by a container")));
        }
        if world.images.remove(image) { Ok(()) } else { Err(missing("image", image)) }
    }

    async fn networks(&self) -> Result<Vec<Network>> {
        self.look(Look::Networks);
        Ok(self.world.borrow().networks.values().cloned().collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        self.enter(Call::CreateNetwork(spec.name.clone())).await?;
        let mut world = self.world.borrow_mut();
        if world.networks.contains_key(&spec.name) {
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
        world.networks.insert(spec.name.clone(), network.clone());
        Ok(network)
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.enter(Call::RemoveNetwork(name.into())).await?;
        let mut world = self.world.borrow_mut();
        if world.in_use(name) {
            return Err(refused(500, format!("network {name} is being used")));
        }
        world.networks.remove(name).map(drop).ok_or_else(|| missing("network", name))
    }

    async fn volumes(&self) -> Result<Vec<String>> {
        self.look(Look::Volumes);
        Ok(self.world.borrow().volumes.iter().cloned().collect())
    }

    async fn create_volume(&self, name: &str) -> Result<()> {
        self.enter(Call::CreateVolume(name.into())).await?;
        if self.world.borrow_mut().volumes.insert(name.into()) { Ok(()) } else { Err(taken("volume", name)) }
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.enter(Call::RemoveVolume(name.into())).await?;
        let mut world = self.world.borrow_mut();
        if world.containers.values().any(|(spec, _)| world::mounts(spec, name)) {
            return Err(refused(409, format!("volume {name} is being used by a container")));
        }
        if world.volumes.remove(name) { Ok(()) } else { Err(missing("volume", name)) }
    }

    async fn volume_users(&self, name: &str) -> Result<Vec<String>> {
        let world = self.world.borrow();
        let users = world.containers.values().filter(|(spec, _)| world::mounts(spec, name));
        Ok(users.map(|(spec, _)| spec.name.clone()).collect())
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        let world = self.world.borrow();
        let each = |names: &std::collections::BTreeSet<String>| names.iter().map(|name| (name.clone(), 1024)).collect();
        Ok(DiskUsage { images: each(&world.images), volumes: each(&world.volumes) })
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        self.look(Look::Pods);
        let world = self.world.borrow();
        let members = |pod: &str| {
            let inside = world
                .containers
                .values()
                .filter(|(spec, _)| matches!(&spec.networking, Networking::Pod(name) if name == pod));
            inside.map(|(spec, _)| spec.name.clone()).collect()
        };
        let pods = world.pods.values().map(|pod| Pod {
            name: pod.name.clone(),
            labels: pod.labels.clone(),
            up: world.pods_up.contains(&pod.name),
            containers: members(&pod.name),
        });
        Ok(pods.collect())
    }

    async fn create_pod(&self, spec: &PodSpec) -> Result<()> {
        self.enter(Call::CreatePod(spec.name.clone())).await?;
        let mut world = self.world.borrow_mut();
        if !world.networks.contains_key(&spec.endpoint.network) {
            return Err(missing("network", &spec.endpoint.network));
        }
        if world.pods.contains_key(&spec.name) {
            return Err(taken("pod", &spec.name));
        }
        world.pods.insert(spec.name.clone(), spec.clone());
        Ok(())
    }

    async fn stop_pod(&self, name: &str, _timeout_seconds: u32) -> Result<()> {
        self.enter(Call::StopPod(name.into())).await?;
        let mut world = self.world.borrow_mut();
        if !world.pods.contains_key(name) {
            return Err(missing("pod", name));
        }
        world.pods_up.remove(name);
        for (spec, state) in world.containers.values_mut() {
            if *state == ContainerState::Running && spec.networking == Networking::Pod(name.into()) {
                *state = ContainerState::Exited(0);
            }
        }
        Ok(())
    }

    async fn remove_pod(&self, name: &str) -> Result<()> {
        self.enter(Call::RemovePod(name.into())).await?;
        let mut world = self.world.borrow_mut();
        world.containers.retain(|_, (spec, _)| !matches!(&spec.networking, Networking::Pod(pod) if pod == name));
        world.pods_up.remove(name);
        world.pods.remove(name).map(drop).ok_or_else(|| missing("pod", name))
    }

    async fn containers(&self) -> Result<Vec<Container>> {
        self.look(Look::Containers);
        let world = self.world.borrow();
        let containers = world.containers.values().map(|(spec, state)| Container {
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
            host_ports: world
                .endpoint(spec)
                .map(|endpoint| endpoint.ports.iter().map(|port| port.host).collect())
                .unwrap_or_default(),
            networks: match &spec.networking {
                Networking::Own(endpoint) => vec![endpoint.network.clone()],
                _ => Vec::new(),
            },
        });
        Ok(containers.collect())
    }

    async fn inspect_container(&self, name: &str) -> Result<ContainerDetail> {
        self.look(Look::Inspect(name.into()));
        let world = self.world.borrow();
        let (spec, state) = world.containers.get(name).ok_or_else(|| missing("container", name))?;
        let endpoint = world.endpoint(spec);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of CPUs is small and positive"
        )]
        let nano_cpus = spec.limits.cpus.map_or(0, |cpus| (cpus * 1e9) as u64);
        let mut detail = ContainerDetail {
            state: *state,
            restarts: 0,
            pid: None,
            id: String::new(),
            image: spec.image.clone(),
            command: spec.entrypoint.iter().chain(&spec.command).flatten().cloned().collect(),
            env: spec.env.clone(),
            mounts: spec.mounts.iter().map(mounted).collect(),
            devices: spec.devices.iter().map(Into::into).collect(),
            host_network: spec.networking == Networking::Host,
            networks: endpoint
                .map(|endpoint| (endpoint.network.clone(), endpoint.aliases.clone()))
                .into_iter()
                .collect(),
            ports: endpoint.map(|endpoint| endpoint.ports.clone()).unwrap_or_default(),
            dns_servers: endpoint.map(|endpoint| endpoint.dns_servers.clone()).unwrap_or_default(),
            pids_limit: spec.limits.pids.into(),
            memory: spec.limits.memory.unwrap_or(0),
            nano_cpus,
            restart: spec.restart.as_str().into(),
        };
        if let Some(distort) = self.distort {
            distort(&mut detail);
        }
        Ok(detail)
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<()> {
        self.enter(Call::CreateContainer(spec.name.clone())).await?;
        let mut world = self.world.borrow_mut();
        if world.containers.contains_key(&spec.name) {
            return Err(taken("container", &spec.name));
        }
        if !world.images.contains(&spec.image) {
            return Err(missing("image", &spec.image));
        }
        let known = match &spec.networking {
            Networking::Own(endpoint) => world.networks.contains_key(&endpoint.network),
            Networking::Pod(pod) => world.pods.contains_key(pod),
            Networking::Host => true,
        };
        if !known {
            return Err(missing("network or pod of container", &spec.name));
        }
        world.containers.insert(spec.name.clone(), (spec.clone(), ContainerState::Created));
        Ok(())
    }

    async fn start_container(&self, name: &str) -> Result<()> {
        self.enter(Call::StartContainer(name.into())).await?;
        let mut world = self.world.borrow_mut();
        let (spec, _) = world.containers.get(name).ok_or_else(|| missing("container", name))?;
        let others = world.ports_of_others(spec);
        let clash = world
            .endpoint(spec)
            .and_then(|endpoint| endpoint.ports.iter().find(|port| others.contains(&port.host)).copied());
        if let Some(port) = clash {
            return Err(refused(500, format!("listen tcp4 :{}: address already in use", port.host)));
        }
        let pod = match &spec.networking {
            Networking::Pod(pod) => Some(pod.clone()),
            _ => None,
        };
        world.pods_up.extend(pod);
        if let Some((_, state)) = world.containers.get_mut(name) {
            *state = ContainerState::Running;
        }
        Ok(())
    }

    async fn stop_container(&self, name: &str, _timeout_seconds: u32) -> Result<()> {
        self.enter(Call::StopContainer(name.into())).await?;
        let mut world = self.world.borrow_mut();
        let (_, state) = world.containers.get_mut(name).ok_or_else(|| missing("container", name))?;
        *state = ContainerState::Exited(0);
        Ok(())
    }

    async fn rename_container(&self, name: &str, new_name: &str) -> Result<()> {
        self.enter(Call::RenameContainer(name.into(), new_name.into())).await?;
        let mut world = self.world.borrow_mut();
        if world.containers.contains_key(new_name) {
            return Err(taken("container", new_name));
        }
        let (mut spec, state) = world.containers.remove(name).ok_or_else(|| missing("container", name))?;
        spec.name = new_name.into();
        world.containers.insert(new_name.into(), (spec, state));
        Ok(())
    }

    async fn remove_container(&self, name: &str) -> Result<()> {
        self.enter(Call::RemoveContainer(name.into())).await?;
        let removed = self.world.borrow_mut().containers.remove(name);
        removed.map(drop).ok_or_else(|| missing("container", name))
    }

    async fn logs(&self, name: &str, options: &LogOptions, sink: &mut dyn FnMut(LogLine) -> bool) -> Result<()> {
        if !self.world.borrow().containers.contains_key(name) {
            return Err(missing("container", name));
        }
        let skip = options.tail.map_or(0, |tail| self.log.len().saturating_sub(usize::try_from(tail).unwrap_or(0)));
        for text in self.log.iter().skip(skip) {
            let line = LogLine {
                source: LogSource::Stdout,
                time: "2026-11-25T22:00:00Z".into(),
                text: text.clone().into_bytes(),
            };
            if !sink(line) {
                break;
            }
        }
        Ok(())
    }
}
