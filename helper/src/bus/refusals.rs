//! Refusals of calls that there is no place for.
//!
//! They wait for nobody who reads, and go out at a bounded rate. A caller who is refused immediately sends the next
//! call immediately, and everybody else's calls queue behind it in the one socket from the bus. Until its refusal a
//! call is unanswered, and the bus limits the unanswered calls of each connection: a flood slows itself down.
//!
//! Of a refused call only its serial is held. Persons take turns, and the callers of each, so that one's backlog keeps nobody else
//! from an answer. Beyond a bound a call stays without one, as it does when the helper ends: then the bus answers (`NoReply`).

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zbus::Message;
use zbus::names::OwnedUniqueName;
use zruntime::Event;

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

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: Mutex<Waiting>,
    /// Notified when there is one to send.
    more: Event,
}

impl Refusals {
    /// Answers a call when it is its turn.
    pub(super) fn add(&self, caller: &str, person: Option<Person>, serial: NonZeroU32) {
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            self.more.notify(1);
        }
        waiting.add(caller, person, serial);
    }

    /// Drops the refusals of a caller who has left the bus: nobody is there to read them, and the other callers of this person
    /// need not wait for them. The bus announces the end of a connection behind its last call, so none is added afterwards.
    pub(super) fn forget(&self, caller: &str) {
        self.waiting().forget(caller);
    }

    /// Completes when there are refusals to send.
    pub(super) async fn some(&self) {
        loop {
            let more = self.more.listen();
            if !self.waiting().is_empty() {
                return;
            }
            more.await;
        }
    }

    /// Takes out the refusals of one turn.
    pub(super) fn turn(&self) -> Vec<Message> {
        let mut waiting = self.waiting();
        let next = std::iter::from_fn(|| waiting.next()).take(IN_ONE_TURN);
        next.filter_map(|(caller, serial)| ReplyTo::new(caller, Some(serial)).error(&quota::too_many())).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing here panics half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refusals that wait for their turn: the persons take turns, and the callers of each.
#[derive(Debug, Default)]
struct Waiting {
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

impl Waiting {
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
            // This frees the memory that a flood took.
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
