//! Calls that have arrived and are not processed yet, bounded for each person and in all.
//!
//! A call holds a place from its arrival until it is answered, or until it gets a place in the
//! [`Quota`] for slower calls. A call without a place is not even decoded. At the bus's own limits
//! one person can have 32,768 open calls, and all other calls queue behind them. So a person who
//! exceeds their places is refused every call for a moment. Each call of the backlog then costs
//! only a look at its header. The refusals go out at a bounded rate, so that the backlog does not
//! come back at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use zbus::names::OwnedUniqueName;
use zruntime::Event;

use super::call::ReplyTo;
use super::caller::{Callers, Identity, Unidentified};
use super::locked;
use super::person::{People, Person};
use super::quota::{Quota, Slot};
use super::refusals::Refusals;

/// How long a person who has exceeded their places is refused.
const PENALTY: Duration = Duration::from_millis(100);

/// Upper bound on the ignored messages that wait to be logged.
const MAX_IGNORED: usize = 64;

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) to: ReplyTo,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The bytes of the message, without unknown header fields.
    Call(Vec<u8>),
    /// The call was too long to be stored; its length in bytes.
    TooLong(usize),
}

impl Arrival {
    /// The number of bytes that it occupies.
    fn size(&self) -> usize {
        match &self.content {
            Content::Call(bytes) => bytes.len(),
            Content::TooLong(_) => 0,
        }
    }
}

/// A call of an identified caller, with its place.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) from: Identity,
    pub(super) arrival: Arrival,
    pub(super) slot: Slot,
}

/// A message that is ignored, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IgnoredMessage {
    pub(super) event: &'static str,
    pub(super) sender: Option<OwnedUniqueName>,
    pub(super) cause: &'static str,
}

/// Everything that waits to be processed.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) arrivals: VecDeque<Admitted>,
    /// Callers that the bus has to be asked about.
    pub(super) to_identify: Vec<OwnedUniqueName>,
    pub(super) ignored: Vec<IgnoredMessage>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.to_identify.is_empty() && self.ignored.is_empty()
    }
}

/// Calls that have arrived, with the limits on them. The module has the rules.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) callers: Callers,
    pub(super) refusals: Refusals,
    people: People,
    places: Quota,
    /// The time until which each of these persons is refused.
    penalised: Mutex<HashMap<Person, Instant>>,
    unidentified: Unidentified<Arrival>,
    waiting: Mutex<Waiting>,
    more: Event,
}

/// Whether a call is admitted.
pub(super) enum Admission {
    Place(Identity, Slot),
    Refused(Person),
    /// The bus has not identified the sender yet.
    Unknown,
}

impl Inbox {
    /// Decides whether a call of this sender is admitted. Costs microseconds.
    pub(super) fn admission(&self, sender: &str, now: Instant) -> Admission {
        let Some(identity) = self.callers.identity(sender) else { return Admission::Unknown };
        let place = self.place(sender, identity, now);
        place.map_or(Admission::Refused(identity.person), |slot| Admission::Place(identity, slot))
    }

    fn place(&self, sender: &str, identity: Identity, now: Instant) -> Option<Slot> {
        let mut penalised = locked(&self.penalised);
        if penalised.get(&identity.person).is_some_and(|until| now < *until) {
            return None;
        }
        let place = self.places.enter(identity.person).ok();
        // Root is bounded but not refused for a time: it could do any harm anyway.
        if place.is_none() && identity.person != Person::ROOT {
            penalised.retain(|_, until| now < *until);
            penalised.insert(identity.person, now + PENALTY);
            self.log_ignored(IgnoredMessage {
                event: "calls-refused",
                sender: OwnedUniqueName::try_from(sender).ok(),
                cause: "too many calls of this person are open",
            });
        }
        place
    }

    /// Queues a call that has a place.
    pub(super) fn push(&self, from: Identity, arrival: Arrival, slot: Slot) {
        locked(&self.waiting).arrivals.push_back(Admitted { from, arrival, slot });
        self.more.notify(1);
    }

    /// Queues a call until its caller is identified, or refuses it if too many such calls wait.
    pub(super) fn hold(&self, arrival: Arrival) {
        let size = arrival.size();
        match self.unidentified.enter(&arrival.to.caller.clone(), arrival, size) {
            Ok(None) => {}
            Ok(Some(name)) => {
                locked(&self.waiting).to_identify.push(name);
                self.more.notify(1);
            }
            Err(arrival) => self.refusals.add(None, arrival.to),
        }
    }

    /// Admits or refuses the queued calls of a caller that the bus has identified.
    pub(super) fn identify(&self, name: &OwnedUniqueName, uid: u32) {
        let identity = Identity { uid, person: self.people.behind(uid) };
        // Remembered before the queue is emptied: later calls are admitted directly. A call that
        // the reader queues after that asks the bus again, so none is left behind.
        self.callers.remember(name, identity);
        for arrival in self.unidentified.leave(name) {
            match self.place(name, identity, Instant::now()) {
                Some(slot) => self.push(identity, arrival, slot),
                None => self.refusals.add(Some(identity.person), arrival.to),
            }
        }
    }

