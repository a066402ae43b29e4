//! The socket that every message from the bus passes through. It skips messages that are too long,
//! and no message makes it close the connection.
//!
//! zbus closes the connection on any message that it cannot read, keeps all others in memory, and
//! starts a task for each call. So this module stands between the bus and zbus. It passes on only
//! replies to the helper's own calls and signals of the bus. Calls go to the [`Inbox`], which has a
//! bounded number of places. The reader never waits for a place or for an answer to be sent. It
//! refuses a call without a place from its header alone.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_lite::future::yield_now;
use nix::sys::socket::{getsockopt, sockopt};
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::names::OwnedUniqueName;
use zbus::{Address, Message};
use zruntime::{AsyncIo, Shared, SharedRuntime, net};

use super::call::ReplyTo;
use super::header::{Fixed, Kind};
use super::inbox::{Admission, Arrival, Content, IgnoredMessage, Inbox};
use super::unreachable;
use crate::failure::{Exit, Failure};

/// Upper bound on the size of an incoming message, in bytes. Answers from polkit and the bus have
/// less than 500.
pub const LONGEST_MESSAGE: usize = 64 * 1024;

/// Upper bound on the size of a call that is read, in bytes. Calls of the client have less than
/// 500.
pub(super) const LONGEST_CALL: usize = 4096;

/// The size of one read in bytes: about 300 calls. Between two reads other tasks can run.
const CHUNK: usize = 64 * 1024;

/// The bus's own name, as a sender.
const BUS: &str = "org.freedesktop.DBus";

/// The only user whose bus is believed.
const ROOT: u32 = 0;

/// Connects to the bus. Calls from it go to `inbox`.
///
/// # Errors
/// As [`open`].
pub(super) async fn connect(bus: &Address, runtime: &SharedRuntime, inbox: &Arc<Inbox>) -> Result<Bounded, Failure> {
    let socket = AsyncIo::new_nonblocking(runtime, open(bus, runtime).await?).map_err(unreachable)?;
    Ok(Bounded { stream: Stream(Arc::new(socket)), inbox: Arc::clone(inbox) })
}

/// Opens the socket of a bus that root listens on. The bus reports who calls, so a bus of another
/// user could pass anybody off as root. `$DBUS_SYSTEM_BUS_ADDRESS` may lead there after `su` or
/// `sudo -E`.
///
/// # Errors
/// [`Exit::ForeignBus`] or [`Exit::NoBus`], also for an address that is not a local socket.
pub(crate) async fn open(bus: &Address, runtime: &SharedRuntime) -> Result<UnixStream, Failure> {
    let (socket, listener) = connected(bus, runtime).await.map_err(unreachable)?;
    if listener != ROOT {
        return Err(Exit::ForeignBus.because(format!(
            "the system bus cannot be trusted: user {listener} listens on `{bus}`, and only a bus of root is believed"
        )));
    }
    Ok(socket)
}

/// A connected socket, and the user who listens on the other end.
async fn connected(bus: &Address, runtime: &SharedRuntime) -> io::Result<(UnixStream, u32)> {
    let address = match bus.transport() {
        Transport::Unix(unix) => match unix.path() {
            UnixSocket::File(path) => Some(SocketAddr::from_pathname(path)?),
            UnixSocket::Abstract(name) => Some(SocketAddr::from_abstract_name(name.as_encoded_bytes())?),
            _ => None,
        },
        _ => None,
    };
    let unsupported = "the bus's address must be `unix:path=` or `unix:abstract=`";
    let address = address.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, unsupported))?;
    let socket = net::unix::UnixStream::connect_addr(runtime, &address).await?.into_std();
    // The credentials are those of the time of listen(2) (unix(7)): dbus-daemon listens before it
    // gives up root, and other buses get their socket from systemd.
    let listener = getsockopt(&socket, sockopt::PeerCredentials).map_err(io::Error::from)?.uid();
    Ok((socket, listener))
}

/// A connected socket. It does not negotiate file descriptor passing, so the bus forwards no
/// descriptors of callers.
#[derive(Clone, Debug)]
struct Stream(Arc<AsyncIo<UnixStream, Shared>>);

impl Stream {
    /// Receives at least one byte.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read_with(|mut socket| socket.read(buffer)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

/// The socket of this module, before zbus splits it.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: Stream,
    inbox: Arc<Inbox>,
}

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let writer = Writer { stream: self.stream.clone(), unsent: Vec::new() };
        Split::new(Reader { stream: self.stream, inbox: self.inbox, received: Received::new() }, writer)
    }
}

/// The half that messages arrive through.
#[derive(Debug)]
pub(super) struct Reader {
    stream: Stream,
    inbox: Arc<Inbox>,
    received: Received,
}

/// Received bytes that are not processed yet: `bytes[start..end]`.
#[derive(Debug)]
struct Received {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Received {
    fn new() -> Self {
        Self { bytes: vec![0; LONGEST_MESSAGE + CHUNK], start: 0, end: 0 }
    }

    fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Moves the waiting bytes to the front, and returns room for up to [`CHUNK`] more.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let until = (self.end + CHUNK).min(self.bytes.len());
        &mut self.bytes[self.end..until]
    }

    /// Takes over bytes that zbus received together with the end of the handshake.
    fn append(&mut self, more: &mut Vec<u8>) -> io::Result<()> {
        let room = self.room().get_mut(..more.len()).ok_or(io::ErrorKind::InvalidData)?;
        room.copy_from_slice(more);
        self.end += more.len();
        more.clear();
        Ok(())
    }
}

