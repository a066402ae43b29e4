//! What is measured from within the network of containers, and what the host's measurement tells about it.

use std::time::Instant;

use super::inside::measure_inside;
use super::path::Job;
use super::report::{Confidence, Direction, Family, PathReport, PlaceReport};
use super::verdict::{Code, FromHost};
use super::{Place, Plan, Servers, jobs, link};
use crate::egress::{NetworkPath, RootlessBackend, Verdict};

/// The part of the host's measurement that a container's needs.
fn told(paths: &[PathReport], family: Family) -> Option<FromHost> {
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

/// Measures from within a network, or judges it by what was measured from the host.
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
        link: place.way.egress.as_ref().map(link),
        own_mtu: place.way.network_mtu,
        ..PlaceReport::default()
    };
    let backend = match place.way.passage {
        NetworkPath::Rootless(backend) => Some(backend),
        _ => None,
    };
    let prepare = |job: Job| {
        let mut hints: Vec<u16> = place.way.egress.iter().filter_map(|egress| u16::try_from(egress.mtu).ok()).collect();
        let known = host.paths.iter().rfind(|path| path.family == job.family);
        hints.extend(known.and_then(|path| path.narrow_to));
        Job { hints, transfers_only: backend.is_some(), from_host: told(&host.paths, job.family), ..job }
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
        report.judged_from_host = Some(opens_for_it(backend));
        borrow(&mut report, host);
    }
    report
}

fn opens_for_it(backend: RootlessBackend) -> String {
    format!("{} opens the connections on the host, so the host's measurement is theirs", backend.as_str())
}

/// The sizes of the host's measurement, for a place whose connections the host makes.
fn borrow(report: &mut PlaceReport, host: &PlaceReport) {
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

/// What follows from the host's measurement for a network that could not be entered. That is inferred, and says so.
fn judged_from_host(mut report: PlaceReport, place: &Place, host: &PlaceReport) -> PlaceReport {
    let helped = matches!(place.way.verdict, Verdict::ClampHelps | Verdict::NarrowLink);
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
