//! The way in from the bus: everything that arrives passes here, is cut to size, and nothing ends the connection.
//!
//! zbus closes a connection on any message that it cannot read, holds whatever it can read, and makes a task for each call. So this
//! stands between the bus and zbus: of what arrives, zbus gets replies to the helper's own calls and the bus's own signals.
//! Calls go to the [`Inbox`], which has a bounded number of places; while it is full, nothing is read.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::names::OwnedUniqueName;
use zbus::{Address, Message};
use zruntime::{AsyncIo, Event, Shared, SharedRuntime};

use super::header::{Fields, Fixed, Kind};
use super::reply::ReplyTo;

/// The longest message that is taken in, in bytes. An honest call has less than 500, and so has what polkit and the bus
/// answer.
pub const LONGEST_MESSAGE: usize = 64 * 1024;

/// The longest header of a call, in bytes. An honest one has less than 300.
const LONGEST_HEADER: usize = 4096;

/// The longest body of a call, in bytes. An honest one has less than 200. A longer one is cut off.
pub(super) const LONGEST_BODY: usize = 4096;

/// How many bytes are read at once.
const CHUNK: usize = 16 * 1024;

/// How many calls wait in the inbox until they are looked at.
const PLACES: usize = 64;

/// The bus itself, as a sender.
const BUS: &str = "org.freedesktop.DBus";

/// Connects to the bus. What is called there goes to `inbox`.
///
/// # Errors
/// The system's, or [`io::ErrorKind::Unsupported`] for an address that is no socket of this machine.
pub(super) fn connect(
    bus: &Address,
    runtime: &SharedRuntime,
    inbox: &Arc<Inbox>,
) -> io::Result<impl Socket<ReadHalf = Reader, WriteHalf = Writer> + use<>> {
    // A full queue is an error to be tried again, instead of a wait that nothing else can be done in.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &place(bus)?)?;
    Ok(Bounded { stream: Stream(Arc::new(AsyncIo::new_nonblocking(runtime, socket)?)), inbox: Arc::clone(inbox) })
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
struct Stream(Arc<AsyncIo<OwnedFd, Shared>>);

impl Stream {
    /// Receives some bytes, at least one.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read_with(|socket| Ok(rustix::io::read(socket, &mut *buffer)?)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

/// See the module.
#[derive(Debug)]
struct Bounded {
    stream: Stream,
    inbox: Arc<Inbox>,
}

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let writer = Writer { stream: self.stream.clone(), unsent: Vec::new() };
        Split::new(Reader { stream: self.stream, inbox: self.inbox, received: Vec::new() }, writer)
    }
}

/// The half that messages arrive through.
#[derive(Debug)]
pub(super) struct Reader {
    stream: Stream,
    inbox: Arc<Inbox>,
    /// What has arrived and is not looked at yet.
    received: Vec<u8>,
}

#[async_trait]
impl ReadHalf for Reader {
    /// The next message that is for zbus; those that are not are dealt with meanwhile.
    async fn receive_message(
        &mut self,
        sequence: u64,
        received: &mut Vec<u8>,
        _none: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        // What came with the end of the handshake.
        self.received.append(received);
        loop {
            self.fill(Fixed::LENGTH).await?;
            // The bus has framed it: after one that is no message there is no way to find the next.
            let Some(fixed) = Fixed::read(&self.received) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the bus sent what is no message").into());
            };
            if fixed.total() > LONGEST_MESSAGE || (fixed.kind == Kind::Call && fixed.header() > LONGEST_HEADER) {
                self.refuse(&fixed).await?;
                continue;
            }
            self.fill(fixed.total()).await?;
            let message: Vec<u8> = self.received.drain(..fixed.total()).collect();
            if let Some(message) = self.sort(sequence, &fixed, message).await {
                return Ok(message);
            }
        }
    }

    /// For the handshake, which comes before the first message.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((self.stream.receive(buffer).await?, Vec::new()))
    }
}

