//! The decision about each packet. It is pure: rules, packets and a clock go in, and packets with
//! their arrival times come out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::packet::{Content, Packet};
use super::rules::{Direction, DirectionRules, Fall, Policer, Report, Rules};

/// The fate of a packet on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// It was passed on.
    Passed,
    /// It was larger than the limit.
    TooBig,
    /// It was lost by chance.
    Lost,
    /// It exceeded the policer's rate.
    Policed,
    /// The bottleneck's queue was full.
    QueueFull,
    /// A SYN was refused.
    SynRefused,
    /// It belonged to a connection with a hello that is too long.
    HelloDropped,
    /// It belonged to a connection with a filtered name.
    NameFiltered,
    /// It came after its connection was cut.
    Cut,
    /// It was ICMP, or QUIC, that the path does not carry.
    ProtocolBlocked,
    /// Its MSS was lowered; it is counted as passed too.
    Clamped,
}

/// The number of events, by direction and event.
pub type Counts = BTreeMap<(Direction, Event), u64>;

/// The time of delivery, counted from the path's beginning, and the packet.
pub(super) type Delivery = (Duration, Vec<u8>);

/// The deliveries that result from one packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deliveries {
    /// The packet, possibly changed, at the other end.
    pub(super) forward: Option<Delivery>,
    /// An answer to its sender.
    pub(super) back: Option<Delivery>,
}

/// A path's rules and its state.
#[derive(Debug)]
pub(super) struct Judge {
    rules: Rules,
    random: fastrand::Rng,
    /// The choices between two paths. They have chance of their own, so that they follow from the
    /// order of the connections.
    choices: fastrand::Rng,
    takes_second: HashMap<Connection, bool>,
    connections: HashMap<Connection, ConnectionState>,
    up: DirectionState,
    down: DirectionState,
    counts: Counts,
}

type Connection = (IpAddr, u16, IpAddr, u16);

#[derive(Debug, Default)]
struct ConnectionState {
    /// The client has sent payload.
    has_begun: bool,
    /// The reason to drop the rest of the connection, found in its first packet.
    drop_reason: Option<Event>,
    payload_up: usize,
    payload_down: usize,
}

#[derive(Debug, Default)]
struct DirectionState {
    passed: u32,
    tokens: Option<(f64, Duration)>,
    free_at: Duration,
}

const HTTPS: u16 = 443;

