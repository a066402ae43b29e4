//! One user with as many connections and unanswered calls as the bus grants.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use airpods_lab::raw_bus::{RawConnection, RawMessage, bus_call, flags, kind};

/// `max_connections_per_user` and `max_replies_per_connection` of a system bus (dbus-daemon(1)); dbus-broker counts bytes instead, of which
/// this is far from too many.
const CONNECTIONS: usize = 256;
const CALLS: usize = 128;
/// One connection of so many takes no answer out of its socket.
const DEAF: usize = 16;

/// A flood that goes on until it is dropped.
pub(crate) struct Flood {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends these messages in turn, over and over.
    pub(crate) fn start(user: u32, socket: &Path, messages: &[RawMessage]) -> Self {
        let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let burst = Burst::of(messages);
        let mut lines: Vec<_> =
            (0..CONNECTIONS).map(|number| Line::open(user, socket.to_owned(), number % DEAF != 0)).collect();
        let (asked, count) = (Arc::clone(&ends), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                let moved: u64 = lines.iter_mut().map(|line| line.go_on(&burst)).sum();
                count.fetch_add(moved, Ordering::Relaxed);
                if moved == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Self { ends, sent, thread: Some(thread) }
    }

    /// Waits until the bus has taken this many bursts of every connection, or for this long.
    pub(crate) fn wait_for(&self, bursts: u64, limit: Duration) {
        let start = std::time::Instant::now();
        let wanted = bursts * (CONNECTIONS - CONNECTIONS / DEAF) as u64;
        while self.sent.load(Ordering::Relaxed) < wanted && start.elapsed() < limit {
            assert!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the flood has ended");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it, and returns how many messages went out.
    pub(crate) fn end(mut self) -> u64 {
        self.stop();
        self.sent.load(Ordering::Relaxed) * CALLS as u64
    }

    fn stop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Its own failure has been printed; a second panic would end the test program.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// As many messages as may go unanswered, and where their serials are.
struct Burst {
    bytes: Vec<u8>,
    serials: Vec<usize>,
    /// How many answers come to it.
    answers: usize,
}

impl Burst {
    fn of(messages: &[RawMessage]) -> Self {
        let (mut bytes, mut serials, mut answers) = (Vec::new(), Vec::new(), 0);
        // The bus's own answer shows that it has taken the others.
        for message in messages.iter().cycle().take(CALLS - 1).chain([&bus_call("GetId")]) {
            serials.push(bytes.len() + 8);
            bytes.extend(message.encode(1));
            answers += usize::from(message.kind == kind::CALL && message.flags & flags::NO_REPLY_EXPECTED == 0);
        }
        Self { bytes, serials, answers }
    }
}

/// One connection of the flood.
struct Line {
    user: u32,
    socket: PathBuf,
    connection: RawConnection,
    hears: bool,
    /// Bytes that are still to be sent, from `written` on.
    burst: Vec<u8>,
    written: usize,
    /// What has come and is no whole message yet, and how many answers are still to come.
    heard: Vec<u8>,
    awaited: usize,
}

impl Line {
    fn open(user: u32, socket: PathBuf, hears: bool) -> Self {
        let connection = RawConnection::open(user, &socket).unwrap();
        connection.stream().set_nonblocking(true).unwrap();
        Self { user, socket, connection, hears, burst: Vec::new(), written: 0, heard: Vec::new(), awaited: 0 }
    }

    /// Takes what has come and sends what the bus takes. Returns how many bursts were begun.
    fn go_on(&mut self, burst: &Burst) -> u64 {
        self.exchange(burst).unwrap_or_else(|_| {
            // The bus has had enough of this one.
            *self = Self::open(self.user, self.socket.clone(), self.hears);
            0
        })
    }

    fn exchange(&mut self, burst: &Burst) -> std::io::Result<u64> {
        let mut stream = self.connection.stream();
        let mut scratch = vec![0; 64 * 1024];
        while self.hears {
            match stream.read(&mut scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.heard.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while let Some(length) = message_length(&self.heard) {
            self.heard.drain(..length);
            self.awaited = self.awaited.saturating_sub(1);
        }
        if self.written < self.burst.len() {
            match stream.write(&self.burst[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            return Ok(0);
        }
        // A deaf connection has its calls waiting for ever.
        if self.burst.is_empty() || (self.hears && self.awaited == 0) {
            self.burst.clone_from(&burst.bytes);
            for at in &burst.serials {
                let serial = self.connection.next_serial();
                self.burst[*at..*at + 4].copy_from_slice(&serial.to_le_bytes());
            }
            self.written = 0;
            self.awaited = burst.answers;
            return Ok(1);
        }
        Ok(0)
    }
}

/// The length of the message that these bytes begin with, if all of it is there.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes);
    let length = 16 + (number(12)? as usize).next_multiple_of(8) + number(4)? as usize;
    (bytes.len() >= length).then_some(length)
}
