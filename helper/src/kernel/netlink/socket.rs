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

use crate::kernel::wire::{HEADER, Message, Object, messages};

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
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// The result of a read that does not wait.
#[derive(Debug, PartialEq, Eq)]
enum Received {
    /// A datagram of this length in bytes.
    Datagram(usize),
    /// The queue is empty.
    Nothing,
    /// The kernel dropped a message because the buffer was full (ENOBUFS).
    Overrun,
}

/// One message to the kernel, without its header.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// Asks for all objects with `NLM_F_DUMP`, or for one object with `NLM_F_ACK`. Both make the
    /// kernel mark the end of its answers.
    pub(super) flags: i32,
    /// The bytes after the header, padded to 4 bytes.
    pub(super) body: Vec<u8>,
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

    /// The socket's netlink port. The kernel's notifications name the origin of a change by it.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Sends one datagram. A batch is one transaction only if it arrives in one piece.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match send(self.fd.as_raw_fd(), datagram, MsgFlags::empty())? {
            sent if sent == datagram.len() => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::WriteZero, "netlink took half a datagram")),
        }
    }

    /// Receives one datagram from the kernel, if there is one. Discards datagrams of other
    /// processes: any process with `CAP_NET_ADMIN` can send to this port.
    fn receive(&mut self) -> io::Result<Received> {
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let mut room = [IoSliceMut::new(&mut self.buffer)];
            let taken = recvmsg::<NetlinkAddr>(self.fd.as_raw_fd(), &mut room, None, flags);
            match taken.map(|taken| (taken.bytes, taken.address.map(|sender| sender.pid()))) {
                Ok((_, sender)) if sender != Some(KERNEL) => {}
                Ok((length, _)) if length > self.buffer.len() => {
                    let long = "a netlink datagram is longer than any should be";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, long));
                }
                Ok((length, _)) => return Ok(Received::Datagram(length)),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ENOBUFS) => return Ok(Received::Overrun),
                Err(Errno::EINTR) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Passes all pending messages to `each`, until it breaks. Returns whether the kernel dropped
    /// messages because the buffer was full (ENOBUFS).
    pub(super) fn take(&mut self, each: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>) -> io::Result<bool> {
        let mut was_lost = false;
        loop {
            match self.receive()? {
                Received::Datagram(length) => {
                    for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                        if each(message?).is_break() {
                            return Ok(was_lost);
                        }
                    }
                }
                Received::Overrun => was_lost = true,
                Received::Nothing => return Ok(was_lost),
            }
        }
    }

    /// Discards queued messages, such as answers that were left unread after an error.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        while self.receive()? != Received::Nothing {}
        Ok(())
    }

    /// Sends a request and returns all answers; the error is the errno of a refusal.
    pub(super) fn ask(&mut self, request: &Request) -> io::Result<Vec<Object>> {
        self.read(request, &mut |answers: &mut Vec<_>, message| {
            answers.push(message.object());
            ControlFlow::Continue(())
        })
    }

    /// Like [`Self::ask`], but gathers each answer into a value of the caller's, until `gather`
    /// breaks. It begins again with an empty value if the kernel reports a change during a dump, or
    /// if answers were lost.
    pub(super) fn read<T: Default>(
        &mut self,
        request: &Request,
        gather: &mut dyn FnMut(&mut T, &Message<'_>) -> ControlFlow<()>,
    ) -> io::Result<T> {
        for _ in 0..ATTEMPTS {
            self.drain()?;
            let datagram = self.next_request(request);
            self.send(&datagram)?;
            let (sequence, mut value, mut is_torn) = (self.sequence, T::default(), false);
            let (mut end, mut flow) = (None, ControlFlow::Continue(()));
            let was_lost = self.take(&mut |message| {
                if message.sequence == sequence {
                    is_torn |= message.was_interrupted();
                    end = message.errno();
                    flow = if end.is_some() { ControlFlow::Break(()) } else { gather(&mut value, &message) };
                }
                flow
            })?;
            match end {
                Some(0) if !is_torn && !was_lost => return Ok(value),
                Some(errno) if errno != 0 => return Err(Errno::from_raw(errno).into()),
                None if flow.is_break() => {
                    // The kernel keeps the rest of the dump for this socket.
                    *self = Self::open(self.protocol, 0)?;
                    return Ok(value);
                }
                _ => {}
            }
        }
        let kept_changing = "the kernel's tables kept changing while they were read, or its answers got lost";
        Err(io::Error::new(io::ErrorKind::Interrupted, kept_changing))
    }

    /// A request's bytes, with the next sequence number.
    fn next_request(&mut self, request: &Request) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + request.body.len()).unwrap_or(u32::MAX).to_ne_bytes();
        let flags = u16::try_from(libc::NLM_F_REQUEST | request.flags).unwrap_or_default().to_ne_bytes();
        let (kind, sequence) = (request.kind.to_ne_bytes(), self.sequence.to_ne_bytes());
        // `struct nlmsghdr`; the kernel fills in the sender's port.
        [&length[..], &kind, &flags, &sequence, &[0; 4], &request.body].concat()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
