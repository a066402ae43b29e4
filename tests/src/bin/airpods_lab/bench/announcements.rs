//! The kernel's announcements over netlink, which start and stop the clock.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};

use super::{BenchError, Result};

/// Time limit in milliseconds. It is longer than anything here takes.
pub(super) const LIMIT: u16 = 10_000;

/// `RTMGRP_IPV4_IFADDR` of `linux/rtnetlink.h`.
const ADDRESSES: u32 = 0x10;
/// `NFNLGRP_NFTABLES` (7) of `linux/netfilter/nfnetlink.h`, as a bit.
const RULES: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES` (10) and `NFT_MSG_NEWTABLE` (0) as a message's type.
const NEW_TABLE: u16 = 10 << 8;

/// A socket that hears one kind of announcement.
pub(super) struct Announcements(OwnedFd);

impl Announcements {
    /// New and changed addresses.
    pub(super) fn of_addresses() -> Result<Self> {
        Self::listen(SockProtocol::NetlinkRoute, ADDRESSES)
    }

    /// Changes of the nftables ruleset.
    pub(super) fn of_rules() -> Result<Self> {
        Self::listen(SockProtocol::NetlinkNetFilter, RULES)
    }

    fn listen(protocol: SockProtocol, groups: u32) -> Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let opened =
            socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(failed("open a netlink socket"))?;
        bind(opened.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(failed("listen to the kernel"))?;
        Ok(Self(opened))
    }

    /// Waits for the next announcement.
    pub(super) fn wait(&self) -> Result<()> {
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(LIMIT)).map_err(failed("wait for the kernel"))? {
            0 => Err(BenchError::NoNumber("the kernel's silence")),
            _ => Ok(()),
        }
    }

    /// Reads announcements until one is of a new table.
    pub(super) fn wait_for_new_table(&self) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.wait()?;
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(failed("hear the kernel"))?;
            if kinds(&buffer[..length]).contains(&NEW_TABLE) {
                return Ok(());
            }
        }
    }

    /// Drops the announcements that have come so far.
    pub(super) fn drain(&self) -> Result<()> {
        // The contents do not matter, so a datagram may be cut off.
        let mut buffer = [0; 4096];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(failed("hear the kernel")(errno)),
            }
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> BenchError {
    move |errno| BenchError::Io { doing, source: errno.into() }
}

/// The types of the messages in a datagram, whose headers begin with length and type (netlink(7)).
fn kinds(mut datagram: &[u8]) -> Vec<u16> {
    let mut kinds = Vec::new();
    while let [a, b, c, d, e, f, ..] = *datagram {
        kinds.push(u16::from_ne_bytes([e, f]));
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX).max(16);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_has_a_type_for_each_of_its_messages() {
        let message = |kind: u16, length: u32| {
            let mut bytes = [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes()].concat();
            bytes.resize(usize::try_from(length).unwrap_or_default().next_multiple_of(4), 0);
            bytes
        };
        let datagram = [message(0x0a01, 21), message(NEW_TABLE, 16)].concat();
        assert_eq!(kinds(&datagram), [0x0a01, NEW_TABLE]);
        assert_eq!(kinds(&message(NEW_TABLE, 400)[..6]), [NEW_TABLE], "the rest was cut off");
        assert_eq!(kinds(&[1, 2]), [0; 0]);
    }
}
