//! A transfer as a service makes one: default socket options, more than two full packets up, the
//! server's certificates down. It needs an answer from the server's application. So it is valid
//! behind pasta and slirp4netns, too, which terminate a container's connections and open their own.
//! Transfers from every place before and after a change show whether what hung now completes.

use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{Action, Answer, ConnectionSummary, Exchange, Observation, hello};
use super::path::Job;
use super::places::measure_inside;
use super::report::{PlaceReport, TransferReport};
use super::run::{BatchLimits, Deadline, Outcome, Probe, Transport, Usage, run};
use super::{PATIENCE, Plan, ProgressCallback, Target, jobs, link_to, resolve, run_jobs};

/// The padding that makes a hello of 2.9 kB. Every TLS stack that was tried accepts one of 14 kB.
pub(super) const PADDING: u16 = 2600;

/// Transfers made at once.
pub(super) const COUNT: u32 = 3;

/// Time limit of a transfer.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// Time limit of a process that makes transfers in a network: they end in time, but the machine may
/// be slow.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The outcome of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TransferOutcome {
    /// The time after which the hello was answered by the whole flight.
    pub(super) completed: Option<Duration>,
    /// The server's behaviour on the connection.
    pub(super) summary: ConnectionSummary,
}

/// One transfer.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) exchange: Exchange,
    name: Option<String>,
    padding: u16,
    completed: bool,
}

impl Transfer {
    /// A transfer with this server name; `padding` makes the hello longer.
    pub(super) fn new(ipv6: bool, name: Option<&str>, padding: u16) -> Self {
        let exchange = Exchange { ipv6, ..Exchange::default() };
        Self { exchange, name: name.map(str::to_owned), padding, completed: false }
    }

    pub(super) fn step(&mut self, seen: &Observation, new: &[u8]) -> Action {
        if !self.exchange.take(seen, new) {
            return if self.exchange.error.is_some() { Action::End } else { Action::Wait };
        }
        if self.exchange.hello_at.is_none() {
            let hello = hello(self.name.as_deref(), self.padding);
            self.exchange.hello_at = Some(seen.now);
            self.exchange.hello_length = hello.len() as u64;
            return Action::Send(hello);
        }
        self.completed = self.exchange.answer() == Answer::Tls && self.exchange.is_whole();
        if self.completed || self.exchange.closed { Action::End } else { Action::Wait }
    }

    pub(super) fn outcome(self) -> TransferOutcome {
        let took = self.exchange.seen_at.saturating_sub(self.exchange.opened_at);
        TransferOutcome { completed: self.completed.then_some(took), summary: self.exchange.summary() }
    }
}

/// Makes three transfers at once.
pub(super) fn transfer<T: Transport>(
    transport: &mut T,
    ipv6: bool,
    name: Option<&str>,
    padding: u16,
    spent: &mut Usage,
) -> TransferReport {
    let batch = (0..COUNT).map(|_| Probe::Transfer(Box::new(Transfer::new(ipv6, name, padding)))).collect();
    let outcomes = run(transport, batch, BatchLimits { limit: LIMIT, stragglers: None }, spent, |_, _| false);
    let times: Vec<Duration> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Transfer(outcome) => outcome.completed,
            Outcome::Up(_) | Outcome::Down(_) => None,
        })
        .collect();
    TransferReport {
        completed: u32::try_from(times.len()).unwrap_or(u32::MAX),
        of: COUNT,
        slowest: times.iter().max().map(Duration::as_secs_f64),
        answers: !times.is_empty(),
    }
}

/// Makes plain transfers from the host, and from each network that this user may enter.
///
/// # Errors
/// A sentence that says why nothing was contacted, for instance because no name has an address.
pub async fn transfers(plan: &Plan, on_progress: ProgressCallback) -> Result<Vec<PlaceReport>, String> {
    if let Some(only_by_proxy) = &plan.unmeasurable {
        return Err(only_by_proxy.to_string());
    }
    let end = Instant::now() + super::LIMIT;
    let servers =
        resolve(&plan.targets, end, PATIENCE, Target::resolve).await.map_err(|(target, _, why)| match target {
            Some(target) => format!("`{}` cannot be asked: {why}", target.host),
            None => why,
        })?;
    // Each place has the full time: a transfer that is cut off would count as one that hangs.
    let jobs = || -> Vec<Job> {
        let jobs = jobs(plan, &servers, Deadline::after(super::LIMIT)).into_iter();
        jobs.map(|job| Job { transfers_only: true, ..job }).collect()
    };
    let host = PlaceReport { place: "host".to_owned(), link: link_to(&servers), ..PlaceReport::default() };
    let mut places = vec![PlaceReport { paths: run_jobs(jobs(), &on_progress).await, ..host }];
    for place in &plan.places.networks {
        // The report before was inferred from the host for a network that may not be entered, so
        // there is nothing to compare.
        let Ok(paths) = measure_inside(place.pid, &jobs(), TIMEOUT).await else { continue };
        let link = place.route.egress.as_ref().map(super::link);
        places.push(PlaceReport { place: place.name.clone(), link, paths, ..PlaceReport::default() });
    }
    Ok(places)
}
