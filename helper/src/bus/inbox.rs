//! What has arrived and is not looked at yet, bounded for each person and in all.
//!
//! A call has a place from its arrival until it is answered, or until it has one of the places in [`Quota`] for what takes longer.
//! A call without a place is refused before it is even read: a person at the bus's own limits has 32,768 calls on their way, and
//! everybody else's are behind them. Whoever asks for more than their places is refused everything for a moment, so that such a
//! backlog is gone in the time that it takes to look at its headers.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zbus::names::OwnedUniqueName;
use zruntime::Event;

use super::caller::{Callers, Identity, Unidentified};
use super::outbox::Outbox;
use super::person::{People, Person};
use super::quota::{Quota, Slot};
use super::reply::ReplyTo;

/// How long a person is refused who has asked for more than their places.
const REST: Duration = Duration::from_millis(100);

/// How many notes for the log wait at most.
const NOTES: usize = 64;

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) to: ReplyTo,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The message. If its body was cut off, `cut` says how many bytes it had.
    Call { bytes: Vec<u8>, cut: Option<usize> },
    /// It was not taken in, for its length in bytes.
    TooLong(usize),
}

impl Arrival {
    /// How many bytes it holds.
    fn size(&self) -> usize {
        match &self.content {
            Content::Call { bytes, .. } => bytes.len(),
            Content::TooLong(_) => 0,
        }
    }
}

/// A call of somebody known, with its place.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) from: Identity,
    pub(super) arrival: Arrival,
    pub(super) slot: Slot,
}

/// What the log is to say about a message that nobody looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) event: &'static str,
    pub(super) sender: Option<OwnedUniqueName>,
    pub(super) cause: &'static str,
}

/// Everything that waits to be looked at.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) arrivals: VecDeque<Admitted>,
    /// Callers whom the bus is to be asked about.
    pub(super) strangers: Vec<OwnedUniqueName>,
    pub(super) notes: Vec<Note>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.strangers.is_empty() && self.notes.is_empty()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) callers: Callers,
    pub(super) outbox: Outbox,
    people: People,
    places: Quota,
    /// Until when a person is refused.
    resting: Mutex<HashMap<Person, Instant>>,
    unidentified: Unidentified<Arrival>,
    waiting: Mutex<Waiting>,
    more: Event,
}

/// Whether a call is taken in.
pub(super) enum Admission {
    Place(Identity, Slot),
    Refused,
    /// The bus has not said yet who the sender is.
    Unknown,
}

impl Inbox {
    /// Whether a call of this sender is taken in now. It costs microseconds.
    pub(super) fn admission(&self, sender: &str, now: Instant) -> Admission {
        let Some(identity) = self.callers.identity(sender) else { return Admission::Unknown };
        self.place(sender, identity, now).map_or(Admission::Refused, |slot| Admission::Place(identity, slot))
    }

    fn place(&self, sender: &str, identity: Identity, now: Instant) -> Option<Slot> {
        let mut resting = locked(&self.resting);
        if resting.get(&identity.person).is_some_and(|until| now < *until) {
            return None;
        }
        let place = self.places.enter(identity.person).ok();
        // Root could do any harm anyway.
        if place.is_none() && identity.person != Person::ROOT {
            resting.retain(|_, until| now < *until);
            resting.insert(identity.person, now + REST);
            self.note(Note {
                event: "calls-refused",
                sender: OwnedUniqueName::try_from(sender).ok(),
                cause: "too many calls of this person are open",
            });
        }
        place
    }

    /// Takes in a call that has a place.
    pub(super) fn push(&self, from: Identity, arrival: Arrival, slot: Slot) {
        locked(&self.waiting).arrivals.push_back(Admitted { from, arrival, slot });
        self.more.notify(1);
    }

    /// Keeps a call until it is known whose it is, or refuses it if there are too many of those.
    pub(super) fn hold(&self, arrival: Arrival) {
        let size = arrival.size();
        match self.unidentified.enter(&arrival.to.caller.clone(), arrival, size) {
            Ok(None) => {}
            Ok(Some(stranger)) => {
                locked(&self.waiting).strangers.push(stranger);
                self.more.notify(1);
            }
            Err(arrival) => self.refuse(arrival.to.caller.as_str(), arrival.to.serial()),
        }
    }

    /// Goes on with the calls of a caller whom the bus has identified.
    pub(super) fn identify(&self, name: &OwnedUniqueName, uid: u32) {
        let identity = Identity { uid, person: self.people.behind(uid) };
        self.callers.remember(name, identity);
        for arrival in self.unidentified.leave(name) {
            match self.place(name, identity, Instant::now()) {
                Some(slot) => self.push(identity, arrival, slot),
                None => self.refuse(name.as_str(), arrival.to.serial()),
            }
        }
    }

    /// The calls of a caller whom the bus does not identify.
    pub(super) fn give_up(&self, name: &OwnedUniqueName) -> Vec<Arrival> {
        self.unidentified.leave(name)
    }

    /// Answers a call that there is no place for, if an answer is wanted. Of a backlog that the bus cannot take as many answers
    /// to, some calls stay without: it is for whoever sent them to wait.
    pub(super) fn refuse(&self, sender: &str, serial: Option<NonZeroU32>) {
        if let Some(serial) = serial {
            self.outbox.refuse(sender, serial);
        }
    }

    /// Leaves a note for the log. Beyond a bound it is forgotten: nobody waits for it.
    pub(super) fn note(&self, note: Note) {
        let mut waiting = locked(&self.waiting);
        if waiting.notes.len() < NOTES {
            waiting.notes.push(note);
            self.more.notify(1);
        }
    }

    /// Everything that waits, once there is something.
    pub(super) async fn take(&self) -> Waiting {
        loop {
            let more = self.more.listen();
            {
                let mut waiting = locked(&self.waiting);
                if !waiting.is_empty() {
                    return std::mem::take(&mut *waiting);
                }
            }
            more.await;
        }
    }

    /// How many calls wait.
    pub(super) fn in_flight(&self) -> usize {
        self.unidentified.count() + self.places.in_flight()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
