//! Ports of the host: the protocol, the address, and the port of a container that each leads to.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

/// A protocol with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// podman's name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The protocol of this name, in lower or upper case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp].into_iter().find(|protocol| name.eq_ignore_ascii_case(protocol.as_str()))
    }

    /// Whether it is TCP.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub fn is_tcp(&self) -> bool {
        *self == Self::Tcp
    }
}

/// A port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostPort {
    /// The address; `None` stands for every address of the host.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl HostPort {
    /// A TCP port on every address.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self { address: None, port, protocol: Protocol::Tcp }
    }

    /// The same port on one address; `0.0.0.0` is every address, as it is for podman.
    #[must_use]
    pub fn on(self, address: Option<IpAddr>) -> Self {
        Self { address: address.filter(|address| *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED)), ..self }
    }

    /// Whether two programs cannot have both ports at once.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(one), Some(other)) => one == other || is_every(one, other) || is_every(other, one),
            (None, _) | (_, None) => true,
        };
        same_address && (self.port, self.protocol) == (other.port, other.protocol)
    }

    /// The address at which the host itself reaches the port.
    #[must_use]
    pub fn reached_at(self) -> SocketAddr {
        let address = match self.address {
            None => Ipv4Addr::LOCALHOST.into(),
            Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.into(),
            Some(address) => address,
        };
        SocketAddr::new(address, self.port)
    }

    /// The address of a page there, for a browser on the host.
    #[must_use]
    pub fn url(self) -> String {
        let at = self.reached_at();
        // Browsers trust `localhost` with what they withhold from other unencrypted pages, such as
        // the microphone.
        let host = if at.ip().is_loopback() { format!("localhost:{}", at.port()) } else { at.to_string() };
        format!("http://{host}/")
    }

    /// The address on which a program listens to take the port.
    #[must_use]
    pub fn listens_at(self) -> SocketAddr {
        SocketAddr::new(self.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.port)
    }
}

/// Whether `one` is the unspecified address of the family of `other`.
fn is_every(one: IpAddr, other: IpAddr) -> bool {
    one.is_unspecified() && one.is_ipv4() == other.is_ipv4()
}

impl fmt::Display for HostPort {
    /// `8080`, `127.0.0.1:8080`, `[::1]:53/udp`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, self.port))?,
            None => write!(f, "{}", self.port)?,
        }
        if self.protocol.is_tcp() { Ok(()) } else { write!(f, "/{}", self.protocol.as_str()) }
    }
}

/// Whether any of the ports overlaps with this one.
#[must_use]
pub fn any_overlaps(ports: &BTreeSet<HostPort>, port: HostPort) -> bool {
    ports.iter().any(|other| other.overlaps(port))
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PublishedPort {
    /// The port of the host.
    pub host: HostPort,
    /// The port in the container, of the same protocol.
    pub container: u16,
}

/// A range of consecutive published ports, with the same address and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRanges {
    /// The first of them.
    pub first: PublishedPort,
    /// How many there are.
    pub count: u16,
}

/// The ports in order, consecutive ones as one range. `0.0.0.0`, podman's word for every address,
/// is left out.
#[must_use]
pub fn port_ranges(ports: &[PublishedPort]) -> Vec<PortRanges> {
    let mut sorted: Vec<_> =
        ports.iter().map(|port| PublishedPort { host: port.host.on(port.host.address), ..*port }).collect();
    sorted.sort_unstable_by_key(|port| (port.host.protocol, port.host.address, port.host.port, port.container));
    sorted.dedup();
    let mut ranges: Vec<PortRanges> = Vec::new();
    for port in sorted {
        match ranges.last_mut().filter(|range| range.next() == Some(port)) {
            Some(range) => range.count += 1,
            None => ranges.push(PortRanges { first: port, count: 1 }),
        }
    }
    ranges
}

impl PortRanges {
    fn next(&self) -> Option<PublishedPort> {
        let port = self.first.host.port.checked_add(self.count)?;
        let container = self.first.container.checked_add(self.count)?;
        Some(PublishedPort { host: HostPort { port, ..self.first.host }, container })
    }

    fn range(&self, first: u16) -> String {
        if self.count == 1 { first.to_string() } else { format!("{first}-{}", first + (self.count - 1)) }
    }
}

impl fmt::Display for PortRanges {
    /// `127.0.0.1:3000-3005:8000-8005/udp`, as `podman run --publish` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first.host.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}", self.range(self.first.host.port), self.range(self.first.container))?;
        let protocol = self.first.host.protocol;
        if protocol.is_tcp() { Ok(()) } else { write!(f, "/{}", protocol.as_str()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn port(text: &str) -> HostPort {
        let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = Protocol::parse(protocol).unwrap();
        match text.parse::<SocketAddr>() {
            Ok(socket) => HostPort { port: socket.port(), protocol, address: None }.on(Some(socket.ip())),
            Err(_) => HostPort { protocol, ..HostPort::tcp(text.parse().unwrap()) },
        }
    }

    #[test]
    fn two_ports_are_in_each_others_way_only_with_the_same_number_protocol_and_address() {
        for (one, other, overlap) in [
            ("3000", "3000", true),
            ("3000", "127.0.0.1:3000", true),
            ("0.0.0.0:3000", "127.0.0.1:3000", true),
            ("[::]:3000", "[::1]:3000", true),
            ("[::]:3000", "127.0.0.1:3000", false),
            ("127.0.0.1:3000", "127.0.0.2:3000", false),
            ("3000", "3000/udp", false),
            ("3000", "3001", false),
        ] {
            assert_eq!(port(one).overlaps(port(other)), overlap, "{one} and {other}");
            assert_eq!(port(other).overlaps(port(one)), overlap, "{other} and {one}");
        }
    }

    #[test]
    fn a_port_is_shown_as_people_write_it_and_reached_by_an_address_that_leads_there() {
        for (text, shown, reached) in [
            ("80", "80", "127.0.0.1:80"),
            ("0.0.0.0:80", "80", "127.0.0.1:80"),
            ("192.0.2.1:53/udp", "192.0.2.1:53/udp", "192.0.2.1:53"),
            ("[::]:80", "[::]:80", "[::1]:80"),
        ] {
            let port = port(text);
            assert_eq!((port.to_string(), port.reached_at().to_string()), (shown.to_owned(), reached.to_owned()));
        }
    }

    #[test]
    fn only_consecutive_ports_are_one_range() {
        let port = |host: HostPort, container| PublishedPort { host, container };
        let shown =
            |ports: &[PublishedPort]| port_ranges(ports).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let tcp = HostPort::tcp;
        assert_eq!(shown(&[port(tcp(3001), 81), port(tcp(3000), 80), port(tcp(3000), 80)]), "3000-3001:80-81");
        assert_eq!(shown(&[port(tcp(3000), 80), port(tcp(3001), 80)]), "3000:80 3001:80");
        let local = tcp(3001).on("127.0.0.1".parse().ok());
        assert_eq!(shown(&[port(tcp(3000), 80), port(local, 81)]), "3000:80 127.0.0.1:3001:81");
        assert_eq!(shown(&[port(tcp(65535).on("0.0.0.0".parse().ok()), 65535)]), "65535:65535");
    }
}
