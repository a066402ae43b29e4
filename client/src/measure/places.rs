//! The places that packets are sent from: the host, and the networks of running services. A process
//! enters the container's network (see [`crate::inside`]). The host's measurement helps to judge
//! what it finds there.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::path::{Job, measure};
use super::report::{Confidence, Direction, Family, PathReport, PlaceReport};
use super::verdict::{Code, FromHost};
use super::{Plan, Servers, jobs, link};
use crate::config::{Config, NetworkMode, Service, ServiceName};
use crate::egress::{EgressPath, NetworkPath, RootlessBackend, Verdict, survey};
use crate::inside;
use crate::plan::container_made_for;
use crate::podman::{Container, ContainerState, Podman};

/// A place that packets are sent from, beside the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The network's name.
    pub name: String,
    /// The services on it.
    pub services: Vec<String>,
    /// How their packets reach the host's routing.
    pub route: EgressPath,
    /// The pid of a process in the network.
    pub pid: u32,
}

/// The places of services: those on the host's network, and each other network once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The services on the host's own network.
    pub host: Vec<String>,
    /// The other networks.
    pub networks: Vec<Place>,
}

/// Finds out where the services run; `services` are the ones to measure for.
///
/// # Errors
/// podman's.
pub async fn places(
    podman: &impl Podman,
    config: &Config,
    services: &[(&ServiceName, &Service)],
) -> crate::podman::Result<Places> {
    let (containers, networks) = (podman.containers().await?, podman.networks().await?);
    let network = networks.iter().find(|network| network.name == config.runtime.network_name.as_str());
    let facts = survey(podman, network, &config.runtime);
    let mut places = Places::default();
    for (name, service) in services {
        if service.network_mode == NetworkMode::Host {
            places.host.push(name.to_string());
            continue;
        }
        let container = container_made_for(name.as_str(), Some(service.container.as_str()), &containers);
        // Without a running container nothing can be measured, and no transfer hangs.
        let Some(pid) = pid_of(podman, container).await else { continue };
        // Containers on one network share its path; those of a pod even share the namespace.
        match places.networks.first_mut() {
            Some(place) => place.services.push(name.to_string()),
            None => places.networks.push(Place {
                name: config.runtime.network_name.to_string(),
                services: vec![name.to_string()],
                route: facts.egress_path(service.network_mode),
                pid,
            }),
        }
    }
    // An `internal` network has no path that could be measured.
    places.networks.retain(|place| !matches!(place.route.network_path, NetworkPath::None));
    Ok(places)
}

/// The pid of a running container that has its own network namespace.
async fn pid_of(podman: &impl Podman, container: Option<&Container>) -> Option<u32> {
    let container = container.filter(|container| container.state == ContainerState::Running)?;
    let pid = podman.inspect_container(&container.name).await.ok()?.pid?;
    // A container on the host's network is no further place. If its namespace cannot be read, it
    // counts as one.
    let namespace = |process: &str| std::fs::metadata(format!("/proc/{process}/ns/net")).ok().map(|file| file.ino());
    let own = namespace("self");
    (namespace(&pid.to_string()).is_none_or(|other| Some(other) != own)).then_some(pid)
}

/// The host's measurement, as far as judging a container's needs it.
fn host_result(paths: &[PathReport], family: Family) -> Option<FromHost> {
    let path = paths.iter().rfind(|path| path.family == family)?;
    Some(FromHost {
        connects: path.up.proven.is_some() || path.down.proven.is_some(),
        link: path.top,
        whole: path.up.proven == Some(path.top) && path.down.proven == Some(path.top),
        up: path.up.proven.unwrap_or_default(),
        down: path.down.proven.unwrap_or_default(),
        quic: path.udp.is_some_and(|udp| udp.answered),
    })
}