impl Judge {
    /// A path whose random decisions follow from `seed`.
    pub(super) fn new(rules: Rules, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            rules,
            random,
            choices: fastrand::Rng::with_seed(seed),
            takes_second: HashMap::new(),
            connections: HashMap::new(),
            up: DirectionState::default(),
            down: DirectionState::default(),
            counts: Counts::new(),
        }
    }

    /// Changes the rules. Connections, queues and counters keep their state.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules);
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Judges one packet that arrives at `now`.
    pub(super) fn judge(&mut self, bytes: &[u8], direction: Direction, now: Duration) -> Deliveries {
        let Some(packet) = Packet::parse(bytes) else { return Deliveries::default() };
        let (event, answer) = match self.verdict(&packet, direction, now) {
            Ok(arrival) => {
                let clamped = self.rules.of(direction).mss.and_then(|mss| packet.with_mss(mss));
                if clamped.is_some() {
                    self.count(direction, Event::Clamped);
                }
                self.count(direction, Event::Passed);
                return Deliveries { forward: Some((arrival, clamped.unwrap_or_else(|| bytes.to_vec()))), back: None };
            }
            Err(dropped) => dropped,
        };
        self.count(direction, event);
        let delay = self.delay(direction);
        Deliveries { forward: None, back: answer.map(|answer| (now + delay, answer)) }
    }

    /// The time of arrival, or the event that stops the packet and the answer to its sender.
    fn verdict(
        &mut self,
        packet: &Packet,
        direction: Direction,
        now: Duration,
    ) -> Result<Duration, (Event, Option<Vec<u8>>)> {
        self.forget_earlier(packet, direction);
        self.filter(packet, direction)?;
        let size = self.rules.padding.map_or(packet.bytes.len(), |padding| padding.outer(packet.bytes.len()));
        if let Some(limit) = self.limit(packet, direction).filter(|limit| size > *limit) {
            return Err((Event::TooBig, self.report(packet, direction, limit)));
        }
        let loss = self.rules.of(direction).loss;
        if loss > 0.0 && self.random.f64() < loss {
            return Err((Event::Lost, None));
        }
        let policer = self.rules.of(direction).policer;
        if policer.is_some_and(|policer| !self.state(direction).conforms(policer, packet.bytes.len(), now)) {
            return Err((Event::Policed, None));
        }
        let sent = self.through_bottleneck(packet.bytes.len(), direction, now)?;
        self.remember(packet, direction);
        Ok(sent + self.delay(direction))
    }

    /// Forgets the earlier connection if a SYN reuses its ports.
    fn forget_earlier(&mut self, packet: &Packet, direction: Direction) {
        let begins = matches!(&packet.content, Content::Tcp(tcp) if tcp.syn() && !tcp.ack());
        if let Some(connection) = connection(packet, direction).filter(|_| begins) {
            self.connections.remove(&connection);
        }
    }

    /// Drops packets of any size for their content.
    fn filter(&mut self, packet: &Packet, direction: Direction) -> Result<(), (Event, Option<Vec<u8>>)> {
        match &packet.content {
            Content::Icmp if self.rules.blocks_icmp => Err((Event::ProtocolBlocked, None)),
            Content::Udp { destination_port: HTTPS, .. } => match self.rules.quic {
                Some(how) => Err((Event::ProtocolBlocked, packet.refusal(how, self.rules.router))),
                None => Ok(()),
            },
            Content::Tcp(tcp) if tcp.syn() && !tcp.ack() && tcp.destination_port() == HTTPS => match self.rules.syn {
                Some(how) => Err((Event::SynRefused, packet.refusal(how, self.rules.router))),
                None => Ok(()),
            },
            Content::Tcp(tcp) if !tcp.payload().is_empty() => self.filter_payload(packet, tcp.payload(), direction),
            _ => Ok(()),
        }
    }

    fn filter_payload(
        &mut self,
        packet: &Packet,
        payload: &[u8],
        direction: Direction,
    ) -> Result<(), (Event, Option<Vec<u8>>)> {
        let Some(connection) = connection(packet, direction) else { return Ok(()) };
        let state = self.connections.entry(connection).or_default();
        let carried = match direction {
            Direction::Up => &mut state.payload_up,
            Direction::Down => &mut state.payload_down,
        };
        *carried += payload.len();
        if self.rules.cut_after.is_some_and(|limit| *carried > limit) {
            return Err((Event::Cut, None));
        }
        if direction == Direction::Down {
            return Ok(());
        }
        if !state.has_begun {
            state.has_begun = true;
            state.drop_reason = judge_hello(payload, &self.rules);
        }
        match state.drop_reason {
            None => Ok(()),
            Some(event) => {
                let resets = event == Event::NameFiltered && self.rules.name.as_ref().is_some_and(|name| name.resets);
                Err((event, if resets { packet.reset() } else { None }))
            }
        }
    }

    /// The largest outer packet that currently passes on this connection's path.
    fn limit(&mut self, packet: &Packet, direction: Direction) -> Option<usize> {
        let server = if direction == Direction::Up { packet.destination } else { packet.source };
        if self.rules.limited_server.is_some_and(|limited| limited != server) {
            return None;
        }
        let second = self.rules.unequal.filter(|_| self.takes_second(packet, direction));
        let rules = self.rules.of(direction);
        let passed = match direction {
            Direction::Up => self.up.passed,
            Direction::Down => self.down.passed,
        };
        let fallen = rules.fall.filter(|fall| passed >= fall.after).map(|fall| fall.to);
        [rules.limit, fallen, second].into_iter().flatten().min()
    }

    /// A router's choice between two paths of equal cost. Both directions of a connection take the
    /// same path.
    fn takes_second(&mut self, packet: &Packet, direction: Direction) -> bool {
        let Some(connection) = connection(packet, direction) else { return false };
        let (random, chosen) = (&mut self.choices, &mut self.takes_second);
        *chosen.entry(connection).or_insert_with(|| random.bool())
    }

    fn report(&self, packet: &Packet, direction: Direction, limit: usize) -> Option<Vec<u8>> {
        let mtu = match self.rules.of(direction).report {
            Report::Silent => return None,
            Report::Claim(mtu) => mtu,
            Report::Limit => u16::try_from(self.rules.carried(limit)).ok()?,
        };
        packet.too_big(mtu, self.rules.router)
    }

    /// The time at which the bottleneck has sent the packet.
    fn through_bottleneck(
        &mut self,
        size: usize,
        direction: Direction,
        now: Duration,
    ) -> Result<Duration, (Event, Option<Vec<u8>>)> {
        let Some(bottleneck) = self.rules.of(direction).bottleneck else { return Ok(now) };
        let seconds = |bytes: f64| Duration::from_secs_f64(bytes * 8.0 / f64::from(bottleneck.rate));
        let state = self.state(direction);
        let begins = state.free_at.max(now);
        if begins.saturating_sub(now) > seconds(f64::from(bottleneck.queue)) {
            return Err((Event::QueueFull, None));
        }
        state.free_at = begins + seconds(bytes_as_f64(size));
        Ok(state.free_at)
    }

    fn delay(&mut self, direction: Direction) -> Duration {
        let DirectionRules { delay, jitter, .. } = *self.rules.of(direction);
        delay + jitter.mul_f64(self.random.f64())
    }

    fn remember(&mut self, packet: &Packet, direction: Direction) {
        let counts = |fall: Fall| matches!(&packet.content, Content::Tcp(tcp) if tcp.payload().len() >= fall.payload);
        if self.rules.of(direction).fall.is_some_and(counts) {
            self.state(direction).passed += 1;
        }
    }

    fn state(&mut self, direction: Direction) -> &mut DirectionState {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn count(&mut self, direction: Direction, event: Event) {
        *self.counts.entry((direction, event)).or_default() += 1;
    }
}

