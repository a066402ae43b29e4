//! A simulated path in virtual time, with those parts of Linux's TCP at both ends that measuring
//! depends on. It drives the search without sockets, so that a hundred thousand paths take a
//! minute.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod faults;
mod tcp;
mod truth;

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;

pub(super) use faults::Faults;
use tcp::{InFlight, Receiver, Sender};

use super::exchange::{Moment, Observation, Opening, fixed_headers};
use super::run::Transport;
use super::socket::{ESTABLISHED, SACK, SYN_SENT, TIMESTAMPS, TcpInfo};

/// Time between two observations.
const INTERVAL: Duration = Duration::from_millis(2);

/// When the SYNs of a connection are sent.
const SYNS: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(7)];

enum Event {
    Connected,
    /// A segment arrives at the server (`true`) or at us.
    Segment(bool, InFlight),
    /// An acknowledgement of our data (`true`) or the server's: the cumulative number, and the SACK
    /// blocks.
    Acked(bool, u64, Vec<(u64, u64)>),
    /// The server answers.
    Answer,
    /// The report of a router with the size that fits, to us (`true`) or to the server.
    TooBig(bool, u16),
    RackTimer(bool),
    Timer(bool),
}

struct Connection {
    open: bool,
    connected: bool,
    ours: Sender,
    theirs: Sender,
    arrived: Receiver,
    received: Receiver,
    advmss: u16,
    pmtu: u16,
    /// The path MTU of the second path, if it takes that one.
    second: Option<u16>,
    /// The smoothed round trip and the shortest one, and the SYNs after the first.
    rtt: Duration,
    min_rtt: Duration,
    syns_again: u32,
    /// The hello has arrived at the server; and its length.
    hello: bool,
    taken: u64,
    /// Bytes that the measurement has read.
    read: usize,
}

/// A simulated path and the connections on it.
pub(super) struct SimulatedPath {
    pub(super) faults: Faults,
    now: Duration,
    random: fastrand::Rng,
    connections: Vec<Connection>,
    events: BTreeMap<(Duration, u64), (usize, Event)>,
    count: u64,
    learnt: Option<u16>,
    buckets: [(f64, Duration); 2],
    late: Duration,
    flight: Vec<u8>,
    /// The largest packet that the path carried, up and down.
    pub(super) carried: [u16; 2],
}

