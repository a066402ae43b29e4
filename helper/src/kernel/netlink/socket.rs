//! One netlink socket, for requests and answers.
//!
//! The kernel handles a request and queues all its answers within `sendmsg`, and continues a dump
//! within `recv`. So this module never waits: if an expected answer is missing, it was lost.

use std::io::{self, IoSliceMut};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, getsockopt, recvmsg,
    send, setsockopt, socket,
};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

use crate::kernel::wire::{HEADER, Message, messages};

/// The size of the buffer for one datagram. Dumps come in pieces of up to 32 KiB (`netlink_recvmsg`
/// in `net/netlink/af_netlink.c`). An error echoes the refused message, which has at most 64 KiB of
/// elements.
const DATAGRAM: usize = 128 * 1024;

/// The number of attempts at a dump if the kernel's tables change while it runs.
const DUMP_ATTEMPTS: u32 = 16;

/// The kernel's own netlink port.
const KERNEL: u32 = 0;

sockopt_impl!(
    /// Identifies the network namespace of a socket (`SO_NETNS_COOKIE`, since Linux 5.14).
    NetworkCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

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
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
    /// The number of datagrams received.
    #[cfg(test)]
    pub(super) taken: usize,
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
    /// The bytes after the header, padded to 4 bytes.
    pub(super) body: Vec<u8>,
}

/// How reading a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Everything was read.
    Whole,
    /// The reader stopped early. The socket takes no other dump until the rest of this one is read,
    /// or the socket is closed.
    Left,
}

impl Socket {
    /// Opens a socket and joins the multicast `groups` (one bit each, bit 0 being group 1).
    pub(super) fn open(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        let port = getsockname::<NetlinkAddr>(fd.as_raw_fd())?.pid();
        Ok(Self {
            fd,
            port,
            sequence: 0,
            buffer: vec![0; DATAGRAM],
            #[cfg(test)]
            taken: 0,
        })
    }

    /// The socket's netlink port. The kernel's notifications name the origin of a change by it.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Makes the kernel filter answers by the details of a request, if it can.
    pub(super) fn ask_strictly(&self) {
        // A kernel before Linux 4.20 lacks the option and returns more than was asked for.
        let _ = setsockopt(self, StrictCheck, &true);
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
                Ok((length, _)) => {
                    #[cfg(test)]
                    (self.taken += 1);
                    return Ok(Received::Datagram(length));
                }
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

    /// Sends several requests in one datagram, each for one object. Returns for each the body of
    /// the answer, or the errno of the refusal.
    pub(super) fn ask(&mut self, requests: &[Request]) -> io::Result<Vec<Result<Vec<u8>, Errno>>> {
        self.drain()?;
        let first = self.sequence.wrapping_add(1);
        let datagram: Vec<u8> = requests.iter().flat_map(|request| self.frame(request, libc::NLM_F_REQUEST)).collect();
        self.send(&datagram)?;
        let mut answers: Vec<Option<Result<Vec<u8>, Errno>>> = vec![None; requests.len()];
        let was_lost = self.take(&mut |message| {
            if let Some(answer) = answers.get_mut(message.sequence.wrapping_sub(first) as usize) {
                *answer =
                    Some(message.errno().map_or_else(|| Ok(message.body.to_vec()), |no| Err(Errno::from_raw(no))));
            }
            ControlFlow::Continue(())
        })?;
        if was_lost {
            return Err(Errno::ENOBUFS.into());
        }
        // Without the permission, the kernel refuses the whole datagram with one error, for the
        // first request.
        let refusal = answers.first().cloned().flatten().filter(Result::is_err);
        answers.into_iter().map(|answer| answer.or_else(|| refusal.clone()).ok_or_else(unanswered)).collect()
    }

    /// Dumps all objects of a kind.
    pub(super) fn dump(&mut self, request: &Request) -> io::Result<Result<Vec<Vec<u8>>, Errno>> {
        let mut answer = Vec::new();
        let read = self.read(request, &mut |read| {
            match read {
                Some(body) => answer.push(body.to_vec()),
                None => answer.clear(),
            }
            ControlFlow::Continue(())
        })?;
        Ok(read.map(|_| answer))
    }

    /// Dumps all objects of a kind and passes each message to `each`, until it breaks. No message
    /// is kept. If the kernel reports a change during the dump, `each` gets `None` and the dump
    /// starts again.
    pub(super) fn read(
        &mut self,
        request: &Request,
        each: &mut dyn FnMut(Option<&[u8]>) -> ControlFlow<()>,
    ) -> io::Result<Result<Read, Errno>> {
        for _ in 0..DUMP_ATTEMPTS {
            match self.read_once(request, each)? {
                Ok(None) => {}
                Ok(Some(read)) => return Ok(Ok(read)),
                Err(errno) => return Ok(Err(errno)),
            }
            let _ = each(None);
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the kernel's tables kept changing while they were read"))
    }

    /// One attempt of [`Self::read`]; `None` if objects may be missing or duplicated.
    fn read_once(
        &mut self,
        request: &Request,
        each: &mut dyn FnMut(Option<&[u8]>) -> ControlFlow<()>,
    ) -> io::Result<Result<Option<Read>, Errno>> {
        self.drain()?;
        let datagram = self.frame(request, libc::NLM_F_REQUEST | libc::NLM_F_DUMP);
        self.send(&datagram)?;
        let (sequence, mut is_torn, mut outcome) = (self.sequence, false, None);
        // A lost message does not matter here: the kernel waits for room before it continues a
        // dump.
        self.take(&mut |message| {
            if message.sequence != sequence {
                return ControlFlow::Continue(());
            }
            is_torn |= message.was_interrupted();
            outcome = match message.errno() {
                None if each(Some(message.body)).is_break() => Some(Ok(Some(Read::Left))),
                Some(errno) if errno != 0 => Some(Err(Errno::from_raw(errno))),
                Some(_) if message.is_done() => Some(Ok((!is_torn).then_some(Read::Whole))),
                _ => return ControlFlow::Continue(()),
            };
            ControlFlow::Break(())
        })?;
        outcome.ok_or_else(unanswered)
    }

    /// Replaces the socket, which ends an abandoned dump. It keeps the old one unless the new one
    /// is known to be in the same network namespace. Then the next request reads the rest first.
    pub(super) fn leave(&mut self, protocol: SockProtocol) -> io::Result<()> {
        let cookie = |socket: &Self| getsockopt(socket, NetworkCookie).ok();
        let fresh = Self::open(protocol, 0)?;
        if cookie(&fresh).is_some_and(|here| Some(here) == cookie(self)) {
            #[cfg(test)]
            let fresh = Self { taken: self.taken, ..fresh };
            *self = fresh;
        }
        Ok(())
    }

    /// A request's bytes, with the next sequence number.
    fn frame(&mut self, request: &Request, flags: i32) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + request.body.len()).unwrap_or(u32::MAX).to_ne_bytes();
        let flags = u16::try_from(flags).unwrap_or_default().to_ne_bytes();
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

fn unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel did not answer")
}
