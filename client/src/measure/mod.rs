//! Measures what a path carries in each direction, without any privilege: `airpods net check`.
//!
//! Configuration gives only a guess about a path; packets show the truth. So a check watches
//! ordinary TCP connections through `TCP_INFO`, to a server that the user contacts anyway. They
//! carry trains of packets up ([`up`]) and segments of chosen sizes down ([`down`]). [`search`]
//! decides which sizes come next, and [`verdict`] decides what the result means. All of that is
//! pure, and tests run it on a simulated path in virtual time. [`socket`] is the thin part that
//! touches the kernel. docs/measuring.md explains the whole.
//!
//! **The truth rule**: a size that is reported as proven was carried. A packet of that size was
//! sent once and whole, while the kernel's path MTU allowed it, and it was acknowledged.

mod down;
mod evidence;
mod exchange;
mod findings;
mod loss;
pub mod memory;
mod path;
pub mod places;
mod quic;
pub mod report;
mod run;
mod search;
#[cfg(test)]
mod simulated;
mod socket;
pub mod targets;
mod train;
mod transfer;
mod up;
pub mod verdict;

pub use places::{Place, Places};
pub use report::Report;
pub use targets::Target;
pub use transfer::transfers;
pub use verdict::Code;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout_at};

use crate::egress::{Egress, egress};
use crate::helper_link::status_if_running;
use path::{Job, Server, measure, unresolved};
use places::from_network;
use report::{Family, Link, PathReport, PlaceReport, conclude, nameless};
use run::Deadline;
use search::SYN_TIMEOUT;
use targets::{OnlyByProxy, Unresolved};
use verdict::mark_blocked_quic;

/// Time limit of a whole check, names and every place included.
pub const LIMIT: Duration = Duration::from_secs(12);

/// The servers that a check measures, and the places it measures from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The servers to measure with: the first one measures, the second one confirms.
    pub targets: Vec<Target>,
    /// Where packets are sent from, in addition to the host.
    pub places: Places,
    /// Make plain transfers as well.
    pub proof: bool,
    /// Why the path to these servers cannot be measured, though they could be contacted.
    pub unmeasurable: Option<OnlyByProxy>,
}

/// Called with the progress of a check: the family and the stage.
pub type ProgressCallback = Arc<dyn Fn(Family, Stage) + Send + Sync>;

/// Stops the measuring threads when dropped, that is, when the caller no longer waits for them.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Checks every place, within `limit`. Anything that is unfinished then counts as not measured.
pub async fn check(plan: &Plan, limit: Duration, on_progress: ProgressCallback) -> Report {
    let begun = Instant::now();
    let end = begun + limit;
    let left = || end.saturating_duration_since(Instant::now());
    if let Some(only_by_proxy) = &plan.unmeasurable {
        let report = nameless(None, Code::NotMeasured, &only_by_proxy.to_string(), begun);
        return Report { cure: Some(only_by_proxy.cure()), ..report };
    }
    let servers = match resolve(&plan.targets, end, PATIENCE, Target::resolve).await {
        Ok(servers) => servers,
        Err((target, code, why)) => return nameless(target, code, &why, begun),
    };
    let mut host =
        PlaceReport { place: "host".to_owned(), services: plan.places.host.clone(), ..PlaceReport::default() };
    host.link = link_to(&servers);
    let clamped = match &host.link {
        Some(link) => fixed_clamp(&link.name).await,
        None => None,
    };
    host.paths = from_host(plan, &servers, clamped, host_share(plan, left()), on_progress).await;
    let mut places = vec![host];
    for place in &plan.places.networks {
        let report = from_network(plan, place, &servers, &places[0], left()).await;
        places.push(report);
    }
    conclude(places, begun)
}

/// Time for the host to search a narrow path and to confirm it, or to wait for two silent servers.
const HOST_TIME: Duration = Duration::from_secs(8);

/// The host's share of the time that is left: the networks are measured after it, with its result.
fn host_share(plan: &Plan, left: Duration) -> Duration {
    if plan.places.networks.is_empty() { left } else { HOST_TIME.max(left * 2 / 3).min(left) }
}

/// The servers of each family, in the order of the targets.
type Servers = BTreeMap<Family, Vec<Server>>;

/// The time that names get.
#[derive(Clone, Copy)]
struct Patience {
    /// Time for all of them.
    full: Duration,
    /// Time for the others once one has an address: a further server only confirms.
    grace: Duration,
}

/// Resolvers ask a second time after five seconds (resolv.conf(5)).
const PATIENCE: Patience = Patience { full: Duration::from_secs(6), grace: Duration::from_secs(1) };

