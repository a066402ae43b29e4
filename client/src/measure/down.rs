//! Measures whether the server's packets of one size arrive. Pure: observations of a connection in,
//! actions out.

use std::time::Duration;

use super::exchange::{Action, ConnectionSummary, Exchange, Observation, Opening, fixed_headers, hello};

/// The smallest packet by which the direction down is judged, in bytes: every IPv4 host takes 576
/// (RFC 1122, section 3.3.2).
pub(super) const BASE: u16 = 576;

/// The packet that corresponds to an MSS of 536, the smallest that is announced.
#[must_use]
pub(super) fn base(ipv6: bool) -> u16 {
    BASE - fixed_headers(false) + fixed_headers(ipv6)
}

/// How a connection down ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DownEnding {
    /// A packet of this size arrived.
    Full,
    /// The server's whole flight arrived, in smaller packets.
    Short,
    /// The packets of this size are missing.
    Hole,
    /// The hello was acknowledged, and nothing came back.
    Silent,
    /// It ended in a way that shows nothing about sizes: it did not connect, the hello was lost, or
    /// time ran out.
    Unclear,
}

/// The outcome of one connection down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DownOutcome {
    /// The size that was announced.
    pub(super) size: u16,
    /// The connection was given the time that a verdict needs.
    pub(super) strict: bool,
    /// How it ended.
    pub(super) ending: DownEnding,
    /// The largest packet that arrived, if `TCP_INFO` shows it.
    pub(super) largest: Option<u16>,
    /// The kernel announced no more than this, because it had learnt a path MTU.
    pub(super) masked: Option<u16>,
    /// The server filled a hole in its flight with smaller packets.
    pub(super) healed: bool,
    /// The server's behaviour on the connection.
    pub(super) summary: ConnectionSummary,
}

impl DownOutcome {
    /// Whether packets of the size are missing although the server had time to repeat them.
    pub(super) fn is_missing(&self) -> bool {
        self.strict && matches!(self.ending, DownEnding::Hole | DownEnding::Silent)
    }
}

/// One connection that announces a size and looks for a packet of it.
#[derive(Clone, Debug)]
pub(super) struct Down {
    pub(super) exchange: Exchange,
    name: Option<String>,
    size: u16,
    strict: bool,
    padding: u16,
    hole_at: Option<Duration>,
    largest: Option<u16>,
    masked: Option<u16>,
    ending: Option<DownEnding>,
    healed: bool,
    suspect: bool,
    answers_after: Duration,
}

impl Down {
    /// A connection that sends a hello with this name and announces packets of `size` bytes.
    pub(super) fn new(ipv6: bool, name: Option<&str>, size: u16, strict: bool) -> Self {
        Self {
            exchange: Exchange { ipv6, ..Exchange::default() },
            name: name.map(str::to_owned),
            size,
            strict,
            padding: 0,
            hole_at: None,
            largest: None,
            masked: None,
            ending: None,
            healed: false,
            suspect: false,
            answers_after: Duration::ZERO,
        }
    }

    /// Waits longer for the first byte, for a server that has needed this long before.
    pub(super) fn with_answer_time(self, answers_after: Duration) -> Self {
        Self { answers_after, ..self }
    }

    /// The same connection with a hello that is `padding` bytes longer, sent in packets of `BASE`
    /// bytes.
    pub(super) fn padded(self, padding: u16) -> Self {
        Self { padding, ..self }
    }

    /// Whether it sends a large hello.
    pub(super) fn is_padded(&self) -> bool {
        self.padding > 0
    }

    /// Whether a hole shows, which may also come from loss.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Whether a packet of the size has arrived, so that nothing more is waited for.
    pub(super) fn is_full(&self) -> bool {
        self.ending == Some(DownEnding::Full)
    }

    pub(super) fn opening(&self) -> Opening {
        Opening { announced: Some(self.size), sent: Some(base(self.exchange.ipv6)) }
    }

    /// The action after an observation.
    pub(super) fn step(&mut self, seen: &Observation, new: &[u8]) -> Action {
        if !self.exchange.take(seen, new) {
            return if self.exchange.error.is_some() { self.end(DownEnding::Unclear) } else { Action::Wait };
        }
        if self.exchange.hello_at.is_none() {
            let hello = hello(self.name.as_deref(), self.padding);
            self.exchange.hello_at = Some(seen.now);
            self.exchange.hello_length = hello.len() as u64;
            return Action::Send(hello);
        }
        self.measure();
        self.judge(seen).map_or(Action::Wait, |ending| self.end(ending))
    }

