//! Runs connections from their opening to their end, on any [`Transport`]: the kernel's sockets, or
//! simulated ones. Also the limits of a run: the moment by which the whole check ends, in other
//! processes as well, and the budget of one path.

use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::down::{Down, DownOutcome};
use super::exchange::{Action, ConnectionSummary, Exchange, Moment, Observation, Opening};
use super::transfer::{Transfer, TransferOutcome};
use super::up::{Up, UpOutcome};

/// Opens, observes, writes and resets connections.
pub(super) trait Transport {
    /// A connection.
    type Socket;

    /// The time since the check began.
    fn now(&self) -> Moment;

    /// Whether the check has to end.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Waits until the next observation is worthwhile.
    fn pause(&mut self);

    /// Begins to connect, without waiting.
    fn open(&mut self, opening: Opening) -> Result<Self::Socket, Errno>;

    /// Observes a connection, and appends the bytes that have arrived to `received`.
    fn observe(&mut self, socket: &mut Self::Socket, received: &mut Vec<u8>) -> Observation;

    /// Writes all bytes in one call, or fails.
    fn send(&mut self, socket: &mut Self::Socket, bytes: &[u8]) -> Result<(), Errno>;

    /// Ends a connection with a reset, so that the kernel sends nothing more of what is queued.
    fn reset(&mut self, socket: Self::Socket);
}

/// A connection of one of the three kinds.
#[derive(Clone, Debug)]
pub(super) enum Probe {
    /// A train of our packets.
    Up(Box<Up>),
    /// The server's packets of one size.
    Down(Box<Down>),
    /// A plain transfer.
    Transfer(Box<Transfer>),
}

/// The outcome of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Of a train.
    Up(UpOutcome),
    /// Of packets down.
    Down(DownOutcome),
    /// Of a transfer.
    Transfer(TransferOutcome),
}

impl Outcome {
    /// The server's behaviour on the connection.
    pub(super) fn summary(&self) -> &ConnectionSummary {
        match self {
            Self::Up(outcome) => &outcome.summary,
            Self::Down(outcome) => &outcome.summary,
            Self::Transfer(outcome) => &outcome.summary,
        }
    }
}

impl Probe {
    /// The state of its connection.
    pub(super) fn exchange(&self) -> &Exchange {
        match self {
            Self::Up(up) => &up.exchange,
            Self::Down(down) => &down.exchange,
            Self::Transfer(transfer) => &transfer.exchange,
        }
    }

    fn exchange_mut(&mut self) -> &mut Exchange {
        match self {
            Self::Up(up) => &mut up.exchange,
            Self::Down(down) => &mut down.exchange,
            Self::Transfer(transfer) => &mut transfer.exchange,
        }
    }

    fn opening(&self) -> Opening {
        match self {
            Self::Up(up) => up.opening(),
            Self::Down(down) => down.opening(),
            Self::Transfer(_) => Opening { announced: None, sent: None },
        }
    }

    fn step(&mut self, seen: &Observation, new: &[u8]) -> Action {
        match self {
            Self::Up(up) => up.step(seen, new),
            Self::Down(down) => down.step(seen, new),
            Self::Transfer(transfer) => transfer.step(seen, new),
        }
    }

    fn fail(&mut self, now: Moment, errno: Errno) {
        let exchange = self.exchange_mut();
        exchange.seen_at = now;
        exchange.error.get_or_insert(errno);
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Up(up) => Outcome::Up(up.outcome()),
            Self::Down(down) => Outcome::Down(down.outcome()),
            Self::Transfer(transfer) => Outcome::Transfer(transfer.outcome()),
        }
    }
}

/// The time limits of a batch of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchLimits {
    /// Time limit of the whole batch.
    pub(super) limit: Duration,
    /// Time limit for the others once half of the batch and every train have ended. It drops
    /// connections that lost their first packets.
    pub(super) stragglers: Option<Duration>,
}

struct Running<S> {
    probe: Probe,
    socket: Option<S>,
}

/// The connections and bytes used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Connections that were opened.
    pub(super) connections: u32,
    /// Bytes that were written.
    pub(super) bytes: u64,
}

/// A connection of a running batch.
pub(super) struct Progress<'a> {
    /// The connection.
    pub(super) probe: &'a Probe,
    /// It has ended.
    pub(super) ended: bool,
}

