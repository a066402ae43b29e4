//! Calls that have arrived and are not processed yet, bounded for each person and in all.
//!
//! A call holds a place from its arrival until it is answered, or until it gets a place in the
//! [`Quota`] for slower calls. The first calls of a caller are held until the bus has identified
//! it. A call without a place is not even decoded.
//!
//! At the bus's own limits one person can have 32,768 open calls, and all other calls queue behind
//! them. So a person who exceeds their places is refused every call for a moment. Each call of the
//! backlog then costs only a look at its header. The refusals go out at a bounded rate, so that the
//! backlog does not come back at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use zbus::names::OwnedUniqueName;
use zruntime::Event;

use super::call::ReplyTo;
use super::log_limit::LimitedLog;
use super::person::{Identity, People, Person};
use super::quota::{Quota, Slot};
use super::refusals::Refusals;
use super::{locked, or_unknown};
use crate::log::Line;

/// How long a person who has exceeded their places is refused.
const PENALTY: Duration = Duration::from_millis(100);

/// The number of callers whose identity is remembered. It stays valid: the bus never gives a unique
/// name to a second connection.
const REMEMBERED: usize = 1024;

/// The bytes that a held call is counted with in addition to its own, for the question to the bus.
const HELD_CALL: usize = 1024;
/// Upper bounds on the bytes of all held calls, for a caller's further call and for its first one.
/// The second is larger, so a flood leaves room for the first call of a new caller.
const MOST_HELD: usize = 256 * 1024;
const MOST_HELD_OF_FIRST: usize = 4 * 1024 * 1024;

/// A call as it arrived.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) to: ReplyTo,
    /// The message without unknown header fields, or the length of one that is too long to be
    /// stored.
    pub(super) message: Result<Vec<u8>, usize>,
}

impl Arrival {
    /// The bytes that the call is counted with while it is held.
    fn held_bytes(&self) -> usize {
        HELD_CALL + self.message.as_ref().map_or(0, Vec::len)
    }
}

/// Calls that have arrived, with the limits on them. The module has the rules.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) refusals: Refusals,
    people: People,
    places: Quota,
    log: Arc<LimitedLog>,
    state: Mutex<State>,
    more: Event,
}

#[derive(Debug, Default)]
struct State {
    callers: HashMap<OwnedUniqueName, Identity>,
    /// The time until which each of these persons is refused.
    penalised: HashMap<Person, Instant>,
    /// The calls of callers that the bus has not identified yet, and their bytes.
    held: HashMap<OwnedUniqueName, Vec<Arrival>>,
    held_bytes: usize,
    waiting: Waiting,
}

/// Everything that waits to be processed.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Calls of identified callers, with their places.
    pub(super) calls: Vec<(Arrival, Slot)>,
    /// Callers that the bus has to be asked about.
    pub(super) to_identify: Vec<OwnedUniqueName>,
}

impl Inbox {
    pub(super) fn new(log: Arc<LimitedLog>) -> Self {
        Self {
            refusals: Refusals::default(),
            people: People::default(),
            places: Quota::default(),
            log,
            state: Mutex::default(),
            more: Event::new(),
        }
    }

    /// Queues a call that has a place, holds it until its caller is identified, or refuses it.
    /// Costs microseconds. `length` is an upper bound on the bytes to keep of the call. `message`
    /// makes its [`Arrival::message`], which a refused call does not need.
    pub(super) fn arrive(&self, to: ReplyTo, length: usize, message: impl FnOnce() -> Result<Vec<u8>, usize>) {
        let mut state = self.state();
        let caller = to.caller.clone();
        if let Some(from) = state.callers.get(&caller).copied() {
            return self.admit(&mut state, from, to, message);
        }
        let is_first = !state.held.contains_key(&caller);
        let held_bytes = state.held_bytes + HELD_CALL + length;
        if held_bytes > if is_first { MOST_HELD_OF_FIRST } else { MOST_HELD } {
            return self.refusals.add(None, to);
        }
        let arrival = Arrival { to, message: message() };
        state.held_bytes += arrival.held_bytes();
        if is_first {
            state.waiting.to_identify.push(caller.clone());
            self.more.notify(1);
        }
        state.held.entry(caller).or_default().push(arrival);
    }

