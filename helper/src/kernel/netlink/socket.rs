//! One netlink socket: requests out, answers in.
//!
//! The kernel handles a request, and queues every answer to it, within `sendmsg`, and continues a dump within `recv`.
//! So this never waits: where an answer is due and there is none, it got lost.

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

/// Room for one datagram: the kernel's dumps come in pieces of up to 32 KiB (`netlink_recvmsg` in
/// `net/netlink/af_netlink.c`), and a refused message, at most 64 KiB of elements, is echoed with its error.
const DATAGRAM: usize = 128 * 1024;

/// How often a dump is started again because the kernel's tables changed while it ran.
const DUMP_ATTEMPTS: u32 = 16;

/// The kernel's own port: the sender of everything that it says.
const KERNEL: u32 = 0;

sockopt_impl!(
    /// Which network namespace a socket is in (`SO_NETNS_COOKIE`, since Linux 5.14).
    NetworkCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

sockopt_impl!(
    /// Questions of rtnetlink are held to the letter, and their details filter the answer (`NETLINK_GET_STRICT_CHK`, since
    /// Linux 4.20).
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
    /// How many datagrams have come.
    #[cfg(test)]
    pub(super) taken: usize,
}

/// The data that a socket has without waiting.
#[derive(Debug, PartialEq, Eq)]
enum Received {
    /// A datagram of this length in bytes.
    Datagram(usize),
    /// Nothing more now.
    Nothing,
    /// The kernel had to drop something for want of room (ENOBUFS).
    Overrun,
}

/// One message to the kernel, without its header.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// The bytes behind the header, padded to 4 bytes.
    pub(super) body: Vec<u8>,
}

/// How a dump that was read message by message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Everything was read.
    Whole,
    /// The reader had enough. The socket takes no other dump before this one's rest has been read or the socket is closed.
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

    /// The port by which the kernel knows this socket, and by which its announcements name who made a change.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// From now on the kernel takes a question's details as a filter, if it can.
    pub(super) fn ask_strictly(&self) {
        // One before Linux 4.20 answers more than it was asked.
        let _ = setsockopt(self, StrictCheck, &true);
    }

    /// Sends a datagram: a batch is one transaction only if it arrives in one piece.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match send(self.fd.as_raw_fd(), datagram, MsgFlags::empty())? {
            sent if sent == datagram.len() => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::WriteZero, "netlink took half a datagram")),
        }
    }

    /// Takes one datagram of the kernel's, if there is one. Datagrams from other processes are thrown away: any process
    /// with `CAP_NET_ADMIN` can send to this port, and only the kernel's word counts.
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

    /// Hands over every message that is there, until the reader has enough. Returns whether the kernel had to drop something
    /// for want of room (ENOBUFS).
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

    /// Throws away whatever is still queued, such as answers that an error made nobody wait for.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        while self.receive()? != Received::Nothing {}
        Ok(())
    }

    /// Asks several questions in one datagram, each for one thing. Each gets the body of the message that tells it, or
    /// the errno that the kernel refused it with.
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
        // A process without the right to ask gets one refusal for the whole datagram, on the first question.
        let refusal = answers.first().cloned().flatten().filter(Result::is_err);
        answers.into_iter().map(|answer| answer.or_else(|| refusal.clone()).ok_or_else(unanswered)).collect()
    }

    /// Asks for everything of a kind.
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

    /// Asks for everything of a kind and hands it over message by message, so that nothing has to be kept, until the
    /// reader has enough. Starts again, which `None` says, if the kernel says that it changed meanwhile.
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

    /// The same once; `None` if something may be missing, or there twice.
    fn read_once(
        &mut self,
        request: &Request,
        each: &mut dyn FnMut(Option<&[u8]>) -> ControlFlow<()>,
    ) -> io::Result<Result<Option<Read>, Errno>> {
        self.drain()?;
        let datagram = self.frame(request, libc::NLM_F_REQUEST | libc::NLM_F_DUMP);
        self.send(&datagram)?;
        let (sequence, mut is_torn, mut outcome) = (self.sequence, false, None);
        // Dumps wait for room: only an unrelated message can get lost.
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

    /// Opens the socket anew, which ends a dump that was left. Where that is not possible in the same network namespace,
    /// nothing is done: the rest is read before the next question.
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
        // `struct nlmsghdr`; the port of whoever asks is the kernel's to know.
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
