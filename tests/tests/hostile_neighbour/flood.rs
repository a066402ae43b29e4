//! One user with as many connections and unanswered calls as the bus allows.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use airpods_lab::raw_bus::{RawConnection, RawMessage, Received, bus_call, flags, kind};

/// `max_connections_per_user` and `max_replies_per_connection` of a system bus (dbus-daemon(1)).
/// dbus-broker counts bytes instead, and this stays far below its limit.
const CONNECTIONS: usize = 256;
const CALLS: usize = 128;
/// One connection in this many never reads its answers.
const NON_READING: usize = 16;

/// A flood that runs until it is dropped. Each connection has the allowed number of open calls, and
/// sends the next one after each answer.
pub(crate) struct Flood {
    ends: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends these messages in turn, over and over.
    pub(crate) fn start(user: u32, socket: &Path, messages: &[RawMessage]) -> Self {
        let (ends, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let messages = Messages::of(messages);
        let mut lines: Vec<_> =
            (0..CONNECTIONS).map(|number| Line::open(user, socket.to_owned(), number % NON_READING != 0)).collect();
        let (asked, count) = (Arc::clone(&ends), Arc::clone(&taken));
        let thread = thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                let (mut has_moved, mut taken) = (false, 0);
                for line in &mut lines {
                    let before = line.taken;
                    has_moved |= line.go_on(&messages);
                    taken += line.taken.saturating_sub(before);
                }
                count.fetch_add(taken, Ordering::Relaxed);
                if !has_moved {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Self { ends, taken, thread: Some(thread) }
    }

    /// Waits until the bus has taken `bursts` times the open calls of all listening connections, or
    /// until `limit`. Returns the number of messages taken from them.
    pub(crate) fn wait_for(&self, bursts: u64, limit: Duration) -> u64 {
        let start = Instant::now();
        let wanted = bursts * ((CONNECTIONS - CONNECTIONS / NON_READING) * CALLS) as u64;
        let taken = || self.taken.load(Ordering::Relaxed);
        while taken() < wanted && start.elapsed() < limit {
            assert!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the flood has ended");
            thread::sleep(Duration::from_millis(5));
        }
        println!("the bus has taken {} messages in {:?}", taken(), start.elapsed());
        taken()
    }

    /// Ends it, and returns the number of messages that the bus has taken from listening
    /// connections.
    pub(crate) fn end(mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // The thread's panic has been printed. A second panic here would abort the test program.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// The messages to send in turn, as bytes, and whether each has an answer.
struct Messages {
    encoded: Vec<(Vec<u8>, bool)>,
    /// A call of the bus itself. Its answer shows that the bus has taken all earlier messages.
    mark: Vec<u8>,
}

impl Messages {
    fn of(messages: &[RawMessage]) -> Self {
        let is_answered =
            |message: &RawMessage| message.kind == kind::CALL && message.flags & flags::NO_REPLY_EXPECTED == 0;
        Self {
            encoded: messages.iter().map(|message| (message.encode(1), is_answered(message))).collect(),
            mark: bus_call("GetId").encode(1),
        }
    }
}

/// One connection of the flood.
struct Line {
    user: u32,
    socket: PathBuf,
    connection: RawConnection,
    hears: bool,
    /// Bytes that are still to be sent.
    unsent: Vec<u8>,
    /// Received bytes of an incomplete message.
    heard: Vec<u8>,
    /// The number of calls without an answer yet.
    open: usize,
    /// The number of messages sent, and of those that the bus has taken.
    sent: u64,
    taken: u64,
    /// The serials of the calls of the bus, and the number of messages sent before each.
    marks: VecDeque<(u32, u64)>,
}

impl Line {
    fn open(user: u32, socket: PathBuf, hears: bool) -> Self {
        let connection = RawConnection::open(user, &socket).unwrap();
        connection.stream().set_nonblocking(true).unwrap();
        let (unsent, marks) = (Vec::new(), VecDeque::new());
        Self { user, socket, connection, hears, unsent, heard: Vec::new(), open: 0, sent: 0, taken: 0, marks }
    }

    /// Reads the received bytes and sends as much as the bus accepts. Returns whether any bytes
    /// moved.
    fn go_on(&mut self, messages: &Messages) -> bool {
        self.exchange(messages).unwrap_or_else(|_| {
            // The bus has closed this connection, so open another.
            *self = Self::open(self.user, self.socket.clone(), self.hears);
            true
        })
    }

    fn exchange(&mut self, messages: &Messages) -> std::io::Result<bool> {
        let has_heard = self.hears && self.hear()?;
        if self.unsent.is_empty() {
            self.write_more(messages);
        }
        let has_sent = match self.connection.stream().write(&self.unsent) {
            Ok(count) => self.unsent.drain(..count).count() > 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        Ok(has_heard || has_sent)
    }

    fn hear(&mut self) -> std::io::Result<bool> {
        let mut stream = self.connection.stream();
        let mut scratch = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.heard.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut has_heard = false;
        while let Some(received) = Received::take(&mut self.heard) {
            has_heard = true;
            let Some(serial) = received.reply_serial else { continue };
            self.open = self.open.saturating_sub(1);
            let is_mark = self.marks.front().is_some_and(|(mark, _)| *mark == serial);
            if let Some((_, sent)) = is_mark.then(|| self.marks.pop_front()).flatten() {
                self.taken = sent;
            }
        }
        Ok(has_heard)
    }

    /// Queues messages up to the allowed number of unanswered calls, or that many at once if none
    /// gets an answer.
    fn write_more(&mut self, messages: &Messages) {
        for _ in 0..CALLS {
            if self.open >= CALLS {
                return;
            }
            let is_mark = self.sent % CALLS as u64 == CALLS as u64 - 1;
            let turn = usize::try_from(self.sent).unwrap() % messages.encoded.len();
            let (bytes, is_answered) = if is_mark {
                (&messages.mark, true)
            } else {
                let (bytes, is_answered) = &messages.encoded[turn];
                (bytes, *is_answered)
            };
            let serial = self.connection.next_serial();
            let at = self.unsent.len() + 8;
            self.unsent.extend_from_slice(bytes);
            self.unsent[at..at + 4].copy_from_slice(&serial.to_le_bytes());
            self.open += usize::from(is_answered);
            if is_mark {
                self.marks.push_back((serial, self.sent));
            }
            self.sent += 1;
        }
    }
}
