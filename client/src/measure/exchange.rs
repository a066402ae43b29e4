//! The exchange that all connections of a check share: connect, send a hello, read the answer.
//!
//! The hello is a TLS `ClientHello` (RFC 8446, section 4.1.2), built by hand. It makes a server
//! send its certificates and needs no cryptography: nothing that comes back is decrypted, trusted
//! or kept.

use std::time::Duration;

use nix::errno::Errno;

use super::socket::{ESTABLISHED, SYN_SENT, TcpInfo};

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
    /// When it was established, and whether a SYN was retransmitted before.
    pub(super) connected_at: Option<Moment>,
    pub(super) has_repeated_syn: bool,
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
            self.has_repeated_syn = seen.info.total_retrans > 0;
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
    /// smoothed one yet. After a lost SYN-ACK the smoothed one is of no use, because it begins with
    /// the time until the next SYN-ACK.
    pub(super) fn rtt(&self) -> Duration {
        let shortest = if self.info.min_rtt == u32::MAX { 0 } else { self.info.min_rtt };
        let smoothed = if self.has_repeated_syn { 0 } else { self.info.rtt };
        Duration::from_micros(smoothed.max(shortest).into())
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
        let has_timed_syn_only = self.has_repeated_syn && !self.hello_arrived();
        ConnectionSummary {
            connected,
            error: self.error,
            ended_after: self.seen_at.saturating_sub(self.opened_at),
            answer: self.answer(),
            hello_arrived: self.hello_arrived(),
            repeats: self.info.total_retrans + self.info.rcv_ooopack,
            was_reset: connected && self.was_reset(),
            min_rtt: self.min_rtt(),
            rtt: if has_timed_syn_only { Duration::ZERO } else { self.rtt() },
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
    /// How often a segment was repeated, or one of the server's arrived before a missing one.
    pub(super) repeats: u32,
    /// It ended with a reset after it was established.
    pub(super) was_reset: bool,
    /// The shortest round trip.
    pub(super) min_rtt: Option<Duration>,
    /// The round trip by which waits are scaled; zero if there is none that can be relied on.
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

/// `x25519` and `secp256r1`. No hybrid group: its key share would make every hello larger than a
/// packet.
const GROUPS: [u8; 4] = [0x00, 0x1d, 0x00, 0x17];

/// ECDSA and RSA with SHA-256 to SHA-512, as browsers offer them.
const SIGNATURES: [u8; 18] = [4, 3, 8, 4, 8, 7, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1, 5, 3];

/// The three suites of TLS 1.3, and those of TLS 1.2 with forward secrecy, RSA last.
const SUITES: [u8; 24] = [
    0x13, 0x01, 0x13, 0x03, 0x13, 0x02, 0xc0, 0x2b, 0xc0, 0x2f, 0xcc, 0xa9, 0xcc, 0xa8, 0xc0, 0x2c, 0xc0, 0x30, 0xc0,
    0x09, 0xc0, 0x13, 0x00, 0x9c,
];

/// A hello for the server `name`, or for none. Padding (RFC 7685) makes it `padding` bytes longer.
#[must_use]
pub(super) fn hello(name: Option<&str>, padding: u16) -> Vec<u8> {
    let mut extensions = Vec::new();
    // An address is no server name (RFC 6066, section 3).
    if let Some(name) = name {
        extension(&mut extensions, 0, &prefixed(&[&[0], prefixed(name.as_bytes()).as_slice()].concat()));
    }
    extension(&mut extensions, 10, &prefixed(&GROUPS));
    extension(&mut extensions, 11, &[1, 0]);
    extension(&mut extensions, 13, &prefixed(&SIGNATURES));
    extension(&mut extensions, 16, &prefixed(b"\x08http/1.1"));
    extension(&mut extensions, 43, &[4, 3, 4, 3, 3]);
    extension(&mut extensions, 45, &[1, 1]);
    extension(&mut extensions, 23, &[]);
    // The request for a stapled OCSP answer only makes the server's flight longer.
    extension(&mut extensions, 5, &[1, 0, 0, 0, 0]);
    extension(&mut extensions, 51, &prefixed(&[&[0, 0x1d], prefixed(&random(32)).as_slice()].concat()));
    if padding > 0 {
        extension(&mut extensions, 21, &vec![0; usize::from(padding)]);
    }
    let mut body = vec![3, 3];
    body.extend(random(32));
    body.push(32);
    body.extend(random(32));
    body.extend(prefixed(&SUITES));
    body.extend([1, 0]);
    body.extend(prefixed(&extensions));
    let length = length(&body);
    let message = [&[1, 0, length[0], length[1]], body.as_slice()].concat();
    [&[0x16, 3, 1], prefixed(&message).as_slice()].concat()
}

fn extension(to: &mut Vec<u8>, kind: u16, body: &[u8]) {
    to.extend(kind.to_be_bytes());
    to.extend(prefixed(body));
}

/// The bytes, after their length in two bytes.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&length(bytes), bytes].concat()
}

/// A length in two bytes. Everything here is far below 64 kB.
fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// Random bytes that differ between connections. They protect nothing, so they may be predictable.
fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fastrand::fill(&mut bytes);
    bytes
}

