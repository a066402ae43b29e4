//! The rules by which a path treats packets, as values. "Size" is the length of a whole IP packet
//! in bytes, as `ip link` counts an MTU.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The direction of a packet, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// The behaviour of a path. The default is a good path: 15 ms each way, no limit, no loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The treatment of packets from the client.
    pub up: DirectionRules,
    /// The treatment of packets from the server.
    pub down: DirectionRules,
    /// The router that sends "too big" and "unreachable" reports.
    pub router: Router,
    /// The fate of every SYN to port 443.
    pub syn: Option<Refusal>,
    /// A `ClientHello` whose first record is longer than this many bytes, and all that follows it
    /// on that connection, is dropped.
    pub hello_limit: Option<usize>,
    /// Connections whose `ClientHello` names a certain host.
    pub name: Option<NameFilter>,
    /// Payload bytes per connection and direction after which nothing passes, as behind a firewall
    /// that lost its state.
    pub cut_after: Option<usize>,
    /// The second of two paths of equal cost carries packets of at most this size. Chance chooses
    /// the path of each connection.
    pub unequal: Option<usize>,
    /// The only server that the limits apply to; all servers when `None`.
    pub limited_server: Option<IpAddr>,
    /// A WireGuard tunnel around the packets: limits apply to the outer packets.
    pub padding: Option<Padding>,
    /// The fate of every datagram to port 443, which is QUIC.
    pub quic: Option<Refusal>,
    /// All ICMP of both families is dropped, echoes included. The path's own reports still pass.
    pub blocks_icmp: bool,
}

/// The rules of one direction of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionRules {
    /// The largest packet that passes.
    pub limit: Option<usize>,
    /// Whether the sender of a larger packet gets a report.
    pub report: Report,
    /// A limit that begins while packets pass, as when a route changes.
    pub fall: Option<Fall>,
    /// The share of packets that are lost, from 0 to 1.
    pub loss: f64,
    /// How long a packet takes.
    pub delay: Duration,
    /// The largest extra delay, random for each packet, so that later packets overtake.
    pub jitter: Duration,
    /// A bottleneck with a queue.
    pub bottleneck: Option<Bottleneck>,
    /// A rate limit that drops without a queue.
    pub policer: Option<Policer>,
    /// The highest MSS that a SYN or SYN-ACK keeps in this direction: another program's clamp.
    pub mss: Option<u16>,
}

impl Default for DirectionRules {
    fn default() -> Self {
        Self {
            limit: None,
            report: Report::Silent,
            fall: None,
            loss: 0.0,
            delay: Duration::from_millis(15),
            jitter: Duration::ZERO,
            bottleneck: None,
            policer: None,
            mss: None,
        }
    }
}

/// Whether a sender gets a report that its packet was too big.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Report {
    /// No report: a black hole.
    #[default]
    Silent,
    /// The router reports the limit (RFC 1191, RFC 8201).
    Limit,
    /// The router reports another number: a forgery, or a fault.
    Claim(u16),
}

/// The addresses that send reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// For IPv4.
    pub v4: Ipv4Addr,
    /// For IPv6.
    pub v6: Ipv6Addr,
}

impl Default for Router {
    /// Addresses of the documentation ranges (RFC 5737, RFC 3849).
    fn default() -> Self {
        Self { v4: Ipv4Addr::new(203, 0, 113, 254), v6: Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0xfe) }
    }
}

/// A limit that begins after `after` packets with at least `payload` bytes of TCP payload have
/// passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fall {
    /// The number of counted packets that pass first.
    pub after: u32,
    /// The least payload of a counted packet, in bytes.
    pub payload: usize,
    /// The largest packet that passes from then on.
    pub to: usize,
}

/// A link that sends one packet after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// Bits per second.
    pub rate: u32,
    /// The most bytes that wait. Packets beyond that are dropped.
    pub queue: u32,
}

/// A token bucket without a queue: packets above the rate are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policer {
    /// Bytes per second.
    pub rate: u32,
    /// Bytes that may arrive at once.
    pub burst: u32,
}

/// How a connection, or QUIC, is refused on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The packet is dropped without an answer.
    Drop,
    /// By a reset in the server's name, for TCP alone.
    Reset,
    /// By "administratively prohibited" of a router.
    Prohibited,
    /// By "host unreachable" of a router.
    Unreachable,
}

/// A filter of host names (parental control, a censor).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFilter {
    /// The name, as it stands in the `ClientHello`; `None` filters every hello.
    pub name: Option<String>,
    /// Whether the client gets a reset or nothing.
    pub resets: bool,
}

/// WireGuard pads what it carries to a multiple of 16 bytes, never beyond its link's MTU, and adds
/// 60 bytes over IPv4: 20 IP, 8 UDP, 16 header, 16 authentication (`drivers/net/wireguard/send.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// The MTU of the tunnel's link.
    pub mtu: usize,
}

impl Padding {
    /// The size of the outer packet.
    #[must_use]
    pub fn outer(self, inner: usize) -> usize {
        const AROUND: usize = 60;
        inner.next_multiple_of(16).min(self.mtu.max(inner)) + AROUND
    }
}

impl Rules {
    /// The rules of one direction.
    #[must_use]
    pub fn of(&self, direction: Direction) -> &DirectionRules {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// The largest packets that pass, up and down.
    #[must_use]
    pub fn narrow(up: usize, down: usize) -> Self {
        Self::default().with_limits(Some(up), Some(down))
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, up: Option<usize>, down: Option<usize>) -> Self {
        (self.up.limit, self.down.limit) = (up, down);
        self
    }

    /// The same with a change to both directions.
    #[must_use]
    pub fn both(mut self, mut change: impl FnMut(&mut DirectionRules)) -> Self {
        change(&mut self.up);
        change(&mut self.down);
        self
    }

    /// The same with random loss in both directions, from 0 to 1.
    #[must_use]
    pub fn with_loss(self, loss: f64) -> Self {
        self.both(|rules| rules.loss = loss)
    }

    /// The same with a round trip of `milliseconds`.
    #[must_use]
    pub fn with_round_trip(self, milliseconds: u64) -> Self {
        self.both(|rules| rules.delay = Duration::from_micros(milliseconds * 500))
    }

    /// The same with reports about packets that are too big.
    #[must_use]
    pub fn reporting(self) -> Self {
        self.both(|rules| rules.report = Report::Limit)
    }
}
