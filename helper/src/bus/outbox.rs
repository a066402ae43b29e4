//! What is on its way to the bus.
//!
//! zbus waits until the bus has taken its messages, and so holds up whoever sends. Refusals wait for nobody: they are added to what
//! goes out while there is room, and at a bounded rate. Whoever is refused at once sends the next call at once, and everybody else's
//! calls stand behind it in the one socket from the bus. Until the refusal the call is unanswered, and the bus lets each connection
//! have only so many of those: a flood slows itself down.
//!
//! Of a refused call only its serial is held. Persons take turns, and the callers of each, so that one's backlog keeps nobody else
//! from an answer. Beyond a bound a call stays without one, as it does when the helper ends: then the bus answers (`NoReply`).

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zbus::names::OwnedUniqueName;
use zruntime::{AsyncIo, Event, Shared};

use super::person::Person;
use super::quota;
use super::reply::ReplyTo;

/// How often refusals go out, and how many each time: 100 in a second.
pub(super) const TURN: Duration = Duration::from_millis(100);
const IN_ONE_TURN: usize = 10;

/// How many refusals of one person wait at most: as many calls as dbus-daemon lets a user have open, 128 on each of 256 connections
/// (`max_replies_per_connection` and `max_connections_per_user`, dbus-daemon(1)).
const PER_PERSON: usize = 256 * 128;
/// How many callers of one person they may be of: some have left the bus by now.
const CALLERS: usize = 1024;
/// How many refusals of all persons wait at most.
const IN_ALL: usize = 4 * PER_PERSON;

/// Refusals are added while no more than so many bytes wait for the bus.
const ROOM: usize = 64 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    unsent: Mutex<Unsent>,
    more: Event,
    refusals: Mutex<Refusals>,
    /// Notified when there is a refusal to send.
    refused: Event,
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

    /// Answers a call that there is no place for, when it is its turn; root's immediately.
    pub(super) fn refuse(&self, caller: &str, person: Option<Person>, serial: NonZeroU32) {
        if person == Some(Person::ROOT) {
            if let Ok(caller) = OwnedUniqueName::try_from(caller) {
                self.add_refusal(caller, serial);
            }
            return;
        }
        let mut refusals = self.refusals();
        if refusals.is_empty() {
            self.refused.notify(1);
        }
        refusals.add(caller, person, serial);
    }

    /// Drops the refusals of a caller who has left the bus: nobody is there to read them, and the other callers of this person
    /// need not wait for them. The bus announces the end of a connection behind its last call, so none is added afterwards.
    pub(super) fn forget(&self, caller: &str) {
        self.refusals().forget(caller);
    }

    /// Completes when there are refusals to send.
    pub(super) async fn has_refusals(&self) {
        loop {
            let refused = self.refused.listen();
            if !self.refusals().is_empty() {
                return;
            }
            refused.await;
        }
    }

    /// Sends the refusals of one turn, as far as the bus takes them.
    pub(super) fn take_turn(&self) {
        let mut refusals = self.refusals();
        for _ in 0..IN_ONE_TURN {
            if self.waiting() >= ROOM {
                return;
            }
            let Some((caller, serial)) = refusals.next() else { return };
            self.add_refusal(caller, serial);
        }
    }

    /// Adds a refusal, if there is room.
    fn add_refusal(&self, caller: OwnedUniqueName, serial: NonZeroU32) {
        if self.waiting() < ROOM
            && let Some(refusal) = ReplyTo::new(caller, Some(serial)).error(&quota::too_many())
        {
            self.add(std::iter::once(refusal.data().bytes()));
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
        // Nothing here panics half-way, nor with the refusals in hand.
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsent {
    fn end(&self) -> u64 {
        self.sent + self.bytes.len() as u64
    }
}

/// Refusals that wait for their turn: the persons take turns, and the callers of each.
#[derive(Debug, Default)]
struct Refusals {
    /// A person is `None` while the bus has not identified the caller.
    backlogs: HashMap<Option<Person>, Backlog>,
    /// The same persons, the next one first.
    turns: VecDeque<Option<Person>>,
    count: usize,
}

/// The refusals of one person.
#[derive(Debug, Default)]
struct Backlog {
    callers: HashMap<OwnedUniqueName, VecDeque<NonZeroU32>>,
    /// The same callers, the next one first.
    turns: VecDeque<OwnedUniqueName>,
    count: usize,
}

impl Refusals {
    /// Takes in a call that is refused, if there is room.
    fn add(&mut self, caller: &str, person: Option<Person>, serial: NonZeroU32) {
        if self.count >= IN_ALL {
            return;
        }
        let backlog = self.backlogs.entry(person).or_insert_with(|| {
            self.turns.push_back(person);
            Backlog::default()
        });
        self.count += usize::from(backlog.add(caller, serial));
    }

    /// Takes out the next one to send.
    fn next(&mut self) -> Option<(OwnedUniqueName, NonZeroU32)> {
        let person = self.turns.pop_front()?;
        let backlog = self.backlogs.get_mut(&person)?;
        let next = backlog.next();
        if backlog.count == 0 {
            // What a flood made it grow to is given back.
            self.backlogs.remove(&person);
        } else {
            self.turns.push_back(person);
        }
        self.count -= usize::from(next.is_some());
        next
    }

    fn forget(&mut self, caller: &str) {
        self.count -= self.backlogs.values_mut().map(|backlog| backlog.forget(caller)).sum::<usize>();
        self.backlogs.retain(|_, backlog| backlog.count > 0);
        self.turns.retain(|person| self.backlogs.contains_key(person));
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Backlog {
    /// Takes in a refused call. Returns whether there was room.
    fn add(&mut self, caller: &str, serial: NonZeroU32) -> bool {
        if self.count >= PER_PERSON {
            return false;
        }
        if let Some(serials) = self.callers.get_mut(caller) {
            serials.push_back(serial);
        } else if self.turns.len() < CALLERS
            && let Ok(name) = OwnedUniqueName::try_from(caller)
        {
            self.turns.push_back(name.clone());
            self.callers.insert(name, VecDeque::from([serial]));
        } else {
            return false;
        }
        self.count += 1;
        true
    }

    fn next(&mut self) -> Option<(OwnedUniqueName, NonZeroU32)> {
        let caller = self.turns.pop_front()?;
        let serials = self.callers.get_mut(&caller)?;
        let serial = serials.pop_front()?;
        self.count -= 1;
        if serials.is_empty() {
            self.callers.remove(&caller);
        } else {
            self.turns.push_back(caller.clone());
        }
        Some((caller, serial))
    }

    /// Returns how many refusals of the caller were dropped.
    fn forget(&mut self, caller: &str) -> usize {
        let Some(serials) = self.callers.remove(caller) else { return 0 };
        self.turns.retain(|other| *other != caller);
        self.count -= serials.len();
        serials.len()
    }
}

#[cfg(test)]
mod tests;