/// The answer of a server so far, as far as it shows without a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing yet.
    #[default]
    None,
    /// TLS records.
    Tls,
    /// A TLS alert.
    Alert,
    /// Something that is no TLS.
    NotTls,
}

/// The kind of an answer, by its first bytes.
#[must_use]
pub(super) fn answer(received: &[u8]) -> Answer {
    match received {
        [] => Answer::None,
        [0x15, 3, ..] => Answer::Alert,
        [0x14 | 0x16 | 0x17, 3, ..] | [0x14..=0x17] => Answer::Tls,
        _ => Answer::NotTls,
    }
}

/// Whether the server's flight is complete: whole records, the last of which ends a flight. TLS 1.3
/// encrypts its records, so there at least as many bytes as any certificate has must have arrived.
#[must_use]
pub(super) fn is_whole(received: &[u8]) -> bool {
    const SMALLEST_ENCRYPTED: usize = 300;
    let (mut rest, mut encrypted, mut alert) = (received, 0, false);
    while let [kind, _, _, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(next) = after.get(length..) else { return false };
        encrypted += if *kind == 0x17 { length } else { 0 };
        alert |= *kind == 0x15;
        rest = next;
    }
    if !rest.is_empty() || received.is_empty() {
        return false;
    }
    // The flight of TLS 1.2 ends with `ServerHelloDone`, which is empty.
    alert || encrypted >= SMALLEST_ENCRYPTED || (encrypted == 0 && received.ends_with(&[14, 0, 0, 0]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hello_is_one_record_of_its_announced_length() {
        for (name, padding) in [(Some("registry-1.docker.io"), 0), (None, 0), (Some("ghcr.io"), 2600)] {
            let bytes = hello(name, padding);
            let record = usize::from(u16::from_be_bytes(bytes[3..5].try_into().unwrap()));
            let message = usize::from(u16::from_be_bytes(bytes[7..9].try_into().unwrap()));
            assert_eq!((record, message), (bytes.len() - 5, bytes.len() - 9), "{name:?}");
            assert!(bytes.len() > usize::from(padding) && bytes.len() < usize::from(padding) + 320);
        }
    }

    #[test]
    fn an_answer_is_recognised_by_its_first_bytes() {
        assert_eq!(answer(b""), Answer::None);
        assert_eq!(answer(b"\x16\x03\x03\0\x7a"), Answer::Tls);
        assert_eq!(answer(b"\x15\x03\x03\0\x02"), Answer::Alert);
        assert_eq!(answer(b"HTTP/1.1 302 Found"), Answer::NotTls);
        assert_eq!(answer(b"\x16\x99"), Answer::NotTls);
    }

    #[test]
    fn a_flight_is_whole_when_its_last_record_is() {
        let record = |kind: u8, length: u16| {
            let mut bytes = vec![kind, 3, 3];
            bytes.extend(length.to_be_bytes());
            bytes.resize(5 + usize::from(length), 7);
            bytes
        };
        let flight = [record(0x16, 90), record(0x14, 1), record(0x17, 2000)].concat();
        assert!(is_whole(&flight));
        assert!(!is_whole(&flight[..flight.len() - 1]));
        assert!(!is_whole(&record(0x16, 90)), "the certificates are still to come");
        assert!(!is_whole(&[record(0x16, 90), record(0x17, 60)].concat()));
        let mut older = [record(0x16, 1500), record(0x16, 4)].concat();
        assert!(!is_whole(&older));
        let end = older.len() - 4;
        older[end..].copy_from_slice(&[14, 0, 0, 0]);
        assert!(is_whole(&older));
        assert!(!is_whole(&[]));
    }
}
