//! Measures which packet sizes UDP carries to a server that speaks QUIC. Each packet has a version
//! that no server supports. The server answers with the versions that it does support (RFC 9000,
//! section 6). That needs no cryptography and leaves no state behind. A server without QUIC is
//! silent, so silence does not show a fault of the network.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};

use super::evidence::ladder;
use super::report::Udp;

/// A version reserved to provoke that answer (RFC 9000, section 15).
const VERSION: u32 = 0x1a2a_3a4a;

/// The smallest datagram in bytes that servers answer (RFC 9000, section 14.1).
const SMALLEST: u16 = 1200;

/// How often a size is tried, and the time for its answer in addition to round trips.
const TRIES: u32 = 3;
const TIMEOUT: Duration = Duration::from_millis(250);

/// How long a request to stop may go unnoticed.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The IP and UDP headers.
fn headers(ipv6: bool) -> u16 {
    if ipv6 { 48 } else { 28 }
}

/// The longest time that [`measure`] takes at this round trip.
pub(super) fn longest(rtt: Duration) -> Duration {
    (TIMEOUT + rtt * 2) * TRIES * 2
}

/// Tries sizes up to `top`, as whole packets, `hints` among them. Without an answer the server may
/// not speak QUIC, unless the kernel reports that something refuses the packets.
pub(super) fn measure(to: SocketAddr, top: u16, hints: &[u16], rtt: Duration, stop: &AtomicBool) -> io::Result<Udp> {
    let any: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    // DF, regardless of the path MTU that the kernel has learnt from TCP: UDP is measured on its
    // own.
    if to.is_ipv4() {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    } else {
        set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
    }
    socket.connect(to)?;
    let wait = TIMEOUT + rtt * 2;
    let least = SMALLEST + headers(to.is_ipv6());
    let mut refused = None;
    let mut answered = |sizes: &[u16]| answered(&socket, sizes, wait, to.is_ipv6(), stop, &mut refused);
    if !answered(&[least])?.contains(&least) {
        return Ok(Udp { refused: refused.map(|error| error.to_string()), ..Udp::default() });
    }
    let sizes: Vec<u16> = ladder(top, least, hints).into_iter().filter(|size| *size > least).collect();
    let mut passed = answered(&sizes)?;
    passed.push(least);
    let proven = passed.iter().copied().max();
    let failed = sizes.into_iter().find(|size| Some(*size) > proven);
    Ok(Udp { answered: true, refused: None, proven, failed })
}

/// Whether an error shows that something keeps UDP from the server: a rule of this host (`EPERM`)
/// or of a router on the way (`EHOSTUNREACH`, `EACCES`). A closed port (`ECONNREFUSED`) is only a
/// server without QUIC.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
}

/// The sizes that are answered, each tried up to three times. `refused` gets the latest refusal.
fn answered(
    socket: &UdpSocket,
    sizes: &[u16],
    wait: Duration,
    ipv6: bool,
    stop: &AtomicBool,
    refused: &mut Option<io::Error>,
) -> io::Result<Vec<u16>> {
    let mut open: BTreeMap<[u8; 8], u16> = BTreeMap::new();
    let mut passed = Vec::new();
    for _ in 0..TRIES {
        for size in sizes.iter().filter(|size| !passed.contains(*size)) {
            let id = fastrand::u64(..).to_be_bytes();
            open.insert(id, *size);
            // A datagram that is too large for the link is not sent (`EMSGSIZE`), and so not
            // answered.
            *refused = socket.send(&datagram(id, size - headers(ipv6))).err().filter(is_refusal).or(refused.take());
        }
        let until = Instant::now() + wait;
        while passed.len() < sizes.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.load(Ordering::Relaxed) {
                break;
            }
            socket.set_read_timeout(Some(left.min(POLL_INTERVAL)))?;
            let mut answer = [0; 1500];
            let length = match socket.recv(&mut answer) {
                Ok(length) => length,
                Err(error) => {
                    *refused = Some(error).filter(is_refusal).or(refused.take());
                    continue;
                }
            };
            let size = answer.get(..length).and_then(connection).and_then(|id| open.remove(&id));
            passed.extend(size.filter(|size| !passed.contains(size)));
        }
        if passed.len() == sizes.len() || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(passed)
}

/// A packet with a long header (RFC 8999, section 5.1). Its source connection ID comes back as the
/// destination connection ID.
fn datagram(id: [u8; 8], length: u16) -> Vec<u8> {
    let mut bytes = vec![0xc0];
    bytes.extend(VERSION.to_be_bytes());
    bytes.push(8);
    bytes.extend(fastrand::u64(..).to_be_bytes());
    bytes.push(8);
    bytes.extend(id);
    bytes.resize(usize::from(length), 0);
    bytes
}

/// The connection ID that a Version Negotiation packet returns (RFC 8999, section 6).
fn connection(answer: &[u8]) -> Option<[u8; 8]> {
    let (first, rest) = answer.split_first()?;
    let is_long = first & 0x80 != 0;
    let (version, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_first()?;
    (is_long && version == [0; 4] && *length == 8).then_some(())?;
    rest.get(..8)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A server that speaks QUIC, and that only packets of up to `narrow` bytes reach.
    fn server(narrow: usize) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 2000];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                if length + 28 <= narrow && length >= 1200 {
                    let mut answer = vec![0x80, 0, 0, 0, 0, 8];
                    answer.extend(&bytes[15..23]);
                    answer.push(8);
                    answer.extend(&bytes[6..14]);
                    answer.extend([0, 0, 0, 1]);
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        address
    }

    #[test]
    fn the_largest_datagram_that_is_answered_is_proven() {
        let measured = |limit, hints: &[u16]| {
            measure(server(limit), 1420, hints, Duration::ZERO, &AtomicBool::new(false)).unwrap()
        };
        assert_eq!(measured(2000, &[]), Udp { answered: true, proven: Some(1420), ..Udp::default() });
        let narrow = |proven| Udp { answered: true, refused: None, proven: Some(proven), failed: Some(1360) };
        assert_eq!(measured(1300, &[]), narrow(1296));
        assert_eq!(measured(1300, &[1300]), narrow(1300), "the size that TCP found");
    }

    #[test]
    fn of_a_server_without_quic_nothing_is_known_and_a_closed_port_is_one() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let begun = Instant::now();
        assert_eq!(measure(closed, 1420, &[], Duration::ZERO, &AtomicBool::new(false)).unwrap(), Udp::default());
        assert!(begun.elapsed() <= longest(Duration::ZERO));
        assert_eq!(measure(server(0), 1420, &[], Duration::ZERO, &AtomicBool::new(false)).unwrap(), Udp::default());
    }
}