    /// Removes and returns the queued calls of a caller that the bus does not identify.
    pub(super) fn give_up(&self, name: &OwnedUniqueName) -> Vec<Arrival> {
        self.unidentified.leave(name)
    }

    /// Queues an ignored message for the log. Those beyond [`MAX_IGNORED`] are not logged.
    pub(super) fn log_ignored(&self, message: IgnoredMessage) {
        let mut waiting = locked(&self.waiting);
        if waiting.ignored.len() < MAX_IGNORED {
            waiting.ignored.push(message);
            self.more.notify(1);
        }
    }

    /// Waits until there is something, and takes all of it.
    pub(super) async fn take(&self) -> Waiting {
        loop {
            // Listens before the check, so a notification in between is not lost.
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

    /// The number of calls that wait or have a place.
    pub(super) fn in_flight(&self) -> usize {
        self.unidentified.count() + self.places.in_flight()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU32;

    use zruntime::block_on;

    use super::super::quota::PER_PERSON;
    use super::*;

    const ALICE: u32 = 1000;
    const BOB: u32 = 1001;

    /// An inbox that has identified these callers.
    fn inbox(callers: &[(&str, u32)]) -> Inbox {
        let inbox = Inbox::default();
        for (name, uid) in callers {
            inbox.callers.remember(&(*name).try_into().unwrap(), Identity { uid: *uid, person: Person(*uid) });
        }
        inbox
    }

    fn place(inbox: &Inbox, sender: &str, now: Instant) -> Option<Slot> {
        match inbox.admission(sender, now) {
            Admission::Place(_, slot) => Some(slot),
            Admission::Refused(_) | Admission::Unknown => None,
        }
    }

    fn serial(number: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(number)
    }

    fn arrival(sender: &str, number: u32) -> Arrival {
        let content = Content::Call(vec![0; 100]);
        Arrival { to: ReplyTo { caller: sender.try_into().unwrap(), serial: serial(number) }, content }
    }

    #[test]
    fn only_a_caller_beyond_its_quota_is_refused_for_a_moment() {
        let (inbox, now) = (inbox(&[(":1.1", ALICE), (":1.2", ALICE), (":1.3", BOB)]), Instant::now());
        let slots: Vec<_> = (0..=PER_PERSON).filter_map(|_| place(&inbox, ":1.1", now)).collect();
        assert_eq!(slots.len(), PER_PERSON);
        drop(slots);
        assert!(place(&inbox, ":1.2", now + PENALTY / 2).is_none(), "another connection of the same person");
        assert!(place(&inbox, ":1.3", now + PENALTY / 2).is_some());
        assert!(place(&inbox, ":1.2", now + PENALTY).is_some());
        assert_eq!(block_on(inbox.take()).ignored.len(), 1, "one line for all of them");
    }

    #[test]
    fn root_is_bounded_and_not_made_to_rest() {
        let (inbox, now) = (inbox(&[(":1.1", 0)]), Instant::now());
        let mut slots: Vec<_> = (0..=PER_PERSON).filter_map(|_| place(&inbox, ":1.1", now)).collect();
        assert_eq!(slots.len(), PER_PERSON);
        drop(slots.pop());
        assert!(place(&inbox, ":1.1", now).is_some());
    }

    #[test]
    fn calls_of_an_unidentified_sender_wait_for_the_bus_to_identify_it() {
        let inbox = inbox(&[]);
        assert!(matches!(inbox.admission(":1.1", Instant::now()), Admission::Unknown));
        for number in 1..=3 {
            inbox.hold(arrival(":1.1", number));
        }
        let name = OwnedUniqueName::try_from(":1.1").unwrap();
        assert_eq!(block_on(inbox.take()).to_identify, std::slice::from_ref(&name), "one question for all of them");
        assert_eq!(inbox.in_flight(), 3);
        inbox.identify(&name, ALICE);
        let admitted = block_on(inbox.take()).arrivals;
        let serials: Vec<_> = admitted.iter().map(|admitted| admitted.arrival.to.serial).collect();
        assert_eq!(serials, [serial(1), serial(2), serial(3)]);
        assert!(admitted.iter().all(|admitted| admitted.from.uid == ALICE));
        drop(admitted);
        assert_eq!(inbox.in_flight(), 0);
    }

    #[test]
    fn calls_of_a_sender_unknown_to_the_bus_are_dropped() {
        let inbox = inbox(&[]);
        inbox.hold(arrival(":1.1", 1));
        let name = OwnedUniqueName::try_from(":1.1").unwrap();
        assert_eq!(inbox.give_up(&name).len(), 1);
        assert_eq!((inbox.in_flight(), inbox.give_up(&name).len()), (0, 0));
    }

    #[test]
    fn only_so_many_ignored_messages_wait_for_the_log() {
        let inbox = inbox(&[]);
        for _ in 0..=MAX_IGNORED {
            inbox.log_ignored(IgnoredMessage { event: "message-dropped", sender: None, cause: "it is a test" });
        }
        assert_eq!(block_on(inbox.take()).ignored.len(), MAX_IGNORED);
    }
}