/// Resolves the names side by side with `lookup`, and takes the first two that have addresses.
/// Fails only if none has one.
async fn resolve<'a, L: Future<Output = Result<Vec<SocketAddr>, Unresolved>>>(
    targets: &'a [Target],
    end: Instant,
    patience: Patience,
    lookup: impl Fn(&'a Target) -> L,
) -> Result<Servers, (Option<&'a Target>, Code, String)> {
    let full = Instant::now() + patience.full;
    let mut until = full.min(end);
    let lookup = &lookup;
    let mut running: FuturesUnordered<_> =
        targets.iter().enumerate().map(|(index, target)| async move { (index, lookup(target).await) }).collect();
    let mut answers = BTreeMap::new();
    while let Ok(Some((index, answer))) = timeout_at(until, running.next()).await {
        if answer.is_ok() {
            until = until.min(Instant::now() + patience.grace);
        }
        answers.insert(index, answer);
    }
    drop(running);
    let mut servers = Servers::new();
    let mut failed = (None, Code::NotMeasured, "there is no server to ask".to_owned());
    let mut resolved = 0;
    for (index, target) in targets.iter().enumerate() {
        failed = match answers.remove(&index) {
            Some(Ok(addresses)) => {
                resolved += 1;
                add(&mut servers, target, &addresses);
                if resolved == 2 {
                    break;
                }
                continue;
            }
            Some(Err(why)) => (Some(target), Code::DnsRefused, why.to_string()),
            None if end < full => (None, Code::NotMeasured, "there was no time to resolve the names".to_owned()),
            None => (Some(target), Code::DnsSilent, "no name server answers".to_owned()),
        };
    }
    if servers.is_empty() { Err(failed) } else { Ok(servers) }
}

fn add(servers: &mut Servers, target: &Target, addresses: &[SocketAddr]) {
    for family in [Family::Ipv4, Family::Ipv6] {
        let of_family = |address: &&SocketAddr| address.is_ipv6() == (family == Family::Ipv6);
        let addresses: Vec<SocketAddr> = addresses.iter().filter(of_family).take(2).copied().collect();
        if !addresses.is_empty() {
            let name = target.name().map(str::to_owned);
            servers.entry(family).or_default().push(Server { host: target.host.clone(), name, addresses });
        }
    }
    // A family without a route is left out, unless no family has one.
    let used = |servers: &Vec<Server>| {
        servers.iter().any(|server| server.addresses.iter().any(|address| !matches!(egress(address.ip()), Ok(None))))
    };
    if servers.values().any(used) {
        servers.retain(|_, servers| used(servers));
    }
}

fn link_to(servers: &Servers) -> Option<Link> {
    let address = servers.values().flatten().flat_map(|server| &server.addresses).next()?;
    egress(address.ip()).ok().flatten().as_ref().map(link)
}

/// The value of the helper's clamp on a link, if the helper runs and the value is fixed.
async fn fixed_clamp(link: &str) -> Option<u16> {
    let status = status_if_running().await?;
    let clamp = status.clamps.iter().find(|clamp| clamp.link == link)?;
    clamp.mtu.and_then(|mtu| u16::try_from(mtu).ok())
}

fn link(egress: &Egress) -> Link {
    Link { name: egress.link.clone(), kind: egress.kind.info_kind.clone(), vpn: egress.kind.is_vpn(), mtu: egress.mtu }
}

/// The jobs of a place, one for each family.
fn jobs(plan: &Plan, servers: &Servers, deadline: Deadline) -> Vec<Job> {
    let job = |(family, servers): (&Family, &Vec<Server>)| {
        let mut servers = servers.iter();
        Some(Job {
            family: *family,
            server: servers.next()?.clone(),
            second: servers.next().cloned(),
            hints: Vec::new(),
            proof: plan.proof,
            transfers_only: false,
            udp: plan.proof,
            clamped: None,
            deadline,
            from_host: None,
        })
    };
    servers.iter().filter_map(job).collect()
}