#[async_trait]
impl ReadHalf for Reader {
    /// Returns the next message that is for zbus, and handles all others on the way.
    async fn receive_message(
        &mut self,
        sequence: u64,
        received: &mut Vec<u8>,
        _none: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        if !received.is_empty() {
            self.received.append(received)?;
        }
        loop {
            self.fill(Fixed::LENGTH).await?;
            // The bus frames messages correctly. After bytes that are none, the next message cannot
            // be found.
            let Some(fixed) = Fixed::read(self.received.waiting()) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the bus sent what is no message").into());
            };
            if fixed.total() > if fixed.kind == Kind::Call { LONGEST_CALL } else { LONGEST_MESSAGE } {
                self.pass_over(&fixed).await?;
                continue;
            }
            self.fill(fixed.total()).await?;
            let for_zbus = self.sort(&fixed, &self.received.waiting()[..fixed.total()]);
            self.received.start += fixed.total();
            if let Some(bytes) = for_zbus {
                match decode_message(sequence, bytes).await {
                    Ok(message) => return Ok(message),
                    Err(_) => self.drop_it(None, "it is malformed"),
                }
            }
        }
    }

    /// Used for the handshake only, before the first message.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((self.stream.receive(buffer).await?, Vec::new()))
    }
}

impl Reader {
    /// Receives until at least `wanted` bytes are waiting.
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.received.waiting().len() < wanted {
            // A socket that is always readable would starve the other tasks.
            yield_now().await;
            self.received.end += self.stream.receive(self.received.room()).await?;
        }
        Ok(())
    }

    /// Returns the bytes of a message for zbus, and handles any other.
    fn sort(&self, fixed: &Fixed, message: &[u8]) -> Option<Vec<u8>> {
        let Some(fields) = fixed.fields(message) else {
            self.drop_it(None, "its header is malformed");
            return None;
        };
        let cause = match fixed.kind {
            Kind::Call => {
                self.admit(fields.sender, fixed, || Content::Call(fixed.cleaned(message, &fields)));
                return None;
            }
            Kind::Reply if !fields.has_reply_serial => "it is a reply to nothing",
            // The bus stamps the sender, and no client can own the bus's name.
            Kind::Signal if fields.sender.is_none_or(|sender| sender != BUS) => "nobody asked for the signal",
            Kind::Unknown => "its type is unknown",
            Kind::Reply | Kind::Signal => return Some(fixed.cleaned(message, &fields)),
        };
        self.drop_it(fields.sender, cause);
        None
    }

    fn drop_it(&self, sender: Option<&str>, cause: &'static str) {
        let sender = sender.and_then(|sender| OwnedUniqueName::try_from(sender).ok());
        self.inbox.log_ignored(IgnoredMessage { event: "message-dropped", sender, cause });
    }

    /// Gives a call a place, holds it until its caller is identified, or refuses it.
    fn admit(&self, sender: Option<&str>, fixed: &Fixed, content: impl FnOnce() -> Content) {
        let Some(sender) = sender else { return self.drop_it(None, "the call has no sender") };
        let Ok(caller) = OwnedUniqueName::try_from(sender) else { return self.drop_it(None, "its sender is no name") };
        let to = ReplyTo { caller, serial: fixed.awaited() };
        match self.inbox.admission(sender, Instant::now()) {
            Admission::Refused(person) => self.inbox.refusals.add(Some(person), to),
            Admission::Place(identity, slot) => self.inbox.push(identity, Arrival { to, content: content() }, slot),
            Admission::Unknown => self.inbox.hold(Arrival { to, content: content() }),
        }
    }

    /// Skips a message that is too long. Its fixed header has been received.
    async fn pass_over(&mut self, fixed: &Fixed) -> io::Result<()> {
        self.fill(fixed.header().min(LONGEST_MESSAGE)).await?;
        let sender = fixed.fields(self.received.waiting()).and_then(|fields| fields.sender);
        if fixed.kind == Kind::Call {
            self.admit(sender, fixed, || Content::TooLong(fixed.total()));
        } else {
            self.drop_it(sender, "it is too long");
        }
        let mut left = fixed.total();
        loop {
            let here = self.received.waiting().len().min(left);
            self.received.start += here;
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.fill(1).await?;
        }
    }
}

/// Decodes bytes into a zbus message. If zbus cannot read them, only this call fails, and the
/// connection stays open.
pub(super) async fn decode_message(sequence: u64, mut bytes: Vec<u8>) -> zbus::Result<Message> {
    /// A source without bytes: the whole message is in the buffer already.
    #[derive(Debug)]
    struct Nothing;

    #[async_trait]
    impl ReadHalf for Nothing {
        async fn recvmsg(&mut self, _: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    Nothing.receive_message(sequence, &mut bytes, &mut Vec::new()).await
}

/// The half that messages leave through.
#[derive(Debug)]
pub(super) struct Writer {
    stream: Stream,
    /// Bytes still to be sent. If a sender is cancelled, the next one sends the rest, so the bus
    /// never gets half a message.
    unsent: Vec<u8>,
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        self.send_messages(std::slice::from_ref(message)).await
    }

    async fn send_messages(&mut self, messages: &[Message]) -> zbus::Result<()> {
        for message in messages {
            self.unsent.extend_from_slice(message.data().bytes());
        }
        while !self.unsent.is_empty() {
            let count = self.stream.0.write_with(|mut socket| socket.write(&self.unsent)).await?;
            self.unsent.drain(..count);
        }
        // Releases the memory that a burst of answers took.
        self.unsent.shrink_to(CHUNK);
        Ok(())
    }

    /// Used for the handshake only.
    async fn sendmsg(&mut self, bytes: &[u8], _none: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.stream.0.write_with(|mut socket| socket.write(bytes)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.stream.0.get_ref().shutdown(Shutdown::Both)
    }
}

#[cfg(test)]
mod tests;
