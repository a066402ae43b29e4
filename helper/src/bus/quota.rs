//! How much of the helper one caller may occupy.
//!
//! zbus starts a task for every call it reads. These bounds keep one user's calls from taking the place of everybody
//! else's while they wait for polkit or for a person.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use airpods_dbus::{Error, ErrorKind};
use zbus::names::OwnedUniqueName;
use zruntime::Event;

/// Calls in flight for one connection, and for one user over all of their connections.
pub const PER_CALLER: usize = 32;
/// Calls in flight of all users. Root has places of its own: some users together could keep all of these taken.
///
/// Only calls whose user is known are counted here. Those before that hold next to nothing, and if they counted, one user's
/// connections could fill all places while the bus is asked who that is.
pub const IN_ALL: usize = 128;

const ROOT: u32 = 0;

/// Counts the calls in flight.
#[derive(Default)]
pub struct Quota {
    counts: Mutex<Counts>,
    /// Notified when a prompt is over.
    pub prompt_over: Event,
}

#[derive(Default)]
struct Counts {
    in_all: usize,
    by_name: HashMap<OwnedUniqueName, usize>,
    by_uid: HashMap<u32, usize>,
    prompts: HashSet<u32>,
}

impl Quota {
    /// Lets one more call of this connection in, until it is known whose it is.
    ///
    /// # Errors
    /// [`ErrorKind::LimitsExceeded`] if there are too many already.
    pub fn enter(&self, name: &OwnedUniqueName) -> Result<Slot<'_>, Error> {
        let mut counts = self.counts();
        if counts.by_name.get(name).is_some_and(|count| *count >= PER_CALLER) {
            return Err(too_many());
        }
        counts.in_all += 1;
        *counts.by_name.entry(name.clone()).or_default() += 1;
        Ok(Slot { quota: self, name: name.clone(), uid: None })
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.counts().in_all
    }

    /// Opens a prompt for a user who has none open.
    #[must_use]
    pub fn open_prompt(&self, uid: u32) -> Option<Prompt<'_>> {
        let is_first = self.counts().prompts.insert(uid);
        // Not `then_some`: a prompt that is made and dropped again would close the one that is open.
        is_first.then(|| Prompt { quota: self, uid })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing here panics half-way, so counts behind a poisoned lock are still right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call in flight, until it is dropped.
#[must_use]
pub struct Slot<'a> {
    quota: &'a Quota,
    name: OwnedUniqueName,
    uid: Option<u32>,
}

impl Slot<'_> {
    /// Charges the call to the user as well, now that it is known who that is.
    ///
    /// # Errors
    /// [`ErrorKind::LimitsExceeded`] if there are too many already.
    pub fn charge(&mut self, uid: u32) -> Result<(), Error> {
        let mut counts = self.quota.counts();
        let of_all: usize = counts.by_uid.values().sum();
        if (of_all >= IN_ALL && uid != ROOT) || counts.by_uid.get(&uid).is_some_and(|count| *count >= PER_CALLER) {
            return Err(too_many());
        }
        *counts.by_uid.entry(uid).or_default() += 1;
        self.uid = Some(uid);
        Ok(())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut counts = self.quota.counts();
        counts.in_all -= 1;
        release(&mut counts.by_name, &self.name);
        if let Some(uid) = self.uid {
            release(&mut counts.by_uid, &uid);
        }
    }
}

fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The one open prompt of a user, until it is dropped.
#[must_use]
pub struct Prompt<'a> {
    quota: &'a Quota,
    uid: u32,
}

impl Drop for Prompt<'_> {
    fn drop(&mut self) {
        self.quota.counts().prompts.remove(&self.uid);
        self.quota.prompt_over.notify(usize::MAX);
    }
}

