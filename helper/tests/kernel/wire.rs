//! Hand-made TCP segments, sent from the client and captured at the peer.

use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::router::Router;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// A TCP segment without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) mss: Option<u16>,
}

/// Ports that identify the segment; nothing listens on them.
const SOURCE: u16 = 40_000;
const TARGET: u16 = 9;

impl Segment {
    /// RFC 9293, section 3.1. The checksum is wrong on purpose: nothing on the path checks it.
    fn bytes(self) -> Vec<u8> {
        let words: u8 = if self.mss.is_some() { 6 } else { 5 };
        let mut bytes = Vec::new();
        bytes.extend(SOURCE.to_be_bytes());
        bytes.extend(TARGET.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend([words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(self.mss.into_iter().flat_map(|mss| [[2, 4], mss.to_be_bytes()].concat()));
        bytes
    }

    /// Parses an IPv4 packet; `None` if it is not our segment.
    fn read(packet: &[u8]) -> Option<Self> {
        let tcp = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
        let ports = [SOURCE.to_be_bytes(), TARGET.to_be_bytes()].concat();
        let mss = match tcp.get(20..) {
            Some([2, 4, high, low]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        tcp.starts_with(&ports).then(|| Self { flags: tcp[13], mss })
    }
}

/// Sends a segment from the client through the host. Returns it as it reaches the peer behind the
/// first link.
pub(crate) fn through(router: &Router, segment: Segment) -> Segment {
    let raw = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp).unwrap();
    let at_peer = router.peer.run(raw);
    setsockopt(&at_peer, ReceiveTimeout, &TimeVal::new(2, 0)).unwrap();
    let sent = router.client.run(move || {
        let socket = raw();
        sendto(socket.as_raw_fd(), &segment.bytes(), &SockaddrIn::new(10, 2, 0, 2, TARGET), MsgFlags::empty()).unwrap()
    });
    assert_eq!(sent, segment.bytes().len());
    let mut buffer = [0; 2048];
    let deadline = std::time::Instant::now() + Duration::from_secs(2);
    while std::time::Instant::now() < deadline {
        let length = recv(at_peer.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("the segment arrives");
        if let Some(seen) = Segment::read(&buffer[..length]) {
            return seen;
        }
    }
    panic!("{segment:?} did not arrive");
}