impl SimulatedPath {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        let burst = faults.policer.map_or(0.0, |(_, burst)| f64::from(burst));
        Self {
            now: Duration::ZERO,
            random: fastrand::Rng::with_seed(seed),
            connections: Vec::new(),
            events: BTreeMap::new(),
            count: 0,
            learnt: faults.learnt,
            buckets: [(burst, Duration::ZERO); 2],
            late: Duration::ZERO,
            flight: flight(faults.flight),
            carried: [0; 2],
            faults,
        }
    }

    /// The largest size that a search may try.
    pub(super) fn top(&self) -> u16 {
        self.faults.learnt.unwrap_or(self.faults.link).min(self.faults.link)
    }

    fn at(&mut self, after: Duration, connection: usize, event: Event) {
        self.count += 1;
        self.events.insert((self.now + after, self.count), (connection, event));
    }

    fn is_lost(&mut self) -> bool {
        self.faults.loss > 0.0 && self.random.f64() < self.faults.loss
    }

    /// Whether the policer drops a packet of this size.
    fn is_policed(&mut self, up: bool, size: u16) -> bool {
        let Some((rate, burst)) = self.faults.policer else { return false };
        let (tokens, since) = &mut self.buckets[usize::from(up)];
        *tokens =
            (*tokens + self.now.checked_sub(*since).unwrap().as_secs_f64() * f64::from(rate)).min(f64::from(burst));
        *since = self.now;
        let passes = *tokens >= f64::from(size);
        *tokens -= if passes { f64::from(size) } else { 0.0 };
        !passes
    }

    fn delay(&mut self) -> Duration {
        let jitter = u64::try_from(self.faults.jitter.as_micros()).unwrap();
        let late = if jitter == 0 { 0 } else { self.random.u64(..jitter) };
        self.faults.rtt / 2 + Duration::from_micros(late)
    }

    /// Sends segments with data over the path.
    fn send(&mut self, connection: usize, up: bool, segments: Vec<InFlight>) {
        for segment in segments {
            let blocks = if up { self.connections[connection].ours.blocks } else { 0 };
            let size = segment.length + self.faults.headers() + blocks;
            let second = self.connections[connection].second;
            let mtu = self.faults.mtu(up, self.now).min(second.unwrap_or(u16::MAX));
            if size > mtu {
                let reported = if up { self.faults.reports_up } else { self.faults.reports_down };
                if reported && !self.is_lost() {
                    let delay = self.delay();
                    self.at(delay, connection, Event::TooBig(up, mtu));
                }
                continue;
            }
            if self.is_policed(up, size) || self.is_lost() {
                continue;
            }
            self.carried[usize::from(up)] = self.carried[usize::from(up)].max(size);
            let delay = self.delay();
            self.at(delay, connection, Event::Segment(up, segment));
        }
        self.arm(connection, up);
    }

    /// Adds a sender's timers to the events.
    fn arm(&mut self, connection: usize, ours: bool) {
        let one = &self.connections[connection];
        let sender = if ours { &one.ours } else { &one.theirs };
        let (rack_timer, timer) = (sender.rack_timer, sender.timer);
        if let Some(rack_timer) = rack_timer {
            self.at(rack_timer.saturating_sub(self.now), connection, Event::RackTimer(ours));
        }
        if let Some(timer) = timer {
            self.at(timer.saturating_sub(self.now), connection, Event::Timer(ours));
        }
    }

    fn handle_event(&mut self, connection: usize, event: Event) {
        if !self.connections[connection].open {
            return;
        }
        match event {
            Event::Connected => self.connections[connection].connected = true,
            Event::Segment(up, segment) => self.arrive(connection, up, segment),
            Event::Acked(up, upto, sacked) => {
                let now = self.now;
                let sacked = if self.faults.sack { sacked } else { Vec::new() };
                let (rtt, one) = (self.faults.rtt, &mut self.connections[connection]);
                if up && upto > one.ours.acked {
                    // The weight of a new sample is an eighth (RFC 6298, section 2.3).
                    one.rtt = (one.rtt * 7 + rtt) / 8;
                    one.min_rtt = one.min_rtt.min(rtt);
                }
                let sender = self.sender(connection, up);
                sender.acknowledge(upto, &sacked, now);
                self.arm(connection, up);
            }
            Event::Answer => {
                let (length, now) = (self.flight.len(), self.now);
                let segments = self.connections[connection].theirs.write(length, now);
                self.send(connection, false, segments);
            }
            Event::TooBig(ours, mtu) => self.shrink(connection, ours, mtu),
            Event::RackTimer(ours) => {
                let now = self.now;
                if self.sender(connection, ours).rack_timer.is_some_and(|at| at <= now) {
                    self.sync(connection, ours);
                    let segments = self.sender(connection, ours).rack_retransmit(now);
                    self.send(connection, ours, segments);
                }
            }
            Event::Timer(ours) => {
                let now = self.now;
                if self.sender(connection, ours).timer.is_some_and(|at| at <= now) {
                    self.sync(connection, ours);
                    let segments = self.sender(connection, ours).expire(now);
                    self.send(connection, ours, segments);
                }
            }
        }
    }

    fn sender(&mut self, connection: usize, ours: bool) -> &mut Sender {
        let one = &mut self.connections[connection];
        if ours { &mut one.ours } else { &mut one.theirs }
    }

    fn arrive(&mut self, connection: usize, up: bool, segment: InFlight) {
        let one = &mut self.connections[connection];
        let receiver = if up { &mut one.arrived } else { &mut one.received };
        receiver.take(segment);
        let (upto, pieces) = (receiver.next, receiver.pieces());
        if !self.is_lost() {
            let delay = self.delay();
            self.at(delay, connection, Event::Acked(up, upto, pieces));
        }
        let one = &mut self.connections[connection];
        // The server waits for the whole hello, whose length it knows from the record.
        if up && !one.hello && one.arrived.next >= one.taken && one.taken > 0 {
            one.hello = true;
            let thinks = self.faults.thinks;
            self.at(thinks, connection, Event::Answer);
        }
    }

    /// A router's report has arrived.
    fn shrink(&mut self, connection: usize, ours: bool, mtu: u16) {
        if ours {
            self.learnt = Some(self.learnt.map_or(mtu, |known| known.min(mtu)));
            self.sync(connection, true);
        } else {
            let (mss, now) = (mtu - self.faults.headers(), self.now);
            let segments = self.connections[connection].theirs.shrink(mss, now);
            self.send(connection, false, segments);
        }
    }

    /// Our kernel applies the path MTU that any connection has learnt before it sends.
    fn sync(&mut self, connection: usize, ours: bool) {
        let (headers, now) = (self.faults.headers(), self.now);
        let one = &mut self.connections[connection];
        // SACK blocks for data that arrived out of order leave less room in what is sent.
        let pieces = u16::try_from(one.received.pieces().len().min(3)).unwrap();
        one.ours.blocks = if ours && pieces > 0 && self.faults.sack { 4 + 8 * pieces } else { 0 };
        if let Some(learnt) = self.learnt.filter(|learnt| ours && *learnt < one.pmtu) {
            one.pmtu = learnt;
            let segments = one.ours.shrink(learnt - headers, now);
            self.send(connection, true, segments);
        }
    }

    fn info(&self, one: &Connection) -> TcpInfo {
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap();
        let (unacked, sacked) = one.ours.unacked();
        let guess = 536.min(one.advmss);
        TcpInfo {
            state: if one.connected { ESTABLISHED } else { SYN_SENT },
            retransmits: one.ours.retransmits,
            options: (if self.faults.sack { SACK } else { 0 }) | if self.faults.timestamps { TIMESTAMPS } else { 0 },
            snd_mss: one.ours.mss.into(),
            rcv_mss: one.received.largest.min(one.advmss).max(guess).into(),
            unacked,
            sacked,
            pmtu: one.pmtu.into(),
            rtt: if one.connected { micros(one.rtt) } else { 0 },
            snd_cwnd: 10,
            advmss: one.advmss.into(),
            total_retrans: one.ours.sent_again + one.syns_again,
            bytes_acked: one.ours.acked + 1,
            notsent: 0,
            min_rtt: if one.connected { micros(one.min_rtt) } else { u32::MAX },
            data_segs_in: one.received.segments,
            data_segs_out: one.ours.segments,
            rcv_ooopack: one.received.early,
            dsack_dups: one.arrived.duplicates,
            reord_seen: one.ours.reordered,
        }
    }

    /// The time until the handshake is complete, the round trip that the kernel derives from it,
    /// and the SYNs after the first. `None` if every attempt is lost. The SYN-ACK has the time of
    /// the first SYN that arrived, so a lost one makes the round trip seem long.
    fn handshake(&mut self) -> Option<(Duration, Duration, u32)> {
        let mut arrived = None;
        for (again, at) in (0..).zip(SYNS) {
            if self.is_lost() {
                continue;
            }
            let first = *arrived.get_or_insert(at);
            if !self.is_lost() {
                let trip = self.delay() + self.delay();
                return Some((at + trip, at.checked_sub(first).unwrap() + trip, again));
            }
        }
        None
    }
}