fn too_many() -> Error {
    ErrorKind::LimitsExceeded.because("too many calls are open; wait until some of them are answered")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(number: usize) -> OwnedUniqueName {
        format!(":1.{number}").try_into().unwrap()
    }

    #[test]
    fn one_connection_cannot_open_more_than_its_share() {
        let quota = Quota::default();
        let slots: Vec<_> = (0..PER_CALLER).map(|_| quota.enter(&name(1)).unwrap()).collect();
        assert_eq!(quota.enter(&name(1)).err().unwrap().kind(), ErrorKind::LimitsExceeded);
        assert!(quota.enter(&name(2)).is_ok());
        drop(slots);
        assert!(quota.enter(&name(1)).is_ok());
    }

    #[test]
    fn a_place_that_is_free_again_is_one_place() {
        let quota = Quota::default();
        let mut slots: Vec<_> = (0..PER_CALLER).map(|_| quota.enter(&name(1)).unwrap()).collect();
        for slot in &mut slots {
            slot.charge(1000).unwrap();
        }
        drop(slots.pop());
        slots.push(quota.enter(&name(1)).unwrap());
        assert!(quota.enter(&name(1)).is_err());
        assert!(slots.last_mut().unwrap().charge(1000).is_ok());
        assert!(quota.enter(&name(2)).unwrap().charge(1000).is_err());
    }

    #[test]
    fn one_user_cannot_get_more_by_opening_connections() {
        let quota = Quota::default();
        let mut slots: Vec<_> = (0..=PER_CALLER).map(|number| quota.enter(&name(number)).unwrap()).collect();
        let charged: Vec<_> = slots.iter_mut().map(|slot| slot.charge(1000).is_ok()).collect();
        assert_eq!(charged.iter().filter(|charged| **charged).count(), PER_CALLER);
        assert!(quota.enter(&name(99)).unwrap().charge(1001).is_ok());
        drop(slots);
        assert!(quota.enter(&name(0)).unwrap().charge(1000).is_ok());
    }

    #[test]
    fn there_is_a_bound_in_all() {
        let quota = Quota::default();
        let mut slots: Vec<_> = (0..IN_ALL).map(|number| quota.enter(&name(number)).unwrap()).collect();
        for (slot, uid) in slots.iter_mut().zip(1000..) {
            slot.charge(uid).unwrap();
        }
        assert_eq!(quota.enter(&name(IN_ALL)).unwrap().charge(1).err().unwrap().kind(), ErrorKind::LimitsExceeded);
        assert_eq!(quota.in_flight(), IN_ALL);
        drop(slots);
        assert_eq!(quota.in_flight(), 0);
    }

    #[test]
    fn users_together_cannot_take_the_places_of_root() {
        let quota = Quota::default();
        let mut users: Vec<_> = (0..IN_ALL).map(|number| quota.enter(&name(number)).unwrap()).collect();
        for (slot, uid) in users.iter_mut().zip(1000..) {
            slot.charge(uid).unwrap();
        }
        let mut roots: Vec<_> =
            (IN_ALL..=IN_ALL + PER_CALLER).map(|number| quota.enter(&name(number)).unwrap()).collect();
        let charged: Vec<_> = roots.iter_mut().map(|slot| slot.charge(ROOT).is_ok()).collect();
        assert_eq!(charged.iter().filter(|charged| **charged).count(), PER_CALLER);
    }

    #[test]
    fn calls_of_users_yet_unknown_take_nobodys_place() {
        let quota = Quota::default();
        let flood: Vec<_> = (0..IN_ALL * 2).map(|number| quota.enter(&name(number)).unwrap()).collect();
        assert!(quota.enter(&name(IN_ALL * 2)).unwrap().charge(0).is_ok());
        drop(flood);
    }

    #[test]
    fn a_user_has_one_prompt_at_a_time() {
        let quota = Quota::default();
        let prompt = quota.open_prompt(1000);
        assert!(prompt.is_some() && quota.open_prompt(1000).is_none() && quota.open_prompt(1001).is_some());
        drop(prompt);
        assert!(quota.open_prompt(1000).is_some());
    }
}
