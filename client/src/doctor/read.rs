//! Reads the facts: a thin layer, whose parts run side by side, none for longer than its limit.
//! podman reports its objects and what conflicts with the plan. Every other part is read in the
//! file of its area.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use nix::unistd::Uid;
use tokio::time::timeout;

use super::names::{self, RunningContainer};
use super::{
    Engine, Facts, Finding, HelperNeed, Names, Needs, Network, Path, Pids, Service, UnusableSecret, engine, gpu,
    helper, network, path, programs, rootless, services, settings,
};
use crate::config::{self, Config, MssClamp, NetworkMode, PodmanUrl, RestartPolicy, ServiceName};
use crate::egress;
use crate::health::{HealthCheck, ask_health};
use crate::kernel::{Bound, Processes, View};
use crate::plan::{self, Conflict, Desired, HostContext, NetworkReset, Observed};
use crate::podman::{
    self, Container, ContainerDetail, ContainerState, HealthTiming, Podman as _, PodmanError, Rest, RootlessBackend,
    STARTUP, SecretSource, Version, end_of,
};
use crate::port::HostPort;
use crate::secret;
use crate::terminal::Uptime;

/// The subject of the doctor's examination.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The configuration, or the defaults if that is wrong.
    pub config: &'a Config,
    /// The file that it comes from.
    pub file: Option<PathBuf>,
    /// Why the configuration cannot be used.
    pub wrong: Option<String>,
    /// Its keys without effect.
    pub warnings: Vec<String>,
    /// Whether the user's session came over the network.
    pub remote: bool,
    /// The folder in which measurements are remembered.
    pub state_folder: Option<PathBuf>,
}

/// Gathers all facts. It takes as long as the slowest part, and no part takes more than some
/// seconds.
pub async fn read(subject: &Subject<'_>) -> Facts {
    let config = subject.config;
    let (podman, helper) = tokio::join!(read_podman(config), helper::read(subject.remote));
    let Podman { engine, network, services, paths, names } = podman;
    // Until podman reports otherwise, the podman of an ordinary user counts as rootless.
    let own = config.runtime.podman_url.is_none() && !Uid::effective().is_root();
    let rootless = engine.host().map_or(own, |host| host.rootless);
    // A trial as root would differ from what podman does as an ordinary user.
    let trial = rootless && !Uid::effective().is_root() && engine.rootless_backend() == Some(RootlessBackend::Pasta);
    let programs = match engine {
        Engine::Missing => None,
        _ => Some(programs::read(trial).await),
    };
    Facts {
        settings: settings::read(subject),
        root: Uid::effective().is_root(),
        rootless: rootless.then(rootless::read),
        boot: services::read_boot(rootless),
        needs: needs(config),
        programs,
        measured: path::read_measured(config, subject.state_folder.as_deref(), &paths, helper.status()),
        paths,
        names,
        helper,
        helper_need: match config.runtime.network.mss_clamp {
            MssClamp::Require => HelperNeed::Required,
            MssClamp::Auto => HelperNeed::Helpful,
            MssClamp::Off => HelperNeed::None,
        },
        network,
        gpu: gpu::read(config),
        storage: engine.host().map(|host| engine::read_storage(&host.storage)),
        engine,
        services,
    }
}

/// The findings about restart policies that do not hold after a reboot.
#[must_use]
pub fn after_reboot(config: &Config, rootless: bool, podman: Version) -> Vec<Finding> {
    let needs = needs(config);
    let boot = services::read_boot(rootless).and_then(|boot| services::judge_boot(&boot, &needs, Some(podman)));
    let linger = rootless.then(rootless::read).and_then(|user| rootless::linger(&user, &needs));
    linger.into_iter().chain(boot).map(|finding| finding.for_user(Uid::effective().is_root())).collect()
}