impl Transport for SimulatedPath {
    type Socket = usize;

    fn now(&self) -> Moment {
        self.now
    }

    fn pause(&mut self) {
        let stalls = self.faults.stalls > 0 && self.random.u32(..1000) < self.faults.stalls;
        let late = if stalls { self.faults.stall } else { Duration::ZERO };
        self.late = late.max(self.late.checked_sub(self.late / 64).unwrap());
        // If nothing happens, observations may be further apart.
        let next = self.events.keys().next().map_or(Duration::MAX, |(at, _)| *at);
        let until = next.clamp(self.now + INTERVAL, self.now + INTERVAL * 6) + late;
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), (connection, event)) = entry.remove_entry();
            self.now = self.now.max(at);
            self.handle_event(connection, event);
        }
        self.now = until;
    }

    fn open(&mut self, opening: Opening) -> Result<usize, Errno> {
        let fixed = fixed_headers(self.faults.ipv6);
        let options = self.faults.headers() - fixed;
        let pmtu = self.learnt.unwrap_or(self.faults.link).min(self.faults.link);
        let announced = opening.announced.unwrap_or(pmtu).min(pmtu) - fixed;
        let heard = self.faults.clamp_syn.map_or(announced, |clamp| clamp.min(announced));
        let offered =
            self.faults.clamp_syn_ack.map_or(self.faults.server_mss, |clamp| clamp.min(self.faults.server_mss));
        let sent = if self.faults.tied { opening.announced } else { opening.sent };
        let ours = offered.min(sent.unwrap_or(u16::MAX) - fixed).min(pmtu - fixed) - options;
        let theirs = heard.min(self.faults.server_mss) - options;
        let rtt = self.faults.rtt;
        let second = if self.faults.second.is_some() && self.random.bool() { self.faults.second } else { None };
        self.connections.push(Connection {
            open: true,
            connected: false,
            ours: Sender::new(ours, rtt, false),
            theirs: Sender::new(theirs, rtt, self.faults.server_probes),
            arrived: Receiver::default(),
            received: Receiver::default(),
            advmss: announced - options,
            pmtu,
            second,
            rtt,
            min_rtt: rtt,
            syns_again: 0,
            hello: false,
            taken: 0,
            read: 0,
        });
        let socket = self.connections.len() - 1;
        if let Some((after, trip, again)) = self.handshake() {
            let one = &mut self.connections[socket];
            (one.rtt, one.min_rtt, one.syns_again) = (trip, trip, again);
            self.at(after, socket, Event::Connected);
        }
        Ok(socket)
    }

    fn observe(&mut self, socket: &mut usize, received: &mut Vec<u8>) -> Observation {
        let one = &mut self.connections[*socket];
        let upto = usize::try_from(one.received.next).unwrap();
        received.extend_from_slice(&self.flight[one.read..upto]);
        one.read = upto;
        let info = self.info(&self.connections[*socket]);
        Observation { now: self.now, info, error: None, closed: false, slack: self.late * 4 }
    }

    fn send(&mut self, socket: &mut usize, bytes: &[u8]) -> Result<(), Errno> {
        self.sync(*socket, true);
        let now = self.now;
        let one = &mut self.connections[*socket];
        // The server waits for the rest of an incomplete record.
        let whole = bytes.len() == 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        if one.taken == 0 && whole {
            one.taken = bytes.len() as u64;
        }
        let segments = one.ours.write(bytes.len(), now);
        self.send(*socket, true, segments);
        Ok(())
    }

    fn reset(&mut self, socket: usize) {
        self.connections[socket].open = false;
    }
}

/// A server's flight of this many bytes, in the form of TLS 1.3.
fn flight(length: u32) -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 3, 0, 122];
    bytes.resize(127, 2);
    bytes.extend([0x14, 3, 3, 0, 1, 1]);
    let rest = u16::try_from(length.saturating_sub(138)).unwrap();
    bytes.extend([0x17, 3, 3]);
    bytes.extend(rest.to_be_bytes());
    bytes.resize(bytes.len() + usize::from(rest), 9);
    bytes
}
