//! The places that packets are sent from: the host, and the networks of running services. A process
//! enters the container's network (see [`crate::inside`]). The host's measurement helps to judge
//! what it finds there.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::path::{Job, LATE, measure, unresolved};
use super::report::{Confidence, Direction, Family, PathReport, PlaceReport};
use super::run::Deadline;
use super::verdict::{Code, FromHost};
use super::{Plan, Servers, jobs, link};
use crate::config::{Config, NetworkMode, Service, ServiceName};
use crate::egress::{EgressPath, NetworkPath, Verdict, survey};
use crate::inside;
use crate::plan::container_made_for;
use crate::podman::{Container, ContainerState, Podman, RootlessBackend};

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
        quic: path.udp.as_ref().is_some_and(|udp| udp.answered),
    })
}

/// Time for a process in a network to start, and to hand over its report.
const PASSING_ON: Duration = Duration::from_millis(500);

/// Measures from within a network, within `time`. If it cannot be entered, the host's measurement
/// is used.
pub(super) async fn from_network(
    plan: &Plan,
    place: &Place,
    servers: &Servers,
    host: &PlaceReport,
    time: Duration,
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
    let deadline = Deadline::after(time.saturating_sub(PASSING_ON));
    let jobs: Vec<Job> = jobs(plan, servers, deadline).into_iter().map(prepare).collect();
    let late = || jobs.iter().map(|job| unresolved(job, LATE)).collect();
    report.paths = match backend {
        // Sizes inside show nothing, and there are no transfers to make.
        Some(_) if !plan.proof => late(),
        _ if time <= PASSING_ON => late(),
        _ => match measure_inside(place.pid, &jobs, time).await {
            Ok(paths) => paths,
            Err(why) if why.kind() == ErrorKind::TimedOut => late(),
            Err(why) => {
                report.judged_from_host = Some(why.to_string());
                return judged_from_host(report, place, host);
            }
        },
    };
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

/// Upper bound on the list of jobs, in bytes: two families with two servers each have 1 kB.
const JOBS: u64 = 64 << 10;

/// Measures from within the network of the process `pid`, in a process of airpods that enters it
/// and is ended after `time`.
///
/// # Errors
/// The network may not be entered, or the process fails or is late (`TimedOut`).
pub(super) async fn measure_inside(pid: u32, jobs: &[Job], time: Duration) -> io::Result<Vec<PathReport>> {
    let answer = inside::run(COMMAND, pid, &serde_json::to_vec(jobs)?, time).await?;
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

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::super::path::Server;
    use super::*;

    /// A rootless network of a process that does not exist.
    pub(in crate::measure) fn place() -> Place {
        let rootless = NetworkPath::Rootless(RootlessBackend::Pasta);
        let route =
            EgressPath { network_path: rootless, egress: None, network_mtu: None, verdict: Verdict::HostSockets };
        Place { name: "airpods".to_owned(), services: Vec::new(), route, pid: u32::MAX }
    }

    fn servers() -> Servers {
        let addresses = vec!["192.0.2.1:443".parse().unwrap()];
        BTreeMap::from([(Family::Ipv4, vec![Server { host: "registry.example".to_owned(), name: None, addresses }])])
    }

    fn host() -> PlaceReport {
        let path = PathReport::without(Family::Ipv4, "registry.example", 443, Code::PathNarrow);
        PlaceReport { place: "host".to_owned(), paths: vec![path], ..PlaceReport::default() }
    }

    #[tokio::test]
    async fn without_proof_nothing_is_sent_for_a_rootless_service_and_the_hosts_sizes_are_its_own() {
        let report = from_network(&Plan::default(), &place(), &servers(), &host(), Duration::from_secs(1)).await;
        assert_eq!(report.paths[0].verdict, Code::PathNarrow);
        assert_eq!((report.paths[0].transfers.clone(), report.paths[0].connections), (None, 0));
        assert_eq!(report.judged_from_host, Some(host_connections_note(RootlessBackend::Pasta)));
    }

    #[tokio::test]
    async fn a_network_for_which_no_time_is_left_is_not_measured() {
        let route = EgressPath { network_path: NetworkPath::Bridge, ..place().route };
        let bridge = Place { route, ..place() };
        let report = from_network(&Plan::default(), &bridge, &servers(), &host(), Duration::ZERO).await;
        let path = &report.paths[0];
        assert_eq!((path.verdict, path.up.reason.as_deref()), (Code::NotMeasured, Some(LATE)));
        assert_eq!(report.judged_from_host, None);
    }

    #[tokio::test]
    async fn why_a_network_was_not_measured_from_within_is_told_as_it_is() {
        let route = EgressPath { network_path: NetworkPath::Bridge, ..place().route };
        let bridge = Place { route, ..place() };
        // The program of the tests does not know the hidden command.
        let report = from_network(&Plan::default(), &bridge, &servers(), &host(), Duration::from_secs(60)).await;
        assert_eq!(report.paths[0].verdict, Code::PathNarrow);
        let why = report.judged_from_host.unwrap();
        assert!(!why.contains("may not enter"), "{why}");
    }
}
