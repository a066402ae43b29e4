//! The way in from the bus: what is longer than any honest message is read past and never held.
//!
//! zbus reads a message as a whole before anybody can look at it, and the bus lets 32 MiB through from any user. So this
//! stands between the two: it looks at a message's first bytes, and of one that is too long it keeps what an answer needs.

mod envelope;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::{Address, Message};
use zruntime::{AsyncIo, Event, Shared, SharedRuntime};

use envelope::Envelope;
pub(super) use envelope::Refused;

/// The longest message that is taken in, in bytes. An honest call has less than 500, and so has what polkit and the bus
/// answer; up to here a call is refused by those who judge calls, with a line in the log that tells more.
pub const LONGEST_MESSAGE: usize = 64 * 1024;

/// The longest header of a message that is too long which is looked into for its sender. An honest one has less than 300 bytes.
const LONGEST_HEADER: usize = 4096;

/// How much of such a message is read at once.
const GULP: usize = 16 * 1024;

/// So many callers can be waiting for a refusal; those beyond get none.
const QUEUE: usize = 64;

/// Connects to the bus. What arrives there and is too long goes to `refusals`.
///
/// # Errors
/// The system's, or [`io::ErrorKind::Unsupported`] for an address that is no socket of this machine.
pub(super) fn connect(
    bus: &Address,
    runtime: &SharedRuntime,
    refusals: &Arc<Refusals>,
) -> io::Result<impl Socket<ReadHalf = Inlet, WriteHalf = Stream> + use<>> {
    // A full queue is an error to be tried again, instead of a wait that nothing else can be done in.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &place(bus)?)?;
    let stream = Stream(Arc::new(AsyncIo::new_nonblocking(runtime, socket)?));
    Ok(Inlet { stream, refusals: Arc::clone(refusals) })
}

fn place(bus: &Address) -> io::Result<SocketAddrUnix> {
    let path = match bus.transport() {
        Transport::Unix(unix) => unix.path(),
        _ => return Err(unsupported()),
    };
    match path {
        UnixSocket::File(path) => Ok(SocketAddrUnix::new(path)?),
        UnixSocket::Abstract(name) => Ok(SocketAddrUnix::new_abstract_name(name.as_encoded_bytes())?),
        _ => Err(unsupported()),
    }
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the bus's address must be `unix:path=` or `unix:abstract=`")
}

/// A connected socket. It passes no descriptors, so the bus hands none of a caller's on.
#[derive(Clone, Debug)]
pub(super) struct Stream(Arc<AsyncIo<OwnedFd, Shared>>);

#[async_trait]
impl ReadHalf for Stream {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let count = self.0.read_with(|socket| Ok(rustix::io::read(socket, &mut *buffer)?)).await?;
        Ok((count, Vec::new()))
    }
}

#[async_trait]
impl WriteHalf for Stream {
    async fn sendmsg(&mut self, bytes: &[u8], _none: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write_with(|socket| Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.0.get_ref(), Shutdown::Both)?)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inlet {
    stream: Stream,
    refusals: Arc<Refusals>,
}

impl Socket for Inlet {
    type ReadHalf = Self;
    type WriteHalf = Stream;

    fn split(self) -> Split<Self, Stream> {
        let write = self.stream.clone();
        Split::new(self, write)
    }
}

#[async_trait]
impl ReadHalf for Inlet {
    async fn receive_message(
        &mut self,
        sequence: u64,
        received: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        loop {
            self.fill(received, Envelope::LENGTH).await?;
            match Envelope::read(received) {
                Some(envelope) if envelope.total() > LONGEST_MESSAGE => self.refuse(&envelope, received).await?,
                // Nonsense is for zbus to complain about.
                _ => return self.stream.receive_message(sequence, received, descriptors).await,
            }
        }
    }

    /// For the handshake, which comes before the first message.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.stream.recvmsg(buffer).await
    }
}

impl Inlet {
    /// Receives until there are so many bytes, and no more.
    async fn fill(&mut self, received: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
        while received.len() < wanted {
            let before = received.len();
            received.resize(wanted, 0);
            let count = self.stream.recvmsg(&mut received[before..]).await;
            received.truncate(before + count.as_ref().map_or(0, |(count, _)| *count));
            if count?.0 == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Reads past a message, of which `received` has the beginning, and whatever else has arrived.
    async fn refuse(&mut self, envelope: &Envelope, received: &mut Vec<u8>) -> io::Result<()> {
        self.fill(received, envelope.header().min(LONGEST_HEADER)).await?;
        if let Some(refused) = envelope.refused(received) {
            self.refusals.push(refused);
        }
        let here = received.len().min(envelope.total());
        received.drain(..here);
        let mut left = envelope.total() - here;
        let mut gulp = vec![0; GULP];
        while left > 0 {
            let most = left.min(GULP);
            let (count, _) = self.stream.recvmsg(&mut gulp[..most]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count;
        }
        Ok(())
    }
}

/// Callers who are to hear that their message was too long.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: Mutex<VecDeque<Refused>>,
    more: Event,
}

impl Refusals {
    fn push(&self, refused: Refused) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < QUEUE {
            waiting.push_back(refused);
            self.more.notify(1);
        }
    }

    /// Completes when there is one.
    pub(super) async fn next(&self) -> Refused {
        loop {
            let more = self.more.listen();
            if let Some(refused) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return refused;
            }
            more.await;
        }
    }
}