    /// Queues a call of an identified caller if there is a place for it, or refuses it.
    fn admit(&self, state: &mut State, from: Identity, to: ReplyTo, message: impl FnOnce() -> Result<Vec<u8>, usize>) {
        if let Some(slot) = self.place(state, from, &to.caller, Instant::now()) {
            state.waiting.calls.push((Arrival { to, message: message() }, slot));
            self.more.notify(1);
        } else {
            self.refusals.add(Some(from.person), to);
        }
    }

    fn place(&self, state: &mut State, from: Identity, caller: &OwnedUniqueName, now: Instant) -> Option<Slot> {
        if state.penalised.get(&from.person).is_some_and(|until| now < *until) {
            return None;
        }
        let place = self.places.enter(from).ok();
        // Root is bounded but not refused for a time: it could do any harm anyway.
        if place.is_none() && from.person != Person::ROOT {
            state.penalised.retain(|_, until| now < *until);
            state.penalised.insert(from.person, now + PENALTY);
            self.log.write(Some(from.person), || {
                let line = Line::warning("calls-refused").with("uid", from.uid).with("sender", caller);
                line.with("cause", "too many calls of this person are open")
            });
        }
        place
    }

    /// Admits or refuses the held calls of a caller that the bus has identified.
    pub(super) fn identify(&self, caller: &OwnedUniqueName, uid: u32) {
        let from = self.people.identity(uid);
        let mut state = self.state();
        if state.callers.len() == REMEMBERED {
            // All others are identified again at their next call.
            state.callers.clear();
        }
        state.callers.insert(caller.clone(), from);
        for Arrival { to, message } in state.release(caller) {
            self.admit(&mut state, from, to, || message);
        }
    }

    /// Removes and returns the held calls of a caller that the bus does not identify.
    pub(super) fn give_up(&self, caller: &OwnedUniqueName) -> Vec<Arrival> {
        self.state().release(caller)
    }

    /// Logs a message that is dropped.
    pub(super) fn log_dropped(&self, sender: Option<&OwnedUniqueName>, cause: &'static str) {
        let from = sender.and_then(|sender| self.state().callers.get(sender).copied());
        self.log.write(from.map(|from| from.person), || {
            let line = Line::warning("message-dropped").with("uid", or_unknown(from.map(|from| from.uid)));
            line.with("sender", or_unknown(sender)).with("cause", cause)
        });
    }

    /// Waits until there is something, and takes all of it.
    pub(super) async fn take(&self) -> Waiting {
        loop {
            // Listens before the check, so a notification in between is not lost.
            let more = self.more.listen();
            let waiting = std::mem::take(&mut self.state().waiting);
            if !waiting.calls.is_empty() || !waiting.to_identify.is_empty() {
                return waiting;
            }
            more.await;
        }
    }

