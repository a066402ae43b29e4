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

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.unsent().bytes.len()
    }

    /// Whether a refusal may be added.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() < ROOM
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use futures_lite::future::{or, poll_once, zip};
    use zruntime::{SharedRuntime, block_on};

    use super::*;

    /// A connection, and the bus's end of it.
    fn connection() -> (AsyncIo<UnixStream, Shared>, UnixStream) {
        let (ours, bus) = UnixStream::pair().unwrap();
        let runtime = SharedRuntime::current().unwrap();
        (AsyncIo::new(&runtime, ours).unwrap(), bus)
    }

    /// What the bus reads next, of so many bytes.
    fn read(mut bus: &UnixStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        bus.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn messages_go_out_whole_and_in_their_order_to_a_bus_that_reads_late() {
        block_on(async {
            let ((stream, bus), outbox) = (connection(), Outbox::default());
            let messages: Vec<Vec<u8>> = (0..100).map(|number| vec![number; 10_000]).collect();
            let end = outbox.add(messages.iter().map(Vec::as_slice));
            let mut flush = Box::pin(outbox.flush(&stream, end));
            assert!(poll_once(&mut flush).await.is_none(), "more than a socket holds");
            let late = zruntime::unblock(move || read(&bus, 1_000_000));
            let (flushed, arrived) = zip(flush, late).await;
            flushed.unwrap();
            assert_eq!(arrived, messages.concat());
            assert_eq!(outbox.waiting(), 0);
        });
    }

    #[test]
    fn a_refusal_has_room_or_is_left_out_and_a_message_is_never() {
        let (outbox, serial) = (Outbox::default(), NonZeroU32::MIN);
        while outbox.has_room() {
            outbox.refuse(":1.1", serial);
        }
        let full = outbox.waiting();
        outbox.refuse(":1.1", serial);
        assert_eq!(outbox.waiting(), full);
        outbox.add([&b"answer"[..]].into_iter());
        assert_eq!(outbox.waiting(), full + 6);
    }

    #[test]
    fn what_nobody_waits_for_goes_out_too() {
        block_on(async {
            let ((stream, bus), outbox) = (connection(), Outbox::default());
            let refuse = async {
                // The flushing has begun, and found nothing.
                futures_lite::future::yield_now().await;
                outbox.refuse(":1.1", NonZeroU32::MIN);
                let length = outbox.waiting();
                zruntime::unblock(move || read(&bus, length)).await
            };
            let flush = async { Err(outbox.keep_flushing(&stream).await.map(|never| match never {})) };
            let arrived = or(flush, async { Ok(refuse.await) }).await.unwrap();
            assert!(String::from_utf8_lossy(&arrived).contains("LimitsExceeded"));
        });
    }

    #[test]
    fn a_new_connection_begins_with_nothing() {
        let outbox = Outbox::default();
        outbox.add([&b"half"[..]].into_iter());
        outbox.reset();
        assert_eq!((outbox.waiting(), outbox.add(std::iter::empty())), (0, 0));
    }
}
