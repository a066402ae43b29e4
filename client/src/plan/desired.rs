//! Computes the desired state from the configuration: names, limits and networking, in podman's
//! terms.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::{Expected, HostContext, label, services};
use crate::config::{
    Condition, Config, GpuDevice, HostGateway, NetworkAlias, NetworkMode, Pull, RestartPolicy, Service, ServiceName,
    Volume, VolumeSource,
};
use crate::health::HealthCheck;
use crate::podman::{
    ContainerOption, ContainerSpec, Endpoint, FixedPlace, HealthTiming, Limits, Mount, NetworkSpec, Networking,
    Options, PodSpec, Relabel, Restart, SecretSource, Version,
};
use crate::port::{HostPort, PublishedPort};
use crate::secret::SecretValues;
use crate::webui_secret;

/// One service to be launched.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Its name.
    pub service: String,
    /// Whether it is enabled. The container of a disabled service has no names and no ports on the
    /// network.
    pub enabled: bool,
    /// Its container.
    pub container: ContainerSpec,
    /// The host ports that it publishes or, on the host's network, its own ports.
    pub host_ports: Vec<HostPort>,
    /// Whether those ports lead to it: not with a link of its own on the network (macvlan, ipvlan).
    pub is_published: bool,
    /// The folders of ours that it mounts.
    pub folders: Vec<PathBuf>,
    /// Its health check.
    pub health: Option<HealthCheck>,
    /// Interval, timeout, retries and start period of the check.
    pub health_times: HealthTiming,
    /// It runs once and ends.
    pub oneshot: bool,
    /// When its image is pulled.
    pub pull: Pull,
    /// The GPUs that it names and this machine lacks.
    pub missing_gpus: Vec<String>,
    /// The services that it uses. It starts after each of them meets the condition.
    pub uses: BTreeMap<String, Condition>,
}

/// The desired state for a launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The network.
    pub network: NetworkSpec,
    /// The pods of all enabled services, by name.
    pub pods: BTreeMap<String, PodSpec>,
    /// The services to be launched.
    pub launches: Vec<Launch>,
    /// Every other enabled service. One may have to be recreated because it shares a pod that is.
    pub others: Vec<Launch>,
}

