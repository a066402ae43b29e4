//! Paths and ports of the host.

use std::fs;
use std::io::{Error, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use crate::port::{HostPort, Protocol};

/// The object under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A folder.
    Folder,
    /// A file, or anything else that is no folder.
    File,
    /// Nothing.
    Missing,
    /// Nothing, and nothing can be made there: a part of the path is a file.
    Blocked,
}

impl PathKind {
    /// Looks; none where this user may not.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Some(Self::Folder),
            Ok(_) => Some(Self::File),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(Self::Missing),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Some(Self::Blocked),
            Err(_) => None,
        }
    }
}

/// Whether a port cannot be had because a program has it, on its address or on every one. A port that this user may not
/// listen on is not known to be taken.
#[must_use]
pub fn is_taken(port: HostPort) -> bool {
    listen(port).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

/// Whether nobody listens there, as far as this user can find out.
pub(super) fn is_silent(port: HostPort) -> bool {
    listen(port).is_ok()
}

fn listen(port: HostPort) -> Result<(), Error> {
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(port.listens_at()).map(drop),
        Protocol::Udp => UdpSocket::bind(port.listens_at()).map(drop),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_is_taken_for_its_protocol_and_its_address_alone() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let here = HostPort { address: Some(address.ip()), port: address.port(), protocol: Protocol::Udp };
        assert!(is_taken(here) && is_taken(HostPort { address: None, ..here }));
        assert!(!is_taken(HostPort { protocol: Protocol::Tcp, ..here }));
        assert!(!is_taken(HostPort { address: "127.0.0.2".parse().ok(), ..here }));
        drop(socket);
        assert!(is_silent(here));
    }
}
