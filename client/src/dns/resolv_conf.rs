//! resolv.conf(5): which servers programs of the host ask.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::file::{self, Links, Owner};

/// The file that every program reads.
pub(super) const FILE: &str = "/etc/resolv.conf";

/// Where systemd-resolved keeps its variants of it (systemd-resolved.service(8)).
const RESOLVED_FOLDER: &str = "/run/systemd/resolve";

/// Of these, the one with the servers themselves, of all links together.
pub(super) const UPLINKS: &str = "/run/systemd/resolve/resolv.conf";

/// Where systemd-resolved listens on the loopback.
const STUBS: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 54))];

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// Its servers, in order.
    pub(super) servers: Vec<IpAddr>,
    /// It is a link to one of systemd-resolved's.
    pub(super) by_resolved: bool,
}

impl ResolvConf {
    /// Whether it makes programs ask systemd-resolved, or lists what that lists.
    pub(super) fn is_for_resolved(&self) -> bool {
        self.by_resolved || self.servers.iter().any(|server| STUBS.contains(server))
    }

    /// Whether it names systemd-resolved itself and nobody else.
    pub(super) fn is_stub_alone(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| STUBS.contains(server))
    }
}

pub(super) fn read() -> ResolvConf {
    let by_resolved = fs::canonicalize(FILE).is_ok_and(|file| file.starts_with(Path::new(RESOLVED_FOLDER)));
    // A file that is not there names no server.
    ResolvConf { servers: parse(&text(FILE)), by_resolved }
}

/// The servers that systemd-resolved asks for all links together, for where it cannot be asked about each.
pub(super) fn read_uplinks() -> Vec<IpAddr> {
    parse(&text(UPLINKS))
}

/// Nothing of what is not there, or no file.
fn text(path: &str) -> String {
    file::read(Path::new(path), Links::Followed, Owner::Any).unwrap_or_default()
}

/// The servers in the text of such a file. What is no address is passed over, as resolvers do. So is an address with a link
/// (`fe80::1%eth0`): it means nothing in a container.
pub(super) fn parse(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_in_order_and_everything_else_is_passed_over() {
        let text = "# nameserver 1.2.3.4\nnameserver 10.64.0.1\n nameserver\tfd00::1 \nsearch example\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameservers 9.9.9.9\noptions edns0";
        let servers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.64.0.1", "fd00::1"]);
    }

    #[test]
    fn a_file_that_names_the_stub_is_systemd_resolveds_whoever_wrote_it() {
        for (text, expected) in [("nameserver 127.0.0.53", true), ("nameserver 10.64.0.1", false), ("", false)] {
            let conf = ResolvConf { servers: parse(text), by_resolved: false };
            assert_eq!(conf.is_for_resolved(), expected, "{text}");
        }
    }
}