    /// The number of calls that are held or have a place.
    pub(super) fn in_flight(&self) -> usize {
        self.state().held.values().map(Vec::len).sum::<usize>() + self.places.in_flight()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl State {
    /// Removes and returns the held calls of a caller.
    fn release(&mut self, caller: &OwnedUniqueName) -> Vec<Arrival> {
        let arrivals = self.held.remove(caller).unwrap_or_default();
        self.held_bytes -= arrivals.iter().map(Arrival::held_bytes).sum::<usize>();
        if self.held.is_empty() {
            // Frees the memory that a flood took.
            self.held.shrink_to_fit();
        }
        arrivals
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU32;

    use zruntime::{SharedRuntime, block_on};

    use super::super::bounded_socket::LONGEST_CALL;
    use super::super::quota::PER_PERSON;
    use super::*;
    use crate::doubles::LinesKept;

    pub(in super::super) const ALICE: Identity = Identity { uid: 1000, person: Person(1000) };
    const BOB: Identity = Identity { uid: 1001, person: Person(1001) };
    const ROOT: Identity = Identity { uid: 0, person: Person::ROOT };

    /// An inbox that has identified these callers, and the lines that it logs.
    pub(in super::super) fn inbox(callers: &[(&str, Identity)]) -> (Inbox, LinesKept) {
        let (log, lines) = LinesKept::log();
        let inbox = Inbox::new(LimitedLog::new(log, SharedRuntime::current().unwrap()));
        inbox.state().callers = callers.iter().map(|(name, from)| ((*name).try_into().unwrap(), *from)).collect();
        (inbox, lines)
    }

    fn name(number: usize) -> OwnedUniqueName {
        format!(":1.{number}").try_into().unwrap()
    }

    fn place(inbox: &Inbox, from: Identity, now: Instant) -> Option<Slot> {
        inbox.place(&mut inbox.state(), from, &name(1), now)
    }

    fn arrive(inbox: &Inbox, caller: usize, serial: u32, length: usize) {
        let to = ReplyTo { caller: name(caller), serial: NonZeroU32::new(serial) };
        let message = || if length > LONGEST_CALL { Err(length) } else { Ok(vec![0; length]) };
        inbox.arrive(to, length.min(LONGEST_CALL), message);
    }

    #[test]
    fn only_a_caller_beyond_its_quota_is_refused_for_a_moment() {
        block_on(async {
            let ((inbox, lines), now) = (inbox(&[]), Instant::now());
            let slots: Vec<_> = (0..=PER_PERSON).filter_map(|_| place(&inbox, ALICE, now)).collect();
            assert_eq!(slots.len(), PER_PERSON);
            drop(slots);
            let subordinate = Identity { uid: 100_000, ..ALICE };
            assert!(place(&inbox, subordinate, now + PENALTY / 2).is_none(), "another uid of the same person");
            assert!(place(&inbox, BOB, now + PENALTY / 2).is_some());
            assert!(place(&inbox, subordinate, now + PENALTY).is_some());
            assert_eq!(lines.all().len(), 1, "one line for all of them");
        });
    }

    #[test]
    fn root_is_bounded_and_not_made_to_rest() {
        block_on(async {
            let ((inbox, _), now) = (inbox(&[]), Instant::now());
            let mut slots: Vec<_> = (0..=PER_PERSON).filter_map(|_| place(&inbox, ROOT, now)).collect();
            assert_eq!(slots.len(), PER_PERSON);
            drop(slots.pop());
            assert!(place(&inbox, ROOT, now).is_some());
        });
    }

    #[test]
    fn calls_of_an_unidentified_sender_wait_for_the_bus_to_identify_it() {
        block_on(async {
            let (inbox, _) = inbox(&[]);
            for serial in 1..=3 {
                arrive(&inbox, 1, serial, 100);
            }
            assert_eq!(inbox.take().await.to_identify, [name(1)], "one question for all of them");
            assert_eq!(inbox.in_flight(), 3);
            inbox.identify(&name(1), 65_533);
            let calls = inbox.take().await.calls;
            let serials: Vec<_> = calls.iter().filter_map(|(arrival, _)| arrival.to.serial).collect();
            assert_eq!(serials.iter().map(|serial| serial.get()).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(calls.iter().all(|(_, slot)| slot.from.uid == 65_533));
            drop(calls);
            assert_eq!((inbox.in_flight(), inbox.state().held_bytes), (0, 0));
            arrive(&inbox, 1, 4, 100);
            assert!(inbox.take().await.to_identify.is_empty(), "it is known now");
        });
    }

    #[test]
    fn calls_of_a_sender_unknown_to_the_bus_are_dropped() {
        block_on(async {
            let (inbox, _) = inbox(&[]);
            arrive(&inbox, 1, 1, 100);
            assert_eq!(inbox.give_up(&name(1)).len(), 1);
            assert_eq!((inbox.in_flight(), inbox.give_up(&name(1)).len()), (0, 0));
            inbox.take().await;
            arrive(&inbox, 1, 2, 100);
            assert_eq!(inbox.take().await.to_identify, [name(1)], "the asking begins again");
        });
    }

    #[test]
    fn a_flood_of_unidentified_calls_leaves_a_slot_to_a_new_caller() {
        block_on(async {
            for length in [200, LONGEST_CALL, 64 * 1024] {
                let (inbox, _) = inbox(&[]);
                for caller in 0..256 {
                    for serial in 1..=128 {
                        arrive(&inbox, caller, serial, length);
                    }
                }
                assert!(inbox.in_flight() < 1000 && inbox.state().held_bytes <= MOST_HELD_OF_FIRST);
                arrive(&inbox, 9999, 1, length);
                assert_eq!(inbox.give_up(&name(9999)).len(), 1, "{length}");
            }
        });
    }

    #[test]
    fn only_so_many_callers_are_remembered() {
        block_on(async {
            let (inbox, _) = inbox(&[]);
            for caller in 0..=REMEMBERED {
                inbox.identify(&name(caller), ALICE.uid);
                let state = inbox.state();
                assert!(state.callers.contains_key(&name(caller)) && state.callers.len() <= REMEMBERED);
            }
        });
    }
}