impl Reader {
    /// Receives until there are so many bytes.
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.received.len() < wanted {
            let before = self.received.len();
            self.received.resize(before.max(wanted - CHUNK.min(wanted)) + CHUNK, 0);
            let count = self.stream.receive(&mut self.received[before..]).await;
            self.received.truncate(before + count.as_ref().map_or(0, |count| *count));
            count?;
        }
        Ok(())
    }

    /// Returns a message that is for zbus, and deals with any other.
    async fn sort(&self, sequence: u64, fixed: &Fixed, message: Vec<u8>) -> Option<Message> {
        let Some(fields) = fixed.fields(&message) else {
            self.inbox.note(Dropped { sender: None, cause: "its header is malformed" });
            return None;
        };
        let sender = fields.sender.clone();
        match fixed.kind {
            Kind::Call => {
                self.take_in(fixed, &fields, message).await;
                None
            }
            Kind::Reply if !fields.has_reply_serial => self.drop_it(sender, "it is a reply to nothing"),
            // Nobody else can have the bus's name.
            Kind::Signal if sender.as_ref().is_none_or(|sender| sender.as_str() != BUS) => {
                self.drop_it(sender, "nobody asked for the signal")
            }
            Kind::Unknown => self.drop_it(sender, "its type is unknown"),
            Kind::Reply | Kind::Signal => match decoded(sequence, fixed.cleaned(message, &fields)).await {
                Ok(message) => Some(message),
                Err(_) => self.drop_it(sender, "it is malformed"),
            },
        }
    }

    fn drop_it(&self, sender: Option<OwnedUniqueName>, cause: &'static str) -> Option<Message> {
        self.inbox.note(Dropped { sender, cause });
        None
    }

    /// Puts a call into the inbox, without its body if that is too long.
    async fn take_in(&self, fixed: &Fixed, fields: &Fields, message: Vec<u8>) {
        let Some(sender) = fields.sender.clone() else {
            self.inbox.note(Dropped { sender: None, cause: "the call has no sender" });
            return;
        };
        let cut = Some(fixed.body()).filter(|length| *length > LONGEST_BODY);
        let bytes = match cut {
            Some(_) => fixed.beheaded(&message, fields),
            None => fixed.cleaned(message, fields),
        };
        let arrival = match decoded(0, bytes).await {
            Ok(message) => Arrival::Call { message, cut },
            Err(_) => Arrival::Unreadable(ReplyTo::new(sender, fixed.awaited())),
        };
        self.inbox.push(arrival).await;
    }

    /// Reads past a message that is too long, of which the beginning has been received.
    async fn refuse(&mut self, fixed: &Fixed) -> io::Result<()> {
        self.fill(fixed.header().min(LONGEST_MESSAGE)).await?;
        let sender = fixed.fields(&self.received).and_then(|fields| fields.sender);
        let here = self.received.len().min(fixed.total());
        self.received.drain(..here);
        let mut left = fixed.total() - here;
        while left > 0 {
            self.fill(left.min(CHUNK)).await?;
            let here = self.received.len().min(left);
            self.received.drain(..here);
            left -= here;
        }
        match sender {
            Some(sender) if fixed.kind == Kind::Call => {
                let (to, length) = (ReplyTo::new(sender, fixed.awaited()), fixed.total());
                self.inbox.push(Arrival::TooLong { to, length }).await;
            }
            sender => self.inbox.note(Dropped { sender, cause: "it is too long" }),
        }
        Ok(())
    }
}

/// Makes zbus's message of bytes. What zbus cannot read is an error here, and of no consequence to the connection.
async fn decoded(sequence: u64, mut bytes: Vec<u8>) -> zbus::Result<Message> {
    /// The bytes are all there, so none are received.
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
    /// The rest of what has been sent in part. Whoever was sending may have been given up; the bus must still get all of it.
    unsent: Vec<u8>,
}

impl Writer {
    async fn flush_unsent(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let count = self.stream.send(&self.unsent).await?;
            self.unsent.drain(..count);
        }
        Ok(())
    }
}

impl Stream {
    async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_with(|socket| Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)).await
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        self.send_messages(std::slice::from_ref(message)).await
    }

    async fn send_messages(&mut self, messages: &[Message]) -> zbus::Result<()> {
        self.flush_unsent().await?;
        for message in messages {
            self.unsent.extend_from_slice(message.data().bytes());
        }
        Ok(self.flush_unsent().await?)
    }

    /// For the handshake.
    async fn sendmsg(&mut self, bytes: &[u8], _none: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.stream.send(bytes).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.stream.0.get_ref(), Shutdown::Both)?)
    }
}

/// What is to be answered.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    /// A call. If its body was cut off, `cut` says how many bytes it had.
    Call { message: Message, cut: Option<usize> },
    /// A call that zbus cannot read.
    Unreadable(ReplyTo),
    /// A call that was not taken in, for its length in bytes.
    TooLong { to: ReplyTo, length: usize },
}

/// A message that nobody waits for an answer to, and that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) sender: Option<OwnedUniqueName>,
    pub(super) cause: &'static str,
}

/// Calls that have arrived and have not been looked at.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    more: Event,
    room: Event,
}

#[derive(Debug, Default)]
struct Waiting {
    arrivals: VecDeque<Arrival>,
    dropped: VecDeque<Dropped>,
}

impl Inbox {
    /// Waits for a place.
    async fn push(&self, arrival: Arrival) {
        loop {
            let room = self.room.listen();
            {
                let mut waiting = self.waiting();
                if waiting.arrivals.len() < PLACES {
                    waiting.arrivals.push_back(arrival);
                    self.more.notify(1);
                    return;
                }
            }
            room.await;
        }
    }

    /// Leaves a note for the log. Beyond a bound it is forgotten: nobody waits for it.
    fn note(&self, dropped: Dropped) {
        let mut waiting = self.waiting();
        if waiting.dropped.len() < PLACES {
            waiting.dropped.push_back(dropped);
            self.more.notify(1);
        }
    }

    /// Everything that waits, once there is something.
    pub(super) async fn take(&self) -> (VecDeque<Arrival>, VecDeque<Dropped>) {
        loop {
            let more = self.more.listen();
            {
                let mut waiting = self.waiting();
                if !waiting.arrivals.is_empty() || !waiting.dropped.is_empty() {
                    let Waiting { arrivals, dropped } = std::mem::take(&mut *waiting);
                    self.room.notify(1);
                    return (arrivals, dropped);
                }
            }
            more.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing here panics half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