impl Desired {
    /// The desired state for these services, given the whole configuration.
    #[must_use]
    pub fn from_config(
        config: &Config,
        services: &[(&ServiceName, &Service)],
        version: Version,
        host_context: &HostContext,
    ) -> Self {
        let dns_servers = host_context.dns_servers(config);
        let mut endpoints = endpoints(config, dns_servers);
        if !version.forwards_dns_per_container() && !dns_servers.is_empty() {
            assign_places(&mut endpoints);
        }
        let launch = |name: &ServiceName, service: &Service| launch(config, &endpoints, host_context, name, service);
        let chosen: BTreeSet<&str> = services.iter().map(|(name, _)| name.as_str()).collect();
        let pods = endpoints.iter().filter_map(|(owner, endpoint)| match owner {
            EndpointOwner::Pod(name) => Some((name.clone(), pod(name, endpoint))),
            EndpointOwner::Container(_) => None,
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

    /// Whether the configuration gives this name to a container.
    pub(super) fn names_a_container(&self, name: &str) -> bool {
        self.launches.iter().chain(&self.others).any(|launch| launch.container.name == name)
    }

    /// The settings that the running container of one of the services must have.
    #[must_use]
    pub fn expected(&self, launch: &Launch) -> Expected {
        let spec = &launch.container;
        let endpoint = match &spec.networking {
            Networking::Own(endpoint) => Some(endpoint.clone()),
            Networking::Pod(pod) => self.pods.get(pod).map(|pod| pod.endpoint.clone()),
            Networking::Host => None,
        };
        Expected { oneshot: launch.oneshot, ..Expected::of(spec, endpoint, self.network.mtu) }
    }

    /// Gives every service the known secret values, so that running containers can be compared with
    /// them.
    pub fn give_secrets(&mut self, values: &SecretValues) {
        for launch in self.launches.iter_mut().chain(&mut self.others) {
            launch.container.give_secrets(values);
        }
    }

    /// The sources of the secret values of everything that may be launched.
    #[must_use]
    pub fn secret_sources(&self) -> BTreeSet<SecretSource> {
        let all = self.launches.iter().chain(&self.others);
        all.flat_map(|launch| launch.container.secret_env.values().cloned()).collect()
    }

    /// Whether any service uses a podman secret.
    pub(super) fn needs_podman_secrets(&self) -> bool {
        let mut all = self.launches.iter().chain(&self.others);
        all.any(|launch| launch.container.podman_secrets().next().is_some())
    }

    /// The images of everything that may be launched.
    #[must_use]
    pub fn images(&self) -> BTreeSet<String> {
        self.launches.iter().chain(&self.others).map(|launch| launch.container.image.clone()).collect()
    }
}

/// The endpoints of all enabled services. Services in one pod share its endpoint, which podman
/// cannot change once the pod exists. So it covers all of them, whichever is launched first.
fn endpoints(config: &Config, dns_servers: &[IpAddr]) -> BTreeMap<EndpointOwner, Endpoint> {
    let mut endpoints = BTreeMap::new();
    for (name, service) in config.enabled().filter(|(_, service)| service.network_mode == NetworkMode::Pod) {
        let endpoint =
            endpoints.entry(EndpointOwner::of(service)).or_insert_with(|| bare_endpoint(config, dns_servers));
        add(&mut endpoint.aliases, names(name, service));
        // A container without a pod has its extra hosts in its own spec.
        let hosts = service.extra_hosts.iter().filter(|_| service.pod.is_some());
        add(&mut endpoint.hosts, hosts.cloned());
        add(&mut endpoint.further, service.networks.iter().map(ToString::to_string));
        let ports = service.ports.iter().flat_map(|mapping| mapping.pairs());
        endpoint.ports.extend(ports.map(|(host, container)| PublishedPort { host, container }));
    }
    endpoints
}

/// The names under which others find a service: its own, if it is a valid alias, and its configured
/// aliases.
pub(super) fn names(name: &ServiceName, service: &Service) -> Vec<String> {
    let own = name.as_str().parse::<NetworkAlias>().ok();
    let given = service.network_aliases.iter().map(ToString::to_string);
    let mut names: Vec<String> = given.collect();
    add(&mut names, own.map(|own| own.to_string()));
    names
}

/// Appends the values that the list lacks.
fn add(list: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

/// An endpoint without names and ports.
fn bare_endpoint(config: &Config, dns_servers: &[IpAddr]) -> Endpoint {
    Endpoint {
        network: config.runtime.network_name.to_string(),
        aliases: Vec::new(),
        ports: Vec::new(),
        dns_servers: dns_servers.to_vec(),
        hosts: Vec::new(),
        further: Vec::new(),
        host_name: match &config.runtime.host_gateway {
            HostGateway::Name(name) => Some(name.to_string()),
            HostGateway::Auto | HostGateway::Address(_) => None,
        },
        fixed_place: None,
        fixed: None,
    }
}

fn network(config: &Config) -> NetworkSpec {
    let network = &config.runtime.network;
    let mut spec = NetworkSpec {
        name: config.runtime.network_name.to_string(),
        external: network.external,
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
    endpoints: &BTreeMap<EndpointOwner, Endpoint>,
    host_context: &HostContext,
    name: &ServiceName,
    service: &Service,
) -> Launch {
    let in_pod = service.pod.is_some() && service.network_mode == NetworkMode::Pod;
    let networking = match (service.network_mode, EndpointOwner::of(service)) {
        (NetworkMode::Host, _) => Networking::Host,
        (NetworkMode::Pod, EndpointOwner::Pod(pod)) => Networking::Pod(pod),
        // A disabled service has no endpoint. It gets a bare one, never the host's network.
        (NetworkMode::Pod, own) => {
            let bare = || bare_endpoint(config, host_context.dns_servers(config));
            Networking::Own(endpoints.get(&own).cloned().unwrap_or_else(bare))
        }
    };
    let (gpu, missing_gpus) = gpu(config, service, host_context);
    let env_file = service.env_file.iter().flat_map(|file| file.variables.iter().cloned());
    let health = HealthCheck::of(config, service);
    let mut container = ContainerSpec {
        name: service.container.to_string(),
        image: service.image.to_string(),
        networking,
        env: env_file.chain(service.env.clone()).collect(),
        secret_env: secret_env(service),
        command: service.command_args.clone(),
        entrypoint: service.entrypoint_override.clone(),
        mounts: service.volumes.values().map(mount).collect(),
        limits: Limits {
            pids: service.pids_limit.get(),
            memory: service.resources.memory.map(crate::config::Memory::bytes),
            cpus: service.resources.cpus.map(crate::config::Cpus::get),
        },
        restart: restart(config, service),
        label_disable: !gpu.is_empty() && !has_label(service),
        options: options(service, &gpu, host_context),
        gpu,
        devices: service.devices.clone(),
        hosts: service.extra_hosts.iter().filter(|_| !in_pod).cloned().collect(),
        health: match &health {
            Some(HealthCheck::Command(command)) => Some(command.clone()),
            _ => None,
        },
        health_timeout: match &health {
            Some(HealthCheck::Command(_)) => HealthTiming::of(service).timeout,
            _ => None,
        },
        labels: service.labels.clone().into_iter().collect(),
    };
    let own = label::of_container(&container, name.as_str(), config.runtime.network_name.as_str());
    container.labels.extend(own);
    Launch {
        service: name.to_string(),
        enabled: service.enabled,
        container,
        host_ports: service.host_ports().collect(),
        is_published: config.is_published(service),
        folders: service.volumes.values().filter_map(|volume| folder(&volume.source)).collect(),
        health,
        health_times: HealthTiming::of(service),
        oneshot: service.oneshot,
        pull: service.pull,
        missing_gpus,
        uses: services::uses(config, name, service),
    }
}

/// The secret variables. A variable that the service sets itself overrides the web UI's own.
fn secret_env(service: &Service) -> BTreeMap<String, SecretSource> {
    let of_webui = service.needs_webui_secret.then(|| (webui_secret::VARIABLE.to_owned(), SecretSource::WebUi));
    of_webui.into_iter().chain(service.secret_env.clone()).collect()
}

/// The GPU devices of a service (its own choice, or the global one), and the GPUs that it names and
/// this machine lacks.
fn gpu(config: &Config, service: &Service, host_context: &HostContext) -> (Vec<String>, Vec<String>) {
    if !service.gpu.wanted() || host_context.force_cpu {
        return (Vec::new(), Vec::new());
    }
    let of_all = [config.runtime.gpu_device_flag.clone()];
    let chosen = if service.gpu.device.is_empty() { &of_all[..] } else { &service.gpu.device };
    let (mut devices, mut missing) = (Vec::new(), Vec::new());
    for device in chosen {
        add(
            &mut devices,
            match device {
                GpuDevice::None => Vec::new(),
                GpuDevice::Auto => host_context.gpu.all(),
                GpuDevice::One(id) => {
                    let found = host_context.gpu.one(id);
                    missing.extend(found.is_empty().then(|| id.clone()));
                    found
                }
                GpuDevice::Device(device) => vec![device.clone()],
            },
        );
    }
    (devices, missing)
}

/// The options that are passed to podman unchanged. In rootless podman a container with a GPU keeps
/// the user's groups: only they (`video`, `render`) allow it to open the devices.
fn options(service: &Service, gpu: &[String], host_context: &HostContext) -> Options {
    let mut options = service.options.clone();
    let by_groups = host_context.rootless && host_context.gpu.are_nodes() && !gpu.is_empty();
    if by_groups && options.get(ContainerOption::GroupAdd).is_empty() {
        options.set(ContainerOption::GroupAdd, vec!["keep-groups".to_owned()]);
    }
    options
}

/// Whether a service has an `SELinux` label of its own, which the GPU must not take from it.
fn has_label(service: &Service) -> bool {
    service.options.get(ContainerOption::SecurityOpt).iter().any(|option| option.starts_with("label="))
}

fn mount(volume: &Volume) -> Mount {
    let (target, read_only) = (volume.target.clone(), volume.read_only);
    let bind = |source: &PathBuf, relabel: Relabel| {
        let relabel = volume.relabel.unwrap_or(relabel);
        Mount::Bind { source: source.clone(), target: target.clone(), read_only, relabel }
    };
    match &volume.source {
        VolumeSource::Named(name) => Mount::Volume { name: name.to_string(), target, read_only },
        VolumeSource::Data { path, .. } => bind(path, Relabel::Shared),
        VolumeSource::Host(source) => bind(source, Relabel::No),
    }
}

fn folder(source: &VolumeSource) -> Option<PathBuf> {
    match source {
        VolumeSource::Data { path, .. } => Some(path.clone()),
        VolumeSource::Named(_) | VolumeSource::Host(_) => None,
    }
}

/// The restart policy of a service: its own, or the global one. The default of a one-shot service
/// is not to restart.
fn restart(config: &Config, service: &Service) -> Restart {
    let of_all = if service.oneshot { RestartPolicy::No } else { config.runtime.restart_policy };
    match service.restart_policy.unwrap_or(of_all) {
        RestartPolicy::No => Restart::No,
        RestartPolicy::OnFailure => Restart::OnFailure,
        RestartPolicy::Always => Restart::Always,
        RestartPolicy::UnlessStopped => Restart::UnlessStopped,
    }
}

/// The pod or container that owns an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum EndpointOwner {
    /// A pod, which shares it among its containers.
    Pod(String),
    /// A container without a pod.
    Container(String),
}

impl EndpointOwner {
    /// The owner of the endpoint that a service would use on a bridge network.
    fn of(service: &Service) -> Self {
        match &service.pod {
            Some(pod) => Self::Pod(pod.to_string()),
            None => Self::Container(service.container.to_string()),
        }
    }
}

/// Gives every endpoint a fixed place, counted from the end of the subnet in the order of the
/// owners, and the places of all others.
///
/// Before 4.4, podman writes a container's DNS servers into its resolv.conf in place of the
/// network's name service, so aliases do not resolve. With such a podman every endpoint gets a
/// fixed address. Every container gets the names of all others in /etc/hosts, which is consulted
/// before DNS.
fn assign_places(endpoints: &mut BTreeMap<EndpointOwner, Endpoint>) {
    let places = || 1u32..;
    let neighbours: Vec<(String, u32)> = endpoints
        .iter()
        .zip(places())
        .flat_map(|((owner, endpoint), place)| {
            let (EndpointOwner::Pod(name) | EndpointOwner::Container(name)) = owner;
            // podman itself resolves the name of a container or pod.
            let mut names: Vec<String> = endpoint.aliases.clone();
            if !names.contains(name) {
                names.push(name.clone());
            }
            names.into_iter().map(move |name| (name, place))
        })
        .collect();
    for (endpoint, own) in endpoints.values_mut().zip(places()) {
        endpoint.fixed_place = Some(FixedPlace { own, neighbours: neighbours.clone() });
    }
}