/// Measures from the host, families side by side. If the first server gives no usable result, the
/// second one takes its place.
async fn from_host(
    plan: &Plan,
    servers: &Servers,
    clamped: Option<u16>,
    time: Duration,
    on_progress: ProgressCallback,
) -> Vec<PathReport> {
    let deadline = Deadline::after(time);
    let first: Vec<Job> = jobs(plan, servers, deadline).into_iter().map(|job| Job { clamped, ..job }).collect();
    let mut paths = run_jobs(first.clone(), &on_progress).await;
    let useless =
        |path: &PathReport| matches!(path.verdict, Code::ServerDown | Code::ServerSilent | Code::DownNotMeasured);
    let swapped: Vec<Job> = first
        .into_iter()
        .zip(&paths)
        .filter(|(_, path)| useless(path))
        .filter_map(|(job, _)| {
            let second = job.second.clone()?;
            Some(Job { server: second, second: Some(job.server.clone()), ..job })
        })
        .collect();
    if !swapped.is_empty() && deadline.left() > time / 2 {
        paths.extend(run_jobs(swapped, &on_progress).await);
    }
    mark_dead_ipv6(&mut paths);
    mark_blocked_quic(&mut paths);
    paths
}

/// If IPv4 works and IPv6 leads nowhere, the verdict on IPv6 is `ipv6-dead`, not a filtered port.
fn mark_dead_ipv6(paths: &mut [PathReport]) {
    let works = |path: &PathReport| path.family == Family::Ipv4 && path.up.proven.is_some();
    if paths.iter().any(works) {
        for path in paths.iter_mut().filter(|path| path.family == Family::Ipv6) {
            let is_dead = match path.verdict {
                Code::PortFiltered | Code::NoRoute | Code::RefusedOnTheWay => true,
                Code::NotMeasured => stayed_silent(path),
                _ => false,
            };
            if is_dead {
                path.verdict = Code::Ipv6Dead;
            }
        }
    }
}

/// Whether no connection was established in the time that one has for it, and only the time for
/// another server was missing.
fn stayed_silent(path: &PathReport) -> bool {
    path.rtt_ms.is_none() && path.up.proven.is_none() && path.seconds >= SYN_TIMEOUT.as_secs_f64()
}

async fn run_jobs(jobs: Vec<Job>, on_progress: &ProgressCallback) -> Vec<PathReport> {
    let stop = Stop(Arc::default());
    let started: Vec<_> = jobs
        .into_iter()
        .map(|job| {
            let (stopped, on_progress) = (Arc::clone(&stop.0), Arc::clone(on_progress));
            let fallback = unresolved(&job, "the measurement failed");
            let family = job.family;
            // Before any thread starts: a path that is quick must not seem to be the only one.
            on_progress(family, Stage::Begun);
            let thread = tokio::task::spawn_blocking(move || {
                let report = measure(&job, &stopped, &|stage| on_progress(family, stage));
                on_progress(family, Stage::Ended);
                report
            });
            (thread, fallback)
        })
        .collect();
    let mut paths = Vec::new();
    for (thread, fallback) in started {
        paths.push(thread.await.unwrap_or(fallback));
    }
    paths
}

/// The current stage of a check, shown as progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the first connections.
    Begun,
    /// The first connections.
    First(u16),
    /// Packets of this size, the largest, have passed up and down.
    Full(u16),
    /// Narrowing down where the path ends: the gap that is left, up and down.
    Between(Option<(u16, u16)>, Option<(u16, u16)>),
    /// Trying the next larger size repeatedly, up and down; if there is none, a large hello.
    Boundary(Option<u16>, Option<u16>),
    /// Trying the same on another server.
    Confirming,
    /// Making plain transfers.
    Transfers,
    /// The path's report is there.
    Ended,
}

impl Stage {
    /// Whether packets have gone missing by now.
    #[must_use]
    pub fn is_after_a_miss(self) -> bool {
        match self {
            Self::Between(..) | Self::Confirming => true,
            Self::Boundary(up, down) => up.is_some() || down.is_some(),
            Self::Begun | Self::First(_) | Self::Full(_) | Self::Transfers | Self::Ended => false,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = |gap: &Option<(u16, u16)>| gap.map(|(low, high)| format!("{low} to {high}"));
        let size = |size: &Option<u16>| size.map(|size| size.to_string());
        let (up, down) = match self {
            Self::First(top) | Self::Full(top) => return write!(f, "packets of up to {top} bytes"),
            Self::Confirming => return f.write_str("the same with another server"),
            Self::Transfers => return f.write_str("plain transfers"),
            Self::Begun | Self::Ended => return f.write_str("to connect"),
            Self::Between(up, down) => (gap(up), gap(down)),
            Self::Boundary(up, down) => (size(up), size(down)),
        };
        match (up, down) {
            (Some(up), Some(down)) => write!(f, "{up} bytes up, {down} down"),
            (Some(up), None) => write!(f, "{up} bytes up"),
            (None, Some(down)) => write!(f, "{down} bytes down"),
            (None, None) => f.write_str("a large hello"),
        }
    }
}

#[cfg(test)]
mod tests;
