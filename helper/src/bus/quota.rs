//! Limits how much of the helper one person can occupy.
//!
//! An identified call holds a place until the bus has taken its answer. So the calls of one person
//! that wait for polkit or for a password cannot take all places.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use airpods_dbus::{Error, ErrorKind};
use zruntime::Event;

use super::locked;
use super::person::{Identity, Person};

/// Upper bound on the calls in flight of one person, over all their connections.
pub const PER_PERSON: usize = 32;
/// Upper bound on the calls in flight of all persons. Root is exempt: otherwise some users together
/// could take all places and lock root out.
pub const IN_ALL: usize = 128;
/// Upper bound on the open prompts of all persons.
pub const PROMPTS: usize = 8;

/// Counts the calls in flight. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<Counts>,
    prompt_over: Event,
}

#[derive(Debug, Default)]
struct Counts {
    by_person: HashMap<Person, usize>,
    prompts: HashSet<Person>,
}

impl Quota {
    /// Takes a place for one more call of this caller.
    ///
    /// # Errors
    /// [`ErrorKind::LimitsExceeded`] if no place is left.
    pub(super) fn enter(&self, from: Identity) -> Result<Slot, Error> {
        let mut counts = self.counts();
        let in_all: usize = counts.by_person.values().sum();
        let of_person = counts.by_person.entry(from.person).or_default();
        if *of_person >= PER_PERSON || (in_all >= IN_ALL && from.person != Person::ROOT) {
            return Err(too_many());
        }
        *of_person += 1;
        Ok(Slot { quota: self.clone(), from })
    }

    /// The number of calls in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.counts().by_person.values().sum()
    }

    /// Opens a prompt for a person.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if they have one open, or too many are open.
    pub(super) fn open_prompt(&self, person: Person) -> Result<Prompt, Error> {
        let mut counts = self.counts();
        if counts.prompts.contains(&person) {
            return Err(ErrorKind::Busy.because("you are being asked for a password already; answer that first"));
        }
        if counts.prompts.len() >= PROMPTS {
            let cause = "too many users are being asked for a password; try again in a moment";
            return Err(ErrorKind::Busy.because(cause));
        }
        counts.prompts.insert(person);
        Ok(Prompt { quota: self.clone(), person })
    }

    /// Notified whenever a prompt is closed.
    pub(super) fn prompt_over(&self) -> &Event {
        &self.0.prompt_over
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        locked(&self.0.counts)
    }
}

/// One call in flight, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Slot {
    quota: Quota,
    pub(super) from: Identity,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.quota.counts();
        if let Some(count) = counts.by_person.get_mut(&self.from.person) {
            *count -= 1;
        }
        counts.by_person.retain(|_, count| *count > 0);
    }
}

/// The one open prompt of a person, until it is dropped.
#[must_use]
pub(super) struct Prompt {
    quota: Quota,
    person: Person,
}

impl Drop for Prompt {
    fn drop(&mut self) {
        self.quota.counts().prompts.remove(&self.person);
        self.quota.prompt_over().notify(usize::MAX);
    }
}

pub(super) fn too_many() -> Error {
    ErrorKind::LimitsExceeded.because("too many calls are open; wait until some of them are answered")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALICE: Identity = Identity { uid: 1000, person: Person(1000) };

    fn user(uid: u32) -> Identity {
        Identity { uid, person: Person(uid) }
    }

    #[test]
    fn one_person_cannot_have_more_than_their_share_and_others_have_theirs() {
        let quota = Quota::default();
        let mut slots: Vec<_> = (0..PER_PERSON).map(|_| quota.enter(ALICE).unwrap()).collect();
        assert_eq!(quota.enter(ALICE).err().unwrap().kind(), ErrorKind::LimitsExceeded);
        assert!(quota.enter(user(1001)).is_ok());
        drop(slots.pop());
        slots.push(quota.enter(ALICE).unwrap());
        assert!(quota.enter(ALICE).is_err(), "a place that is free again is one place");
    }

    #[test]
    fn there_is_a_bound_in_all_and_root_has_places_of_its_own() {
        let quota = Quota::default();
        let users: Vec<_> = (0..IN_ALL).zip(1000..).map(|(_, uid)| quota.enter(user(uid)).unwrap()).collect();
        assert_eq!(quota.enter(user(1)).err().unwrap().kind(), ErrorKind::LimitsExceeded);
        assert_eq!(quota.in_flight(), IN_ALL);
        let roots: Vec<_> = (0..=PER_PERSON).filter_map(|_| quota.enter(user(0)).ok()).collect();
        assert_eq!(roots.len(), PER_PERSON);
        drop((users, roots));
        assert_eq!(quota.in_flight(), 0);
    }

    #[test]
    fn a_person_has_one_prompt_at_a_time_and_all_have_so_many() {
        let quota = Quota::default();
        let prompt = quota.open_prompt(ALICE.person);
        assert!(prompt.is_ok());
        assert!(quota.open_prompt(ALICE.person).err().unwrap().message().starts_with("you are being asked"));
        let others: Vec<_> =
            (1..PROMPTS).zip(2000..).map(|(_, uid)| quota.open_prompt(Person(uid)).ok().unwrap()).collect();
        assert_eq!(others.len(), PROMPTS - 1);
        assert!(quota.open_prompt(Person(3000)).err().unwrap().message().starts_with("too many users"));
        drop(prompt);
        assert!(quota.open_prompt(ALICE.person).is_ok());
    }
}
