//! `services.NAME.ports`: ports of the host that lead into a container.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::config::quantity::PortNumber;
use crate::port::{HostPort, Protocol};

/// Ports of the host that lead to as many of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PortMapping {
    /// The address of the host; `None` is every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The ports of the host.
    pub host: PortRange,
    /// The ports in the container, as many.
    pub container: PortRange,
    /// The protocol of both.
    #[serde(skip_serializing_if = "Protocol::is_tcp")]
    pub protocol: Protocol,
}

impl PortMapping {
    /// The mapping, if both ranges have the same length.
    #[must_use]
    pub fn new(host_ip: Option<IpAddr>, host: PortRange, container: PortRange, protocol: Protocol) -> Option<Self> {
        (host.len() == container.len()).then_some(Self { host_ip, host, container, protocol })
    }

    /// Each port of the host with the one in the container that it leads to.
    pub fn pairs(self) -> impl Iterator<Item = (HostPort, u16)> {
        let port = move |port| HostPort { address: self.host_ip, port, protocol: self.protocol };
        self.host.iter().map(port).zip(self.container.iter())
    }

    /// The ports that a service with this mapping has where it shares the host's network: those of the container.
    pub fn own(self) -> impl Iterator<Item = HostPort> {
        self.container.iter().map(move |port| HostPort { address: None, port, protocol: self.protocol })
    }
}

/// One port or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: PortNumber,
    last: PortNumber,
}

impl PortRange {
    /// The first of them.
    #[must_use]
    pub fn first(self) -> PortNumber {
        self.first
    }

    fn len(self) -> u16 {
        self.last.get() - self.first.get()
    }

    fn iter(self) -> impl Iterator<Item = u16> {
        self.first.get()..=self.last.get()
    }

    /// Whether a port is among them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first.get()..=self.last.get()).contains(&port)
    }
}

impl From<PortNumber> for PortRange {
    fn from(port: PortNumber) -> Self {
        Self { first: port, last: port }
    }
}

/// Why a text is not a [`PortRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no port from 1 to 65535, and no range of them such as `3000-3005`")]
pub struct InvalidPort(String);

impl FromStr for PortRange {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let port = |text: &str| text.parse::<u16>().ok().and_then(PortNumber::new);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = port(first).zip(port(last)).filter(|(first, last)| first <= last);
        range.map(|(first, last)| Self { first, last }).ok_or_else(|| InvalidPort(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first == self.last { Ok(()) } else { write!(f, "-{}", self.last) }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last { self.first.serialize(serializer) } else { serializer.collect_str(self) }
    }
}