/// Runs a batch until every connection has ended, `enough` returns true (it gets the time since the
/// beginning), or time is up.
pub(super) fn run<T: Transport>(
    transport: &mut T,
    batch: Vec<Probe>,
    limits: BatchLimits,
    spent: &mut Usage,
    enough: impl Fn(&[Progress<'_>], Duration) -> bool,
) -> Vec<Outcome> {
    let begun = transport.now();
    let mut running: Vec<Running<T::Socket>> = batch.into_iter().map(|probe| open(transport, probe, spent)).collect();
    let mut half_at = None;
    let mut received = Vec::new();
    loop {
        for one in &mut running {
            observe(transport, one, &mut received, spent);
        }
        let now = transport.now();
        let ended = running.iter().filter(|one| one.socket.is_none()).count();
        let under_way: Vec<Progress<'_>> =
            running.iter().map(|one| Progress { probe: &one.probe, ended: one.socket.is_none() }).collect();
        let lasted = now.saturating_sub(begun);
        if ended == running.len() || enough(&under_way, lasted) || lasted > limits.limit || transport.is_stopped() {
            break;
        }
        let train_runs = under_way.iter().any(|one| matches!(one.probe, Probe::Up(_)) && !one.ended);
        if ended * 2 >= running.len() && running.len() > 2 && !train_runs {
            let half = *half_at.get_or_insert(now);
            if limits.stragglers.is_some_and(|grace| now.saturating_sub(half) > grace) {
                break;
            }
        }
        transport.pause();
    }
    let close = |one: Running<T::Socket>| {
        if let Some(socket) = one.socket {
            transport.reset(socket);
        }
        one.probe.outcome()
    };
    running.into_iter().map(close).collect()
}

fn open<T: Transport>(transport: &mut T, mut probe: Probe, spent: &mut Usage) -> Running<T::Socket> {
    let now = transport.now();
    probe.exchange_mut().opened_at = now;
    spent.connections += 1;
    match transport.open(probe.opening()) {
        Ok(socket) => Running { probe, socket: Some(socket) },
        Err(errno) => {
            probe.fail(now, errno);
            Running { probe, socket: None }
        }
    }
}

fn observe<T: Transport>(transport: &mut T, one: &mut Running<T::Socket>, received: &mut Vec<u8>, spent: &mut Usage) {
    let Some(socket) = &mut one.socket else { return };
    received.clear();
    let seen = transport.observe(socket, received);
    match one.probe.step(&seen, received) {
        Action::Wait => {}
        Action::Send(bytes) => {
            if let Probe::Up(up) = &mut one.probe {
                up.sending();
            }
            spent.bytes += bytes.len() as u64;
            // The next observation shows what became of the connection.
            if let Err(errno) = transport.send(socket, &bytes) {
                one.probe.fail(seen.now, errno);
            }
        }
        Action::End => {
            if let Some(socket) = one.socket.take() {
                transport.reset(socket);
            }
        }
    }
}

/// The moment at which a check has to end: one of `CLOCK_MONOTONIC`, which all processes of a
/// machine share (see `clock_gettime(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Deadline(Duration);

impl Deadline {
    /// The moment after this much time.
    pub(super) fn after(time: Duration) -> Self {
        Self(now() + time)
    }

    /// The time until then.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_sub(now())
    }
}

fn now() -> Duration {
    // The clock exists on every Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The time and the connections that a check may use on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// The search ends after this time, whatever is known by then.
    pub(super) end: Duration,
    /// No connection is opened after this time.
    pub(super) last_begin: Duration,
    /// Upper bound on all connections.
    pub(super) connections: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { end: Duration::from_secs(12), last_begin: Duration::from_millis(9500), connections: 48 }
    }
}

impl Budget {
    /// The budget if this much time is left. No connection is opened in the last 2.5 s, so that
    /// each has time to be judged.
    pub(super) fn within(time: Duration) -> Self {
        Self { end: time, last_begin: time.saturating_sub(Duration::from_millis(2500)), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_deadline_means_the_same_moment_to_another_process() {
        let whole = Duration::from_secs(5);
        let deadline = Deadline::after(whole);
        std::thread::sleep(Duration::from_millis(20));
        let read: Deadline = serde_json::from_str(&serde_json::to_string(&deadline).unwrap()).unwrap();
        assert_eq!(read, deadline);
        assert!(read.left() + Duration::from_millis(20) <= whole, "{:?}", read.left());
        assert_eq!(Deadline::after(Duration::ZERO).left(), Duration::ZERO);
    }
}
