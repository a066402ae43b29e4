//! What there should be, from the configuration: names, limits and ways onto the network, in podman's terms.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::Expected;
use super::address;
use super::holder::Holder;
use super::label;
use super::order;
use crate::config::{
    Config, DnsServers, GpuDevice, HostGateway, NetworkMode, RestartPolicy, Service, ServiceName, StatusRange,
    VolumeSource,
};
use crate::podman::{
    ContainerSpec, Endpoint, Limits, Mount, NetworkSpec, Networking, PodSpec, PublishedPort, Restart, Version,
};
use crate::webui_secret;

/// The device that CDI names for all GPUs of NVIDIA's (the container toolkit's `nvidia-ctk cdi generate`).
const NVIDIA: &str = "nvidia.com/gpu=all";

/// How a service is asked for its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Path, beginning with `/`.
    pub path: String,
    /// The codes that mean healthy.
    pub expected: StatusRange,
}

impl HealthCheck {
    /// The check of a service that has one and a port to ask on.
    #[must_use]
    pub fn of(config: &Config, service: &Service) -> Option<Self> {
        let health = service.health.as_ref().filter(|_| config.is_published(service))?;
        let port = service.host_ports().next()?.get();
        Some(Self { port, path: health.path.clone(), expected: health.expected_status })
    }

    /// Where it asks.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }
}

/// One service to be launched.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Its name.
    pub service: String,
    /// It is switched on; the container of one that is not has no names and no ports on the network.
    pub enabled: bool,
    /// Its container.
    pub container: ContainerSpec,
    /// The ports of the host that it takes.
    pub host_ports: Vec<u16>,
    /// Whether it answers there.
    pub is_published: bool,
    /// Folders of ours that it mounts.
    pub folders: Vec<PathBuf>,
    /// How its health is asked for.
    pub health: Option<HealthCheck>,
    /// The services that it uses, and so is started after.
    pub uses: BTreeSet<String>,
}

/// All that a launch needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The network.
    pub network: NetworkSpec,
    /// The pods that exist in the configuration, by name.
    pub pods: BTreeMap<String, PodSpec>,
    /// The services to be launched.
    pub launches: Vec<Launch>,
    /// Every other enabled service: one may have to be made again when it shares a pod that is.
    pub others: Vec<Launch>,
}

/// What a launch depends on besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The machine describes NVIDIA's GPU to containers (CDI).
    pub nvidia_cdi: bool,
    /// Use no GPU, whatever the configuration says.
    pub force_cpu: bool,
    /// The servers found for `dns_servers = "auto"`; none are the host's own.
    pub dns_servers: Vec<IpAddr>,
}

impl Surroundings {
    /// The name servers of the network's containers; none are the host's own.
    fn dns_servers<'a>(&'a self, config: &'a Config) -> &'a [IpAddr] {
        match &config.runtime.network.dns_servers {
            DnsServers::Auto => &self.dns_servers,
            DnsServers::List(servers) => servers,
        }
    }
}

impl Desired {
    /// What there should be for these services, of all that are in the configuration.
    #[must_use]
    pub fn from_config(
        config: &Config,
        services: &[(&ServiceName, &Service)],
        version: Version,
        surroundings: &Surroundings,
    ) -> Self {
        let dns_servers = surroundings.dns_servers(config);
        let mut endpoints = endpoints(config, dns_servers);
        if !version.forwards_dns_per_container() && !dns_servers.is_empty() {
            address::pin(&mut endpoints);
        }
        let launch = |name: &ServiceName, service: &Service| launch(config, &endpoints, surroundings, name, service);
        let chosen: BTreeSet<&str> = services.iter().map(|(name, _)| name.as_str()).collect();
        let pods = endpoints.iter().filter_map(|(holder, endpoint)| match holder {
            Holder::Pod(name) => Some((name.clone(), pod(name, endpoint))),
            Holder::Container(_) => None,
        });
        Self {
            network: network(config),
            pods: pods.collect(),
            launches: services.iter().map(|(name, service)| launch(name, service)).collect(),
            others: config
                .enabled()
                .filter(|(name, _)| !chosen.contains(name.as_str()))
                .map(|(name, service)| launch(name, service))
                .collect(),
        }
    }

    /// Whether a service is to have a container of this name.
    pub(super) fn names_a_container(&self, name: &str) -> bool {
        self.launches.iter().chain(&self.others).any(|launch| launch.container.name == name)
    }

    /// What the container of one of the services must have once it runs.
    #[must_use]
    pub fn expected(&self, launch: &Launch) -> Expected {
        let spec = &launch.container;
        let endpoint = match &spec.networking {
            Networking::Own(endpoint) => Some(endpoint.clone()),
            Networking::Pod(pod) => self.pods.get(pod).map(|pod| pod.endpoint.clone()),
            Networking::Host => None,
        };
        Expected::of(spec, endpoint, self.network.mtu)
    }

    /// Gives the value of a secret variable to every service that needs it, so that what runs can be compared with it.
    pub fn give_secret(&mut self, variable: &str, value: &str) {
        for launch in self.launches.iter_mut().chain(&mut self.others) {
            launch.container.give_secret(variable, value);
        }
    }

    /// The images of everything that may be launched.
    #[must_use]
    pub fn images(&self) -> BTreeSet<String> {
        self.launches.iter().chain(&self.others).map(|launch| launch.container.image.clone()).collect()
    }
}

