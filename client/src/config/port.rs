//! `services.NAME.ports`: ports of the host that lead into a container. They are read from tables,
//! or from the short form of compose.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::quantity::PortNumber;
use super::section::{Mismatch, Read, Section, text, whole, word};
use super::tree::{Node, Value};
use crate::port::{HostPort, Protocol};

/// Ports of the host that lead to the same number of ports of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PortMapping {
    /// The address of the host; `None` stands for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The ports of the host.
    pub host: PortRange,
    /// The ports in the container; as many as `host`.
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

    /// The ports that a service with this mapping takes on the host's network: those of the
    /// container.
    pub fn own(self) -> impl Iterator<Item = HostPort> {
        self.container.iter().map(move |port| HostPort { address: None, port, protocol: self.protocol })
    }
}

/// One port or several consecutive ones.
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

const PROTOCOLS: &[(&str, Protocol)] = &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

/// Reads the ports of a service: an array, or a single mapping in its place.
pub(super) fn ports(service: &Section<'_>) -> Vec<PortMapping> {
    service.may_be_list_or_one("ports");
    let Some(node) = service.node("ports") else { return Vec::new() };
    match &node.value {
        Value::Array(items) => {
            let item = |(index, node)| mapping(service, &format!("ports.{index}"), node);
            items.iter().enumerate().filter_map(item).collect()
        }
        _ => mapping(service, "ports", node).into_iter().collect(),
    }
}

fn mapping(service: &Section<'_>, key: &str, node: &Node) -> Option<PortMapping> {
    match &node.value {
        Value::String(_) | Value::Integer(_) => service.read_at(key, node, short),
        _ => service.below(key, node).and_then(table),
    }
}

fn table(section: Section<'_>) -> Option<PortMapping> {
    let host = section.required("host", range);
    let container = section.required("container", range);
    let host_ip = section.optional("host_ip", |node| address(text(node)?));
    let protocol = section.or("protocol", Protocol::Tcp, word(PROTOCOLS));
    let (host, container) = host.zip(container)?;
    let mapping = PortMapping::new(host_ip, host, container, protocol);
    if mapping.is_none() {
        section.refuse("`host` and `container` are ranges of different lengths");
    }
    section.finish();
    mapping
}

/// A number, or a text with one or with a range.
fn range(node: &Node) -> Read<PortRange> {
    match &node.value {
        Value::String(text) => text.parse().map_err(Mismatch::new),
        _ => whole::<PortNumber>(node).map(PortRange::from),
    }
}

fn address(text: &str) -> Read<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
        Mismatch::new(format_args!("`{text}` is not an address of the host"))
            .hint("it is such as `127.0.0.1` or `::1`; without one, the port is open on every address")
    })
}

/// `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`, or one port for both sides (compose-spec, "Short syntax"
/// of `ports`).
fn short(node: &Node) -> Read<PortMapping> {
    let Value::String(text) = &node.value else {
        let port = range(node)?;
        return Ok(PortMapping { host_ip: None, host: port, container: port, protocol: Protocol::Tcp });
    };
    let wrong = |why: &str| {
        Mismatch::new(format_args!("`{text}` {why}"))
            .hint("it is such as `3000:8080`, `127.0.0.1:3000:8080` or `53:53/udp`")
    };
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, name)) => (ports, Protocol::parse(name).ok_or_else(|| wrong("is neither TCP nor UDP"))?),
        None => (text.as_str(), Protocol::Tcp),
    };
    let (before, container) = ports.rsplit_once(':').map_or((None, ports), |(before, last)| (Some(before), last));
    let container: PortRange = container.parse().map_err(Mismatch::new)?;
    let (host_ip, host) = match before.map(|before| before.rsplit_once(':').unwrap_or(("", before))) {
        None => (None, container),
        Some(("", host)) => (None, host.parse().map_err(Mismatch::new)?),
        Some((_, "")) => return Err(wrong("leaves the port of the host to chance")),
        Some((ip, host)) => (Some(address(ip)?), host.parse().map_err(Mismatch::new)?),
    };
    PortMapping::new(host_ip, host, container, protocol).ok_or_else(|| wrong("has ranges of different lengths"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::config::{Source, parse};

    /// The ports of a service as `config show` writes them, or the error's message.
    fn read(ports: &str) -> Result<String, String> {
        let text = format!(
            "services.open-webui.enabled = false\n[services.web]\nimage = \"localhost/web\"\nports = {ports}\n"
        );
        match parse(Some(Source::of_file("/x.toml".into(), text)), None) {
            Ok(loaded) => Ok(serde_json::to_string(&loaded.config.services["web"].ports).unwrap()),
            Err(crate::config::ConfigError::Wrong(problems)) => Err(problems[0].message.clone()),
            Err(other) => Err(other.to_string()),
        }
    }

    #[test]
    fn every_form_of_a_port_is_read() {
        for (written, read_as) in [
            ("[]", "[]"),
            ("8080", r#"[{"host":8080,"container":8080}]"#),
            (r#""8080""#, r#"[{"host":8080,"container":8080}]"#),
            (r#"["3000:8080"]"#, r#"[{"host":3000,"container":8080}]"#),
            (
                r#"["127.0.0.1:3000:8080/udp"]"#,
                r#"[{"host_ip":"127.0.0.1","host":3000,"container":8080,"protocol":"udp"}]"#,
            ),
            (r#"["[::1]:3000:8080"]"#, r#"[{"host_ip":"::1","host":3000,"container":8080}]"#),
            (r#"["3000-3005:4000-4005"]"#, r#"[{"host":"3000-3005","container":"4000-4005"}]"#),
            (r#"["53:53/TCP"]"#, r#"[{"host":53,"container":53}]"#),
            (
                r#"{ host = "90-91", container = "80-81", host_ip = "192.0.2.1", protocol = "udp" }"#,
                r#"[{"host_ip":"192.0.2.1","host":"90-91","container":"80-81","protocol":"udp"}]"#,
            ),
        ] {
            assert_eq!(read(written).as_deref(), Ok(read_as), "{written}");
        }
    }

    #[test]
    fn an_invalid_port_is_refused_with_its_place() {
        for (written, message) in [
            (r#"["0:80"]"#, "`services.web.ports.0`: `0` is no port from 1 to 65535"),
            (r#"["3005-3000:1-6"]"#, "`services.web.ports.0`: `3005-3000` is no port"),
            (r#"["3000-3001:80"]"#, "`services.web.ports.0`: `3000-3001:80` has ranges of different lengths"),
            (r#"["127.0.0.1::80"]"#, "leaves the port of the host to chance"),
            (r#"["localhost:3000:80"]"#, "`localhost` is not an address of the host"),
            (r#"["53:53/sctp"]"#, "is neither TCP nor UDP"),
            (r"[true]", "a table is needed here"),
            (r#"{ host = "1-2", container = 80 }"#, "ranges of different lengths"),
        ] {
            let problem = read(written).unwrap_err();
            assert!(problem.contains(message), "{written}: {problem}");
        }
    }
}
