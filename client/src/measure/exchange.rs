//! The part that all connections of a check share: connect, send a hello, read the answer.

use std::time::Duration;

use nix::errno::Errno;

use super::hello::{Answer, answer, is_whole};
use super::tcp_info::{ESTABLISHED, SYN_SENT, TcpInfo};

/// A moment, as the time since the check began.
pub(super) type Moment = Duration;

/// How a connection is opened. Sizes are those of whole IP packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// The largest packet that the SYN announces; the server sends none larger. `None` leaves it to
    /// the kernel.
    pub(super) announced: Option<u16>,
    /// The largest packet to send, if the server and the path MTU allow it. `None` leaves it to the
    /// kernel.
    pub(super) sent: Option<u16>,
}

/// One observation of a connection.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    /// The time of the observation.
    pub(super) now: Moment,
    /// The kernel's `TCP_INFO`; the last known one if the connection is gone.
    pub(super) info: TcpInfo,
    /// The pending error of the connection.
    pub(super) error: Option<Errno>,
    /// The server has sent a FIN.
    pub(super) closed: bool,
    /// By how much observations may be late on this machine. Every wait is this much longer.
    pub(super) slack: Duration,
}

/// The next action with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing yet.
    Wait,
    /// Write this, in one call.
    Send(Vec<u8>),
    /// Close it.
    End,
}

/// Upper bound on the received bytes that are kept: a server's flight has 2 to 6 kB.
const MAX_KEPT: usize = 64 << 10;

/// The state of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    /// The connection has IPv6 addresses.
    pub(super) ipv6: bool,
    /// When it was opened.
    pub(super) opened_at: Moment,
    /// When it was established.
    pub(super) connected_at: Option<Moment>,
    /// When the hello was written, and its length.
    pub(super) hello_at: Option<Moment>,
    pub(super) hello_length: u64,
    /// When the first and the latest bytes arrived.
    pub(super) first_at: Option<Moment>,
    pub(super) latest_at: Option<Moment>,
    /// The bytes that arrived.
    pub(super) received: Vec<u8>,
    /// The error that ended the connection.
    pub(super) error: Option<Errno>,
    /// The server has closed the connection with a FIN.
    pub(super) closed: bool,
    /// The latest `TCP_INFO`.
    pub(super) info: TcpInfo,
    /// The time of the latest observation.
    pub(super) seen_at: Moment,
}

impl Exchange {
    /// Takes in an observation, and the bytes that were read since the last one. `false` if the
    /// connection is not established yet, or has failed.
    pub(super) fn take(&mut self, seen: &Observation, new: &[u8]) -> bool {
        self.seen_at = seen.now;
        if seen.error.is_none() || seen.info.state == ESTABLISHED {
            self.info = seen.info;
        }
        if self.connected_at.is_none() && seen.error.is_none() && seen.info.state != SYN_SENT {
            self.connected_at = Some(seen.now);
        }
        if !new.is_empty() {
            self.first_at.get_or_insert(seen.now);
            self.latest_at = Some(seen.now);
            let room = MAX_KEPT.saturating_sub(self.received.len());
            self.received.extend_from_slice(new.get(..room).unwrap_or(new));
        }
        self.closed |= seen.closed;
        self.error = self.error.or(seen.error);
        self.connected_at.is_some() && self.error.is_none()
    }

    /// The IP and TCP headers of a segment with data, options included.
    pub(super) fn headers(&self) -> u16 {
        let timestamps = if self.info.has_timestamps() { 12 } else { 0 };
        fixed_headers(self.ipv6) + timestamps
    }

    /// The round trip by which waits are scaled: the smoothed one, or the shortest if there is no
    /// smoothed one yet.
    pub(super) fn rtt(&self) -> Duration {
        let shortest = if self.info.min_rtt == u32::MAX { 0 } else { self.info.min_rtt };
        Duration::from_micros(self.info.rtt.max(shortest).into())
    }

    /// The shortest round trip, once one was measured.
    pub(super) fn min_rtt(&self) -> Option<Duration> {
        let micros = self.info.min_rtt;
        (self.connected_at.is_some() && micros != 0 && micros != u32::MAX).then(|| Duration::from_micros(micros.into()))
    }

    /// Whether the whole hello is acknowledged.
    pub(super) fn hello_arrived(&self) -> bool {
        self.hello_at.is_some() && self.info.bytes_acked >= self.hello_length
    }

    pub(super) fn answer(&self) -> Answer {
        answer(&self.received)
    }

    pub(super) fn is_whole(&self) -> bool {
        is_whole(&self.received)
    }

    /// Whether the server ended the connection with a reset.
    pub(super) fn was_reset(&self) -> bool {
        self.error == Some(Errno::ECONNRESET) || self.error == Some(Errno::EPIPE)
    }

    /// The time since the hello or the latest bytes.
    pub(super) fn quiet_for(&self) -> Duration {
        let since = self.hello_at.max(self.latest_at).unwrap_or(self.seen_at);
        self.seen_at.saturating_sub(since)
    }

    /// The facts that the rest of the check needs.
    pub(super) fn summary(&self) -> ConnectionSummary {
        let connected = self.connected_at.is_some();
        ConnectionSummary {
            connected,
            error: self.error,
            ended_after: self.seen_at.saturating_sub(self.opened_at),
            answer: self.answer(),
            hello_arrived: self.hello_arrived(),
            was_reset: connected && self.was_reset(),
            min_rtt: self.min_rtt(),
            rtt: self.rtt(),
            first_byte_after: self.first_at.zip(self.hello_at).map(|(first, hello)| first.saturating_sub(hello)),
        }
    }
}

/// The server's behaviour on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectionSummary {
    /// TCP was established.
    pub(super) connected: bool,
    /// The error that ended it.
    pub(super) error: Option<Errno>,
    /// How long the connection lived.
    pub(super) ended_after: Duration,
    /// The answer.
    pub(super) answer: Answer,
    /// The hello was acknowledged.
    pub(super) hello_arrived: bool,
    /// It ended with a reset after it was established.
    pub(super) was_reset: bool,
    /// The shortest round trip.
    pub(super) min_rtt: Option<Duration>,
    /// The smoothed round trip.
    pub(super) rtt: Duration,
    /// From the hello to the first byte of the answer.
    pub(super) first_byte_after: Option<Duration>,
}

/// The IP and TCP headers without options: an MSS is a packet without these (RFC 9293, section
/// 3.7.1).
#[must_use]
pub(super) fn fixed_headers(ipv6: bool) -> u16 {
    if ipv6 { 60 } else { 40 }
}