/// The restart policies of the enabled services, each with the key that it comes from.
fn policies(config: &Config) -> impl Iterator<Item = (String, RestartPolicy)> + '_ {
    config.enabled().filter_map(|(name, service)| match service.restart_policy {
        None if service.oneshot => None,
        None => Some(("runtime.restart_policy".to_owned(), config.runtime.restart_policy)),
        Some(own) => Some((format!("services.{name}.restart_policy"), own)),
    })
}

fn needs(config: &Config) -> Needs {
    let unless_stopped = policies(config).filter(|(_, policy)| *policy == RestartPolicy::UnlessStopped);
    let unless_stopped: BTreeSet<String> = unless_stopped.map(|(key, _)| key).collect();
    Needs {
        memory: config.enabled().any(|(_, service)| service.resources.memory.is_some()),
        cpus: config.enabled().any(|(_, service)| service.resources.cpus.is_some()),
        unless_stopped: unless_stopped.into_iter().collect(),
        restart: policies(config)
            .any(|(_, policy)| matches!(policy, RestartPolicy::Always | RestartPolicy::UnlessStopped)),
    }
}

/// Time limit for reaching podman: for a socket that does not answer, and then for a service that
/// airpods starts.
const CONNECT_TIMEOUT: Duration = STARTUP.saturating_mul(2);

/// Time limit for one answer. The slowest takes 0.4 s, and some seconds on a machine that is busy
/// or emulated.
const ANSWER: Duration = Duration::from_secs(15);

/// The facts that podman reports.
struct Podman {
    engine: Engine,
    network: Result<Network, String>,
    services: Vec<Service>,
    paths: Vec<Path>,
    names: Option<Names>,
}

async fn read_podman(config: &Config) -> Podman {
    let named = config.runtime.podman_url.as_ref().map(PodmanUrl::socket);
    match timeout(CONNECT_TIMEOUT, podman::connect(named)).await {
        Ok(Ok(connection)) => Box::pin(with(&connection.podman, config)).await,
        Ok(Err(error)) => without(classify(&error), config),
        Err(_) => {
            let why = format!("podman does not answer within {} s", CONNECT_TIMEOUT.as_secs());
            without(Engine::Failed(why), config)
        }
    }
}

/// The facts without podman: the network and the ports as configured. Ports are checked only if
/// podman is not installed. An installed podman that does not answer may itself hold the ports, for
/// these services.
fn without(engine: Engine, config: &Config) -> Podman {
    let wanted: Vec<(String, HostPort)> = config
        .enabled()
        .filter(|_| matches!(engine, Engine::Missing))
        .flat_map(|(name, service)| service.host_ports().map(move |port| (name.to_string(), port)))
        .collect();
    let network = Network {
        subnets: config.runtime.network.subnet.into_iter().collect(),
        taken: network::taken_ports(config, &wanted),
        ..Network::default()
    };
    Podman { engine, network: Ok(network), services: Vec::new(), paths: Vec::new(), names: None }
}

async fn with(podman: &Rest, config: &Config) -> Podman {
    let servers = names::servers(config).await;
    let given = servers.clone().unwrap_or_default();
    let (host, held) = tokio::join!(within(podman.host_facts()), within(read_state(podman, config, given)));
    let engine = Engine::Answers { version: podman.version(), host };
    let PodmanState { network, services, running, survey } = match held {
        Ok(read_state) => read_state,
        Err(why) => {
            return Podman { engine, network: Err(why), services: Vec::new(), paths: Vec::new(), names: None };
        }
    };
    let path = |(name, service): (&ServiceName, &config::Service)| Path {
        service: name.to_string(),
        route: survey.egress_path(service.network_mode),
    };
    let paths = config.enabled().map(path).collect();
    let names = names::read(config, servers, running, &survey).await;
    Podman { engine, network: Ok(network), services, paths, names }
}

/// podman's objects, as far as the findings need them.
struct PodmanState {
    network: Network,
    services: Vec<Service>,
    running: Option<RunningContainer>,
    survey: egress::Facts,
}