/// The ways onto the network of all enabled services: whoever shares a pod shares its endpoint, which cannot be
/// changed once the pod exists, so it is the same whichever service is launched first.
fn endpoints(config: &Config, dns_servers: &[IpAddr]) -> BTreeMap<Holder, Endpoint> {
    let mut endpoints = BTreeMap::new();
    for (_, service) in config.enabled().filter(|(_, service)| service.network_mode == NetworkMode::Pod) {
        let endpoint = endpoints.entry(Holder::of(service)).or_insert_with(|| bare_endpoint(config, dns_servers));
        endpoint.aliases.extend(service.network_aliases.iter().map(ToString::to_string));
        endpoint.ports.extend(
            service.ports.iter().map(|port| PublishedPort { host: port.host.get(), container: port.container.get() }),
        );
    }
    endpoints
}

/// A way onto the network that nobody has a name or a port on yet.
fn bare_endpoint(config: &Config, dns_servers: &[IpAddr]) -> Endpoint {
    Endpoint {
        network: config.runtime.network_name.to_string(),
        aliases: Vec::new(),
        ports: Vec::new(),
        dns_servers: dns_servers.to_vec(),
        host_name: match &config.runtime.host_gateway {
            HostGateway::Name(name) => Some(name.to_string()),
            HostGateway::Auto | HostGateway::Address(_) => None,
        },
        pin: None,
        fixed: None,
    }
}

fn network(config: &Config) -> NetworkSpec {
    let network = &config.runtime.network;
    let mut spec = NetworkSpec {
        name: config.runtime.network_name.to_string(),
        driver: network.driver.as_str().to_owned(),
        subnet: network.subnet,
        gateway: network.gateway,
        ipv6: network.ipv6,
        internal: network.internal,
        mtu: network.mtu.map(|mtu| mtu.get().into()),
        labels: BTreeMap::new(),
    };
    spec.labels = label::labels(&spec);
    spec
}

fn pod(name: &str, endpoint: &Endpoint) -> PodSpec {
    let mut spec = PodSpec { name: name.to_owned(), endpoint: endpoint.clone(), labels: BTreeMap::new() };
    spec.labels = label::labels(&spec);
    spec
}

fn launch(
    config: &Config,
    endpoints: &BTreeMap<Holder, Endpoint>,
    surroundings: &Surroundings,
    name: &ServiceName,
    service: &Service,
) -> Launch {
    let networking = match (service.network_mode, Holder::of(service)) {
        (NetworkMode::Host, _) => Networking::Host,
        (NetworkMode::Pod, Holder::Pod(pod)) => Networking::Pod(pod),
        // Only enabled services have an endpoint; whatever else comes here is not let onto the host's network for it.
        (NetworkMode::Pod, own) => {
            let bare = || bare_endpoint(config, surroundings.dns_servers(config));
            Networking::Own(endpoints.get(&own).cloned().unwrap_or_else(bare))
        }
    };
    let device = gpu(config, service, surroundings);
    let mut container = ContainerSpec {
        name: service.container.to_string(),
        image: service.image.to_string(),
        networking,
        env: service.env.clone().into_iter().collect(),
        secret_env: service.needs_webui_secret.then(|| webui_secret::VARIABLE.to_owned()).into_iter().collect(),
        command: service.command_args.clone(),
        entrypoint: service.entrypoint_override.clone(),
        mounts: service.volumes.values().map(|volume| mount(&volume.source, &volume.target)).collect(),
        limits: Limits {
            pids: service.pids_limit.get(),
            memory: service.resources.memory.map(crate::config::Memory::bytes),
            cpus: service.resources.cpus.map(crate::config::Cpus::get),
        },
        restart: restart(config.runtime.restart_policy),
        label_disable: device.is_some(),
        devices: device.into_iter().collect(),
        labels: BTreeMap::new(),
    };
    container.labels = label::of_container(&container, name.as_str(), config.runtime.network_name.as_str());
    Launch {
        service: name.to_string(),
        enabled: service.enabled,
        container,
        host_ports: service.host_ports().map(crate::config::PortNumber::get).collect(),
        is_published: config.is_published(service),
        folders: service.volumes.values().filter_map(|volume| folder(&volume.source)).collect(),
        health: HealthCheck::of(config, service),
        uses: order::uses(config, name, service),
    }
}

fn gpu(config: &Config, service: &Service, surroundings: &Surroundings) -> Option<String> {
    match &config.runtime.gpu_device_flag {
        _ if !service.gpu.wanted() || surroundings.force_cpu => None,
        GpuDevice::None => None,
        GpuDevice::Auto => surroundings.nvidia_cdi.then(|| NVIDIA.to_owned()),
        GpuDevice::Device(device) => Some(device.clone()),
    }
}

fn mount(source: &VolumeSource, target: &std::path::Path) -> Mount {
    let target = target.to_owned();
    match source {
        VolumeSource::Named(name) => Mount::Volume { name: name.to_string(), target },
        VolumeSource::Data { path, .. } => Mount::Bind { source: path.clone(), target, relabel: true },
        VolumeSource::Host(source) => Mount::Bind { source: source.clone(), target, relabel: false },
    }
}

fn folder(source: &VolumeSource) -> Option<PathBuf> {
    match source {
        VolumeSource::Data { path, .. } => Some(path.clone()),
        VolumeSource::Named(_) | VolumeSource::Host(_) => None,
    }
}

fn restart(policy: RestartPolicy) -> Restart {
    match policy {
        RestartPolicy::No => Restart::No,
        RestartPolicy::OnFailure => Restart::OnFailure,
        RestartPolicy::Always => Restart::Always,
        RestartPolicy::UnlessStopped => Restart::UnlessStopped,
    }
}
