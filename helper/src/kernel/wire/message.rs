//! Netlink messages in a datagram: what the kernel answers, cut into pieces that can be trusted to be whole.

use std::io;

use mnl::NlMessages;
use nix::libc;

/// Bytes of `struct nlmsghdr` (`linux/netlink.h`).
pub(in crate::kernel) const HEADER: usize = 16;

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Message<'a> {
    /// `nlmsg_type`.
    pub(in crate::kernel) kind: u16,
    /// `nlmsg_flags`.
    pub(in crate::kernel) flags: u16,
    /// `nlmsg_seq`.
    pub(in crate::kernel) sequence: u32,
    /// `nlmsg_pid`: the port of the socket on whose behalf the kernel speaks.
    pub(in crate::kernel) port: u32,
    /// What follows the header.
    pub(in crate::kernel) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads one whole message; `None` if there is no whole header.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER>()?;
        let u16_at = |at: usize| Some(u16::from_ne_bytes(header.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
        Some(Self { kind: u16_at(4)?, flags: u16_at(6)?, sequence: u32_at(8)?, port: u32_at(12)?, body })
    }

    /// What an acknowledgement or the end of a dump reports: 0 for success, else an errno. `None` for other messages.
    pub(in crate::kernel) fn errno(&self) -> Option<i32> {
        if !matches!(i32::from(self.kind), libc::NLMSG_ERROR | libc::NLMSG_DONE) {
            return None;
        }
        // The end of a dump carries an errno only since Linux 2.6.
        let code = self.body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        Some(code.saturating_neg().max(0))
    }

    /// Whether this ends a dump.
    pub(in crate::kernel) fn is_done(&self) -> bool {
        i32::from(self.kind) == libc::NLMSG_DONE
    }

    /// Whether the kernel says that what it dumps has changed meanwhile (`NLM_F_DUMP_INTR`).
    pub(in crate::kernel) fn was_interrupted(&self) -> bool {
        i32::from(self.flags) & libc::NLM_F_DUMP_INTR != 0
    }
}

/// The messages of one datagram.
///
/// # Errors
/// An [`io::ErrorKind::InvalidData`] item, and then no more, where a length does not fit.
pub(in crate::kernel) fn messages(datagram: &[u8]) -> impl Iterator<Item = io::Result<Message<'_>>> {
    // Every message is padded to 4 bytes; `NlMessages` must not be given a rest that is not.
    let whole = datagram.len() & !3;
    NlMessages::new(datagram.get(..whole).unwrap_or_default()).map(|message| {
        Message::read(message?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a netlink message was cut short"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn acknowledgement(errno: i32) -> Vec<u8> {
        let mut bytes = Vec::from(20_u32.to_ne_bytes());
        bytes.extend(u16::try_from(libc::NLMSG_ERROR).unwrap().to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend(77_u32.to_ne_bytes());
        bytes.extend((-errno).to_ne_bytes());
        bytes
    }

    #[test]
    fn an_acknowledgement_tells_its_message_and_errno() {
        let mut datagram = acknowledgement(0);
        datagram.extend(acknowledgement(libc::EPERM));
        let read: Vec<_> = messages(&datagram).map(Result::unwrap).collect();
        assert_eq!(read.iter().map(Message::errno).collect::<Vec<_>>(), [Some(0), Some(libc::EPERM)]);
        assert!(read.iter().all(|message| message.sequence == 5 && message.port == 77));
    }

    #[test]
    fn a_datagram_cut_anywhere_is_an_error_and_no_panic() {
        let mut datagram = acknowledgement(0);
        datagram.extend(acknowledgement(libc::EPERM));
        for cut in 0..datagram.len() {
            assert!(messages(&datagram[..cut]).flatten().count() <= 1, "{cut}");
        }
        for length in [0_u32, 1, 15, 4096, u32::MAX] {
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(messages(&datagram).next().unwrap().is_err(), "{length}");
        }
    }

    #[test]
    fn the_smallest_errno_there_is_does_not_overflow() {
        let mut datagram = acknowledgement(0);
        datagram[16..].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert_eq!(messages(&datagram).next().unwrap().unwrap().errno(), Some(i32::MAX));
    }
}