async fn within<T>(call: impl Future<Output = podman::Result<T>>) -> Result<T, String> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(|error| error.message()),
        Err(_) => Err(format!("podman does not answer within {} s", ANSWER.as_secs())),
    }
}

async fn read_state(podman: &Rest, config: &Config, dns_servers: Vec<IpAddr>) -> podman::Result<PodmanState> {
    let (gpu, rootless) = (crate::gpu::Gpus::here(), podman.is_rootless());
    let host_context = HostContext { gpu, rootless, dns_servers, ..HostContext::default() };
    let enabled: Vec<_> = config.enabled().collect();
    let desired = Desired::from_config(config, &enabled, podman.version(), &host_context);
    // No images are looked up, since they do not matter for conflicts.
    let mut observed = Observed::of(podman, BTreeSet::new()).await?;
    observed.look_at_secrets(podman, &desired).await?;
    let services = join_all(config.services.iter().filter_map(|(name, service)| {
        let (name, configured) = (name.as_str(), service.container.as_str());
        let container = plan::container_made_for(name, Some(configured), &observed.containers)?;
        let check = HealthCheck::of(config, service);
        let check = check.map(|check| (check, HealthTiming::of(service)));
        Some(look_at(podman, config, name, container, check, service))
    }));
    let mut network = network(config, &desired, &observed);
    if podman.is_rootless() {
        network.privileged = network::privileged_ports(config);
    }
    network.secrets = unusable_secrets(config);
    network.host_only = network::read_host_only(config);
    let there = observed.networks.iter().find(|network| network.name == desired.network.name);
    let survey = egress::survey(podman, there, &config.runtime);
    let (services, all_running): (Vec<Service>, Vec<Option<RunningContainer>>) = services.await.into_iter().unzip();
    Ok(PodmanState { network, services, running: all_running.into_iter().flatten().next(), survey })
}

fn network(config: &Config, desired: &Desired, observed: &Observed) -> Network {
    let there = observed.networks.iter().find(|network| network.name == desired.network.name);
    let needed = config.enabled().any(|(_, service)| service.network_mode == NetworkMode::Pod);
    let subnets = match there {
        Some(there) => there.subnets.iter().map(|(subnet, _)| *subnet).collect(),
        None => config.runtime.network.subnet.into_iter().collect(),
    };
    let (conflict, wanted) = match plan::decide(desired, observed, NetworkReset::Never) {
        Ok(plan) => (None, plan.ports),
        Err(conflict) => (Some(conflict), Vec::new()),
    };
    Network {
        subnets: if needed { subnets } else { Vec::new() },
        bridge: there.and_then(|there| there.interface.clone()),
        // If the routes cannot be read, no clash is reported.
        routes: egress::routes().unwrap_or_default(),
        // This conflict concerns only a `start` that recreates the network, which reports it
        // itself.
        conflict: conflict.filter(|conflict| !matches!(conflict, Conflict::NetworkHeld { .. })),
        taken: network::taken_ports(config, &wanted),
        privileged: Vec::new(),
        secrets: Vec::new(),
        host_only: Vec::new(),
        pods: observed.broken_pods(desired),
    }
}

/// A service, and its container if that runs on the services' network.
async fn look_at(
    podman: &Rest,
    config: &Config,
    name: &str,
    container: &Container,
    check: Option<(HealthCheck, HealthTiming)>,
    configured: &config::Service,
) -> (Service, Option<RunningContainer>) {
    let running = container.state == ContainerState::Running;
    // A container that disappeared meanwhile has no details.
    let detail = if running { podman.inspect_container(&container.name).await.ok() } else { None };
    let due = |(_, times): &(HealthCheck, HealthTiming)| running && has_had_its_time(config, times, container);
    let silent = match check.filter(due) {
        Some((check, times)) => {
            let timeout = times.timeout_or(Duration::from_secs_f64(config.cli.ping_timeout));
            silence(podman, &container.name, &check, timeout).await
        }
        None => None,
    };
    let service = Service {
        name: name.to_owned(),
        state: container.state,
        end: end_of(podman, container).await,
        restarts: detail.as_ref().map_or(0, |detail| detail.restarts),
        silent,
        pids_limit: configured.pids_limit.get().into(),
        pids: detail.as_ref().and_then(pids),
    };
    let on_network = detail.filter(|detail| !detail.host_network);
    (service, on_network.and_then(|detail| Some(RunningContainer { pid: detail.pid?, servers: detail.dns_servers })))
}

