//! A server of QUIC, as far as measuring a path needs one. It answers a packet of an unknown
//! version with the versions that it supports (RFC 9000, section 6). That needs no cryptography.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::in_network;
use super::worker::Worker;
use crate::error::{Doing, Result};
use crate::place::Network;

const PORT: u16 = 443;

/// The smallest datagram in bytes that a server answers (RFC 9000, section 14.1).
const SMALLEST: usize = 1200;

/// Serves on these addresses of a network.
pub(super) fn serve(network: &dyn Network, addresses: [IpAddr; 2]) -> Result<Worker> {
    let bind = |address| {
        let socket = UdpSocket::bind((address, PORT)).doing(|| format!("serve QUIC on {address}"))?;
        socket.set_nonblocking(true).doing(|| format!("serve QUIC on {address}"))?;
        Ok(socket)
    };
    let sockets = in_network(network, move || Ok([bind(addresses[0])?, bind(addresses[1])?]))?;
    Worker::start("quic", move |stopped| attend(&sockets, stopped))
}

fn attend(sockets: &[UdpSocket; 2], stopped: &OwnedFd) {
    let mut datagram = [0; 1500];
    loop {
        let mut polled =
            [sockets[0].as_fd(), sockets[1].as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut polled, PollTimeout::NONE);
        if polled[2].any().unwrap_or(true) {
            return;
        }
        for socket in sockets {
            while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                if let Some(answer) = datagram.get(..length).and_then(negotiation) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        }
    }
}

/// The Version Negotiation packet that answers a long header of another version (RFC 8999,
/// section 6): the two connection IDs change places.
fn negotiation(datagram: &[u8]) -> Option<Vec<u8>> {
    /// The version of RFC 9000.
    const SUPPORTED: [u8; 4] = [0, 0, 0, 1];
    let (first, rest) = datagram.split_first()?;
    let (version, rest) = rest.split_at_checked(4)?;
    let is_unknown = first & 0x80 != 0 && version != SUPPORTED && version != [0; 4];
    (is_unknown && datagram.len() >= SMALLEST).then_some(())?;
    let id = |rest: &[u8]| {
        let (length, rest) = rest.split_first()?;
        rest.split_at_checked(usize::from(*length)).map(|(id, rest)| (id.to_vec(), rest.to_vec()))
    };
    let (destination, rest) = id(rest)?;
    let (source, _) = id(&rest)?;
    let with_length = |id: &[u8]| [&[u8::try_from(id.len()).unwrap_or(u8::MAX)], id].concat();
    Some([&[0x80, 0, 0, 0, 0], &with_length(&source)[..], &with_length(&destination), &SUPPORTED].concat())
}
