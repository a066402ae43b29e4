//! One netlink socket, for requests and answers.
//!
//! The kernel handles a request and queues all its answers within `sendmsg`, and continues a dump
//! within `recv`. So this module never waits: if an expected answer is missing, it was lost.

use std::io::{self, IoSliceMut};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recvmsg, send,
    setsockopt, socket,
};
use nix::{libc, setsockopt_impl, sockopt_impl};

use crate::kernel::wire::{Message, Object, framed, messages};

/// The size of the buffer for one datagram. Dumps come in pieces of up to 32 KiB (`netlink_recvmsg`
/// in `net/netlink/af_netlink.c`). An error echoes the refused message, which has at most 64 KiB of
/// elements.
const DATAGRAM: usize = 128 * 1024;

/// The number of attempts at a request if the kernel's tables change while it answers.
const ATTEMPTS: u32 = 16;

/// The kernel's own netlink port.
const KERNEL: u32 = 0;

sockopt_impl!(
    /// Makes rtnetlink check requests strictly and filter the answer by them
    /// (`NETLINK_GET_STRICT_CHK`, since Linux 4.20).
    StrictCheck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_GET_STRICT_CHK,
    bool
);

/// A netlink socket, bound, close-on-exec and non-blocking.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    protocol: SockProtocol,
    /// The kernel's notifications name the origin of a change by this netlink port.
    pub(super) port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket and joins the multicast `groups` (one bit each, bit 0 being group 1).
    pub(super) fn open(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // A kernel before Linux 4.20 lacks the option and returns more than was asked for.
        let _ = setsockopt(&fd, StrictCheck, &true);
        let port = getsockname::<NetlinkAddr>(fd.as_raw_fd())?.pid();
        Ok(Self { fd, protocol, port, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Sends one datagram. A batch is one transaction only if it arrives in one piece.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        send(self.fd.as_raw_fd(), datagram, MsgFlags::empty())?;
        Ok(())
    }

    /// Passes all pending messages of the kernel to `each`, until it breaks. Returns whether the
    /// kernel dropped messages because the buffer was full (ENOBUFS).
    ///
    /// Discards datagrams of other processes: any process with `CAP_NET_ADMIN` can send to this
    /// port.
    pub(super) fn take(&mut self, each: &mut dyn FnMut(&Message<'_>) -> ControlFlow<()>) -> io::Result<bool> {
        let mut was_lost = false;
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let mut room = [IoSliceMut::new(&mut self.buffer)];
            let taken = recvmsg::<NetlinkAddr>(self.fd.as_raw_fd(), &mut room, None, flags);
            match taken.map(|taken| (taken.bytes, taken.address.map(|sender| sender.pid()))) {
                Ok((_, sender)) if sender != Some(KERNEL) => {}
                Ok((length, _)) => {
                    let long = || io::Error::new(io::ErrorKind::InvalidData, "a netlink datagram is too long");
                    for message in messages(self.buffer.get(..length).ok_or_else(long)?) {
                        if each(&message?).is_break() {
                            return Ok(was_lost);
                        }
                    }
                }
                Err(Errno::EAGAIN) => return Ok(was_lost),
                Err(Errno::ENOBUFS) => was_lost = true,
                Err(Errno::EINTR) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Sends a datagram, and [takes](Self::take) the messages that come back.
    pub(super) fn exchange(
        &mut self,
        datagram: &[u8],
        each: &mut dyn FnMut(&Message<'_>) -> ControlFlow<()>,
    ) -> io::Result<bool> {
        // Answers left from an earlier failure must not be taken for those to this datagram.
        self.take(&mut |_| ControlFlow::Continue(()))?;
        self.send(datagram)?;
        self.take(each)
    }

    /// Sends a request and returns all answers; the error is the errno of a refusal.
    ///
    /// `flags` asks for all objects with `NLM_F_DUMP`, or for one with `NLM_F_ACK`. Both make the
    /// kernel mark the end of its answers.
    pub(super) fn ask(&mut self, kind: u16, flags: i32, body: &[u8]) -> io::Result<Vec<Object>> {
        let mut answers = Vec::new();
        self.visit(kind, flags, body, &mut |message| {
            match message {
                Some(message) => answers.push(message.object()),
                None => answers.clear(),
            }
            ControlFlow::Continue(())
        })?;
        Ok(answers)
    }

    /// Like [`Self::ask`], but passes each answer to `each` until it breaks, and keeps none. `each`
    /// gets `None` if the kernel reports a change during a dump, or answers were lost: then the
    /// answers start again.
    ///
    /// The caller's thread has to be in the network namespace of the socket.
    pub(super) fn visit(
        &mut self,
        kind: u16,
        flags: i32,
        body: &[u8],
        each: &mut dyn FnMut(Option<&Message<'_>>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            self.sequence = self.sequence.wrapping_add(1);
            let (sequence, mut end, mut is_torn, mut is_enough) = (self.sequence, None, false, false);
            let was_lost = self.exchange(&framed(kind, flags, sequence, body), &mut |message| {
                if message.sequence == sequence {
                    is_torn |= message.was_interrupted();
                    end = message.errno();
                    is_enough = end.is_none() && each(Some(message)).is_break();
                }
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            match end {
                Some(0) if !is_torn && !was_lost => return Ok(()),
                Some(errno) if errno != 0 => return Err(Errno::from_raw(errno).into()),
                // The kernel keeps the rest of a dump for this socket, and takes no other one. The
                // socket for rules keeps its port, by which events are recognised as our own.
                None if self.protocol == SockProtocol::NetlinkRoute => *self = Self::open(self.protocol, 0)?,
                _ => {}
            }
            if is_enough {
                return Ok(());
            }
            let _ = each(None);
        }
        let kept_changing = "the kernel's tables kept changing while they were read, or its answers got lost";
        Err(io::Error::new(io::ErrorKind::Interrupted, kept_changing))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