/// The kernel's counts of a container's processes.
fn pids(detail: &ContainerDetail) -> Option<Pids> {
    let view = View::of(detail.pid?, &detail.id, &[]);
    let Processes { current, refused } = view.processes?;
    let limit = match view.pids? {
        Bound::At(limit) => Some(limit),
        Bound::None => None,
    };
    Some(Pids { limit, unit: view.unit_pids, current, refused })
}

/// The files of `secret_env` whose values cannot be used.
fn unusable_secrets(config: &Config) -> Vec<UnusableSecret> {
    let of_service = |(name, service): (&ServiceName, &config::Service)| {
        let files = service.secret_env.iter().filter_map(|(variable, source)| match source {
            SecretSource::File(path) => Some((format!("services.{name}.secret_env.{variable}"), path.clone())),
            SecretSource::WebUi | SecretSource::Podman(_) => None,
        });
        files.collect::<Vec<_>>()
    };
    let unusable = |(key, path): (String, PathBuf)| {
        let unusable = secret::read(&path).err()?;
        Some(UnusableSecret { key, why: unusable.why(), open: unusable.is_open_to_others(), path })
    };
    config.enabled().flat_map(of_service).filter_map(unusable).collect()
}

/// Whether a service has run long enough that it should answer.
fn has_had_its_time(config: &Config, times: &HealthTiming, container: &Container) -> bool {
    let of_all = Duration::from_secs(config.cli.startup_timeout.get().into());
    let ready = times.startup_limit(of_all, Duration::from_secs_f64(config.cli.startup_check_interval)).as_secs();
    container.started_at.is_some_and(|started| Uptime::since(started).seconds >= ready)
}

async fn silence(podman: &Rest, container: &str, check: &HealthCheck, timeout: Duration) -> Option<String> {
    match ask_health(podman, container, check, timeout).await {
        Ok(answer) if answer.healthy => None,
        Ok(answer) => Some(format!("{} {}", answer.describe(), check.place())),
        Err(why) => Some(format!("{why}, {}", check.place())),
    }
}

fn classify(error: &PodmanError) -> Engine {
    match error {
        PodmanError::Missing => Engine::Missing,
        PodmanError::UnsupportedUrl { origin, .. } => {
            Engine::Socket { why: error.to_string(), socket: None, origin, denied: false }
        }
        PodmanError::NoAnswer { socket, origin, source } => Engine::Socket {
            why: format!("{error}: {source}"),
            socket: Some(socket.clone()),
            origin,
            denied: source.kind() == std::io::ErrorKind::PermissionDenied,
        },
        PodmanError::ServiceFailed { reason } => Engine::NotStarted(reason.clone()),
        other => Engine::Failed(other.message()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_taken_port_is_reported_only_if_podman_cannot_hold_it() {
        let held = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let text = format!("[services.one]\nimage = \"localhost/one:1\"\nports = [\"{port}:80\"]\n");
        let config = crate::plan::tests::config(&text);
        let taken = |engine| without(engine, &config).network.unwrap().taken;
        assert!(taken(Engine::Missing).iter().any(|taken| taken.port == port));
        let late = Engine::Failed("podman does not answer".to_owned());
        assert!(taken(late).is_empty());
    }
}
