//! What is on its way to the bus.
//!
//! zbus waits until the bus has taken its messages, and so holds up whoever sends. Refusals wait for nobody: they are added to what
//! goes out while there is room, and left out where there is none.

use std::convert::Infallible;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zruntime::{AsyncIo, Event, Shared};

use super::reply;

/// Refusals are added while no more than so many bytes wait for the bus.
const ROOM: usize = 64 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    unsent: Mutex<Unsent>,
    more: Event,
}

#[derive(Debug, Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// How many bytes have been sent in all.
    sent: u64,
}

impl Outbox {
    /// Begins with a new connection.
    pub(super) fn reset(&self) {
        *self.unsent() = Unsent::default();
    }

    /// Adds messages. Returns the end of them, to [wait](Self::flush) for.
    pub(super) fn add<'a>(&self, messages: impl Iterator<Item = &'a [u8]>) -> u64 {
        let mut unsent = self.unsent();
        messages.for_each(|message| unsent.bytes.extend_from_slice(message));
        unsent.end()
    }

    /// Adds a refusal of a call, if there is room.
    pub(super) fn refuse(&self, caller: &str, serial: NonZeroU32) {
        let mut unsent = self.unsent();
        if unsent.bytes.len() < ROOM {
            reply::write_refusal(&mut unsent.bytes, caller, serial);
            self.more.notify(1);
        }
    }

    /// Completes when everything up to `end` is sent. Whoever gives up waiting leaves it to the next one.
    pub(super) async fn flush(&self, stream: &AsyncIo<UnixStream, Shared>, end: u64) -> io::Result<()> {
        while self.unsent().sent < end {
            stream.write_with(|socket| self.send_some(socket)).await?;
        }
        Ok(())
    }

    /// Sends whatever there is, and whatever is added.
    pub(super) async fn keep_flushing(&self, stream: &AsyncIo<UnixStream, Shared>) -> io::Result<Infallible> {
        loop {
            let more = self.more.listen();
            let end = self.unsent().end();
            self.flush(stream, end).await?;
            more.await;
        }
    }

    fn send_some(&self, mut socket: &UnixStream) -> io::Result<()> {
        let mut unsent = self.unsent();
        if !unsent.bytes.is_empty() {
            let count = socket.write(&unsent.bytes)?;
            unsent.bytes.drain(..count);
            unsent.sent += count as u64;
            if unsent.bytes.is_empty() {
                unsent.bytes.shrink_to(ROOM);
            }
        }
        Ok(())
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        // Nothing here panics half-way.
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsent {
    fn end(&self) -> u64 {
        self.sent + self.bytes.len() as u64
    }
}