impl DirectionState {
    /// Whether a policer lets a packet of `size` bytes pass. If so, takes the tokens from the
    /// bucket.
    fn conforms(&mut self, policer: Policer, size: usize, now: Duration) -> bool {
        let burst = f64::from(policer.burst);
        let (tokens, since) = self.tokens.unwrap_or((burst, now));
        let tokens = (tokens + (now.saturating_sub(since)).as_secs_f64() * f64::from(policer.rate)).min(burst);
        let left = tokens - bytes_as_f64(size);
        self.tokens = Some((if left < 0.0 { tokens } else { left }, now));
        left >= 0.0
    }
}

impl Rules {
    /// The largest inner packet whose outer packet has at most `outer` bytes.
    #[must_use]
    pub fn carried(&self, outer: usize) -> usize {
        let fits = |inner: &usize| self.padding.is_none_or(|padding| padding.outer(*inner) <= outer);
        (0..=outer).rev().find(fits).unwrap_or_default()
    }

    /// The largest packet that passes in this direction after all changes, on the wider of two
    /// paths. `None` without a limit.
    #[must_use]
    pub fn truth(&self, direction: Direction) -> Option<usize> {
        let rules = self.of(direction);
        let limits = [rules.limit, rules.fall.map(|fall| fall.to)];
        limits.into_iter().flatten().min().map(|limit| self.carried(limit))
    }
}

/// The reason to drop a connection, if its first payload gives one.
fn judge_hello(payload: &[u8], rules: &Rules) -> Option<Event> {
    /// A TLS record of the handshake (RFC 8446, section 5.1); its length follows two bytes of
    /// version.
    const HANDSHAKE: u8 = 22;
    let [HANDSHAKE, _, _, high, low, ..] = payload else { return None };
    let record = usize::from(u16::from_be_bytes([*high, *low])) + 5;
    let named = |name: &str| payload.windows(name.len()).any(|window| window == name.as_bytes());
    let is_filtered = |name: &Option<String>| name.as_deref().is_none_or(named);
    if rules.name.as_ref().is_some_and(|filter| is_filtered(&filter.name)) {
        Some(Event::NameFiltered)
    } else if rules.hello_limit.is_some_and(|limit| record > limit) {
        Some(Event::HelloDropped)
    } else {
        None
    }
}

/// Client and server with their ports, the same for both directions.
fn connection(packet: &Packet, direction: Direction) -> Option<Connection> {
    let (from, to) = packet.ports()?;
    Some(match direction {
        Direction::Up => (packet.source, from, packet.destination, to),
        Direction::Down => (packet.destination, to, packet.source, from),
    })
}

fn bytes_as_f64(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[path = "judge_tests.rs"]
mod tests;