/// Measures from within a network. If it cannot be entered, the host's measurement is used.
pub(super) async fn from_network(
    plan: &Plan,
    place: &Place,
    servers: &Servers,
    host: &PlaceReport,
    begun: Instant,
) -> PlaceReport {
    let mut report = PlaceReport {
        place: place.name.clone(),
        services: place.services.clone(),
        link: place.route.egress.as_ref().map(link),
        own_mtu: place.route.network_mtu,
        ..PlaceReport::default()
    };
    let backend = match place.route.network_path {
        NetworkPath::Rootless(backend) => Some(backend),
        _ => None,
    };
    let prepare = |job: Job| {
        let mut hints: Vec<u16> =
            place.route.egress.iter().filter_map(|egress| u16::try_from(egress.mtu).ok()).collect();
        let known = host.paths.iter().rfind(|path| path.family == job.family);
        hints.extend(known.and_then(|path| path.narrow_to));
        Job { hints, transfers_only: backend.is_some(), from_host: host_result(&host.paths, job.family), ..job }
    };
    let jobs: Vec<Job> = jobs(plan, servers, begun).into_iter().map(prepare).collect();
    match measure_inside(place.pid, &jobs).await {
        Ok(paths) => report.paths = paths,
        Err(why) => {
            report.judged_from_host = Some(format!("this user may not enter the network: {why}"));
            return judged_from_host(report, place, host);
        }
    }
    if let Some(backend) = backend {
        report.judged_from_host = Some(host_connections_note(backend));
        copy_sizes(&mut report, host);
    }
    report
}

fn host_connections_note(backend: RootlessBackend) -> String {
    format!("{} opens the connections on the host, so the host's measurement is theirs", backend.as_str())
}

/// Copies the sizes of the host's measurement, for a place whose connections a program of the host
/// opens.
fn copy_sizes(report: &mut PlaceReport, host: &PlaceReport) {
    for path in &mut report.paths {
        let Some(known) = host.paths.iter().rfind(|known| known.family == path.family) else { continue };
        let verdict = if path.verdict == Code::ContainerCut { path.verdict } else { known.verdict };
        *path = PathReport {
            verdict,
            transfers: path.transfers.take(),
            seconds: path.seconds,
            connections: path.connections,
            bytes_up: path.bytes_up,
            ..known.clone()
        };
    }
}

/// The report for a network that could not be entered: inferred from the host's measurement, and
/// marked as inferred.
fn judged_from_host(mut report: PlaceReport, place: &Place, host: &PlaceReport) -> PlaceReport {
    let helped = matches!(place.route.verdict, Verdict::ClampHelps | Verdict::NarrowLink);
    report.paths.clone_from(&host.paths);
    for path in &mut report.paths {
        (path.seconds, path.connections, path.bytes_up) = (0.0, 0, 0);
        let inferred = |direction: &mut Direction| {
            direction.confidence = direction.confidence.min(Confidence::AtLeast);
            direction.reason = Some("judged from the host".to_owned());
        };
        inferred(&mut path.up);
        inferred(&mut path.down);
        if helped && path.verdict == Code::Fine {
            path.verdict = Code::MtuBlackHole;
        }
    }
    report
}

/// The name of the hidden command that measures in a container's network.
pub const COMMAND: &str = "measure-inside";

/// Time limit of that process: the measurement itself ends in time, but the machine may be slow.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Upper bound on the list of jobs, in bytes: two families with two servers each have 1 kB.
const JOBS: u64 = 64 << 10;

/// Measures from within the network of the process `pid`, in a process of airpods that enters it.
///
/// # Errors
/// The network may not be entered, or the process fails.
pub(super) async fn measure_inside(pid: u32, jobs: &[Job]) -> io::Result<Vec<PathReport>> {
    let answer = inside::run(COMMAND, pid, &serde_json::to_vec(jobs)?, TIMEOUT).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// Enters the network of the process `pid`, reads jobs from standard input and measures them side
/// by side. The process cannot leave that network again.
///
/// # Errors
/// The kernel's, mostly that this user may not enter.
pub fn enter_and_measure(pid: u32) -> io::Result<Vec<PathReport>> {
    let jobs: Vec<Job> = serde_json::from_reader(io::Read::take(io::stdin().lock(), JOBS)).map_err(io::Error::other)?;
    inside::enter(pid, inside::NETWORK)?;
    Ok(measure_all(&jobs))
}

fn measure_all(jobs: &[Job]) -> Vec<PathReport> {
    let stop = AtomicBool::new(false);
    // Threads that start after `enter` are in that network, too.
    std::thread::scope(|scope| {
        let started: Vec<_> = jobs.iter().map(|job| scope.spawn(|| measure(job, &stop, &|_| {}))).collect();
        started.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}