    fn end(&mut self, ending: DownEnding) -> Action {
        self.ending = Some(ending);
        Action::End
    }

    /// Reads sizes from `TCP_INFO`. Before a segment has arrived, `rcv_mss` is a guess of at most
    /// 536 bytes, so a value up to that proves nothing but `BASE`.
    fn measure(&mut self) {
        let info = &self.exchange.info;
        let headers = self.exchange.headers();
        if info.data_segs_in > 0 && info.rcv_mss > DEFAULT_MSS {
            let size = u16::try_from(info.rcv_mss).unwrap_or(u16::MAX).saturating_add(headers);
            self.largest = self.largest.max(Some(size));
        }
        let announced = info.advmss + u32::from(headers);
        if info.advmss > 0 && announced < u32::from(self.size) {
            self.masked = u16::try_from(announced).ok();
        }
        if info.rcv_ooopack > 0 {
            self.hole_at.get_or_insert(self.exchange.seen_at);
        }
    }

    fn judge(&mut self, seen: &Observation) -> Option<DownEnding> {
        let exchange = &self.exchange;
        let rtt = exchange.rtt();
        if self.size <= base(exchange.ipv6) && exchange.first_at.is_some() {
            // Packets of this size cannot be told from smaller ones: that data arrives is all there
            // is to see.
            return Some(DownEnding::Short);
        }
        if self.largest.is_some_and(|largest| largest >= self.size) {
            return Some(DownEnding::Full);
        }
        // Up to this size `rcv_mss` does not tell packets of the size from smaller ones.
        let is_told = u32::from(self.size) > DEFAULT_MSS + u32::from(exchange.headers());
        let short = if is_told { DownEnding::Short } else { DownEnding::Unclear };
        if exchange.closed {
            let all = exchange.is_whole() && exchange.info.rcv_ooopack == 0;
            return Some(if all { short } else { DownEnding::Unclear });
        }
        let quiet = exchange.quiet_for();
        if !exchange.received.is_empty() && quiet > Duration::from_millis(60).max(rtt * 3 / 2) && exchange.is_whole() {
            self.healed = self.hole_at.is_some();
            return Some(short);
        }
        // A lost segment that fits would have been repeated and have arrived by now: RACK repeats
        // it after about a quarter of a round trip.
        let quick = |hole: Duration| {
            quiet > rtt * 11 / 4 + ANSWER_TIME + seen.slack
                && seen.now.saturating_sub(hole) > rtt * 5 / 2 + ANSWER_TIME + seen.slack
        };
        self.suspect |= self.hole_at.is_some_and(quick);
        if self.suspect && !self.strict {
            return Some(DownEnding::Hole);
        }
        // Within 1.4 s a Linux server sends a lost segment three or four times.
        let timeout = Duration::from_millis(if self.strict { 1400 } else { 1200 }).max(rtt * 6);
        let first = if exchange.first_at.is_none() { self.answers_after * 3 } else { Duration::ZERO };
        if quiet <= timeout + first + seen.slack {
            return None;
        }
        Some(match exchange.hello_arrived() {
            false => DownEnding::Unclear,
            true if exchange.info.data_segs_in > 0 => DownEnding::Hole,
            true => DownEnding::Silent,
        })
    }

    /// The outcome. A connection without an ending of its own ran out of time.
    pub(super) fn outcome(self) -> DownOutcome {
        let unfinished = if self.suspect { DownEnding::Hole } else { DownEnding::Unclear };
        DownOutcome {
            size: self.size,
            strict: self.strict && self.ending.is_some(),
            ending: self.ending.unwrap_or(unfinished),
            largest: self.largest,
            masked: self.masked,
            healed: self.healed,
            summary: self.exchange.summary(),
        }
    }
}

/// `TCP_MSS_DEFAULT` of `linux/tcp.h`: the upper bound on the kernel's guess before a segment has
/// arrived (`tcp_initialize_rcv_mss`).
const DEFAULT_MSS: u32 = 536;

/// Time for the server's answer, in addition to round trips.
const ANSWER_TIME: Duration = Duration::from_millis(60);
