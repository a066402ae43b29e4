//! Refusals of calls that have no place.
//!
//! The queue is separate from the reader, which never waits for it. Refusals go out at a bounded
//! rate, because a caller that is refused immediately sends the next call immediately. All other
//! calls queue behind that one in the single socket from the bus. Until its refusal a call is
//! unanswered, and the bus limits the unanswered calls of each connection. So a flood slows itself
//! down.
//!
//! Only the serial of a refused call is kept. Persons take turns, and so do the callers of a
//! person, so one backlog does not delay all others. Calls beyond the bound get no answer from the
//! helper; the bus answers them (`NoReply`) when the helper ends.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zbus::Message;
use zbus::names::OwnedUniqueName;
use zruntime::Event;

use super::call::ReplyTo;
use super::person::Person;
use super::quota;

/// The interval between two batches of refusals, and the size of a batch: 100 refusals per second.
pub(super) const TURN: Duration = Duration::from_millis(100);
const IN_ONE_TURN: usize = 10;

/// Upper bound on the queued refusals of one person. dbus-daemon allows a user as many open calls:
/// 128 on each of 256 connections (`max_replies_per_connection` and `max_connections_per_user`,
/// dbus-daemon(1)).
const PER_PERSON: usize = 256 * 128;
/// Upper bound on the callers of one person in the queue. It exceeds 256 connections, because some
/// callers may have left the bus.
const CALLERS: usize = 1024;
/// Upper bound on the queued refusals of all persons.
const IN_ALL: usize = 4 * PER_PERSON;

/// The refusals of all persons that wait to be sent. The module has the rules.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: Mutex<Waiting>,
    /// Notified when the first refusal is queued.
    more: Event,
}

impl Refusals {
    /// Queues the refusal of a call.
    pub(super) fn add(&self, caller: &str, person: Option<Person>, serial: NonZeroU32) {
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            self.more.notify(1);
        }
        waiting.add(caller, person, serial);
    }

    /// Drops the refusals of a caller that has left the bus: they are useless, and they delay the
    /// person's other callers. The bus announces the end of a connection after its last call, so
    /// none is added later.
    pub(super) fn forget(&self, caller: &str) {
        self.waiting().forget(caller);
    }

    /// Waits until there are refusals to send.
    pub(super) async fn some(&self) {
        loop {
            let more = self.more.listen();
            if !self.waiting().is_empty() {
                return;
            }
            more.await;
        }
    }

    /// Takes the next batch of refusals.
    pub(super) fn turn(&self) -> Vec<Message> {
        let mut waiting = self.waiting();
        let next = std::iter::from_fn(|| waiting.next()).take(IN_ONE_TURN);
        next.filter_map(|(caller, serial)| ReplyTo { caller, serial: Some(serial) }.error(&quota::too_many())).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No holder of the lock panics half-way, so the data behind a poisoned lock is valid.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queued refusals. Persons take turns, and so do the callers of a person.
#[derive(Debug, Default)]
struct Waiting {
    /// The key is `None` for callers that the bus has not identified.
    backlogs: HashMap<Option<Person>, Backlog>,
    /// The same persons, in the order of their turns.
    turns: VecDeque<Option<Person>>,
    count: usize,
}

/// The refusals of one person.
#[derive(Debug, Default)]
struct Backlog {
    callers: HashMap<OwnedUniqueName, VecDeque<NonZeroU32>>,
    /// The same callers, in the order of their turns.
    turns: VecDeque<OwnedUniqueName>,
    count: usize,
}

impl Waiting {
    /// Queues a refusal, if there is room.
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

    /// Takes the next refusal to send.
    fn next(&mut self) -> Option<(OwnedUniqueName, NonZeroU32)> {
        let person = self.turns.pop_front()?;
        let backlog = self.backlogs.get_mut(&person)?;
        let next = backlog.next();
        if backlog.count == 0 {
            // Frees the memory that a flood took.
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
    /// Queues a refusal. Returns whether there was room.
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

    /// Drops the caller's refusals, and returns their number.
    fn forget(&mut self, caller: &str) -> usize {
        let Some(serials) = self.callers.remove(caller) else { return 0 };
        self.turns.retain(|other| *other != caller);
        self.count -= serials.len();
        serials.len()
    }
}

#[cfg(test)]
mod tests;
