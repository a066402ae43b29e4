//! Refusals that wait for their turn.
//!
//! Whoever is refused at once sends the next call at once, and everybody else's calls stand behind it in the one socket from the bus. So
//! refusals go out at a bounded rate. Until then the calls are unanswered, and the bus lets each connection have only so many of
//! those: a flood slows itself down.
//!
//! What is held of a call is its serial. Callers take turns, so that one connection's backlog keeps nobody else from an answer. Beyond a
//! bound a call stays without one, as it does when the helper ends: then the bus answers (`NoReply`).

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use zbus::names::OwnedUniqueName;

use super::person::Person;

/// How often refusals go out, and how many each time: 100 in a second.
pub(super) const TURN: Duration = Duration::from_millis(100);
pub(super) const IN_ONE_TURN: usize = 10;

/// How many refusals of one person wait at most: as many calls as dbus-daemon lets a user have open, 128 on each of 256 connections
/// (`max_replies_per_connection` and `max_connections_per_user`, dbus-daemon(1)).
const PER_PERSON: usize = 256 * 128;
/// How many refusals of all persons wait at most, and of how many callers.
const IN_ALL: usize = 4 * PER_PERSON;
const CALLERS: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    callers: HashMap<OwnedUniqueName, Refused>,
    /// The same callers, the next one first.
    turns: VecDeque<OwnedUniqueName>,
    /// How many refusals of each person wait.
    counts: HashMap<Option<Person>, usize>,
    count: usize,
}

#[derive(Debug)]
struct Refused {
    person: Option<Person>,
    serials: VecDeque<NonZeroU32>,
}

impl Refusals {
    /// Takes in a call that is refused, if there is room. A person is `None` while the bus has not identified the caller.
    pub(super) fn add(&mut self, caller: &str, person: Option<Person>, serial: NonZeroU32) {
        let person = self.callers.get(caller).map_or(person, |refused| refused.person);
        let count = self.counts.get(&person).copied().unwrap_or_default();
        if count >= PER_PERSON || self.count >= IN_ALL {
            return;
        }
        if let Some(refused) = self.callers.get_mut(caller) {
            refused.serials.push_back(serial);
        } else {
            let Ok(name) = OwnedUniqueName::try_from(caller) else { return };
            if self.turns.len() >= CALLERS {
                return;
            }
            self.turns.push_back(name.clone());
            self.callers.insert(name, Refused { person, serials: VecDeque::from([serial]) });
        }
        self.counts.insert(person, count + 1);
        self.count += 1;
    }

    /// Takes out the next one to send.
    pub(super) fn next(&mut self) -> Option<(OwnedUniqueName, NonZeroU32)> {
        let caller = self.turns.pop_front()?;
        let refused = self.callers.get_mut(&caller)?;
        let serial = refused.serials.pop_front()?;
        self.count -= 1;
        if let Some(count) = self.counts.get_mut(&refused.person) {
            *count -= 1;
        }
        if refused.serials.is_empty() {
            self.callers.remove(&caller);
        } else {
            self.turns.push_back(caller.clone());
        }
        if self.is_empty() {
            // What a flood made it grow to is given back.
            *self = Self::default();
        }
        Some((caller, serial))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALICE: Option<Person> = Some(Person(1000));
    const BOB: Option<Person> = Some(Person(1001));

    fn serial(number: usize) -> NonZeroU32 {
        u32::try_from(number + 1).ok().and_then(NonZeroU32::new).unwrap()
    }

    fn flood(refusals: &mut Refusals, person: Option<Person>, connections: std::ops::Range<usize>, calls: usize) {
        for call in 0..calls {
            for connection in connections.clone() {
                refusals.add(&format!(":1.{connection}"), person, serial(call));
            }
        }
    }

    fn all(refusals: &mut Refusals) -> Vec<(String, u32)> {
        std::iter::from_fn(|| refusals.next()).map(|(caller, serial)| (caller.to_string(), serial.get())).collect()
    }

    #[test]
    fn callers_take_turns_and_each_is_answered_in_the_order_of_its_calls() {
        let mut refusals = Refusals::default();
        flood(&mut refusals, ALICE, 1..2, 3);
        flood(&mut refusals, BOB, 2..3, 2);
        let expected = [(":1.1", 1), (":1.2", 1), (":1.1", 2), (":1.2", 2), (":1.1", 3)];
        assert_eq!(all(&mut refusals), expected.map(|(caller, serial)| (caller.to_owned(), serial)));
    }

    #[test]
    fn a_newcomer_waits_for_one_turn_of_each_caller_and_not_for_a_backlog() {
        let mut refusals = Refusals::default();
        flood(&mut refusals, ALICE, 0..256, 128);
        refusals.add(":1.999", BOB, serial(0));
        let before = std::iter::from_fn(|| refusals.next()).position(|(caller, _)| caller == ":1.999");
        assert_eq!(before, Some(256));
    }

    #[test]
    fn one_person_takes_no_room_from_another_and_all_have_so_much() {
        let mut refusals = Refusals::default();
        flood(&mut refusals, ALICE, 0..512, 128);
        assert_eq!(refusals.count, PER_PERSON);
        flood(&mut refusals, BOB, 512..513, 1);
        assert_eq!(refusals.count, PER_PERSON + 1);
        for person in 0..8 {
            flood(&mut refusals, Some(Person(2000 + person)), 0..CALLERS + 10, 128);
        }
        assert!(refusals.count <= IN_ALL && refusals.callers.len() <= CALLERS, "{}", refusals.count);
        let held = refusals.count;
        assert_eq!(all(&mut refusals).len(), held);
    }

    #[test]
    fn a_caller_who_is_identified_meanwhile_stays_counted_where_it_was() {
        let mut refusals = Refusals::default();
        for person in [None, ALICE, None, ALICE] {
            refusals.add(":1.1", person, serial(0));
        }
        assert_eq!(refusals.counts, HashMap::from([(None, 4)]));
        assert_eq!(all(&mut refusals).len(), 4);
    }

    #[test]
    fn nothing_is_kept_when_all_have_their_answer() {
        let mut refusals = Refusals::default();
        flood(&mut refusals, ALICE, 0..256, 128);
        refusals.add("no name", BOB, serial(0));
        assert_eq!(all(&mut refusals).len(), PER_PERSON);
        assert!(refusals.is_empty() && refusals.callers.capacity() == 0 && refusals.turns.capacity() == 0);
    }
}
