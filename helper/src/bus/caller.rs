//! Callers as the bus reports them: their identity, and whether they are still connected.
//!
//! The helper waits for a slow bus. Only the bus's answer that a name has no owner means that the
//! caller has left.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use airpods_dbus::{Error, ErrorKind};
use futures_lite::StreamExt;
use zbus::Connection;
use zbus::fdo::{self, DBusProxy};
use zbus::names::{BusName, OwnedUniqueName};
use zbus::proxy::CacheProperties;
use zruntime::SharedRuntime;

use super::locked;
use super::person::Person;

/// The helper starts to watch the caller only after this delay: a prompt that ends sooner (no
/// agent) needs no watching.
const WATCH_DELAY: Duration = Duration::from_millis(50);

/// Time limit for one answer of the bus, and the number of attempts. The bus drops its answer while
/// very long messages are queued for the helper. Callers give up after 25 s themselves.
const ANSWER: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

/// The number of identities that are cached. They stay valid: the bus never gives a unique name to
/// a second connection.
const REMEMBERED: usize = 1024;

/// The number of calls of one caller that can wait until the bus has identified it.
const PER_NAME: usize = 32;
/// The number of unidentified callers, each with at least one call. A bus allows one user 256
/// connections.
const MOST_NAMES: usize = 4096;
/// Upper bounds on the bytes of all waiting calls, for a caller's further call and for its first
/// one. The second is larger, so a flood leaves room for the first call of a new caller.
const MOST_BYTES: usize = 256 * 1024;
const MOST_BYTES_OF_FIRST: usize = 4 * 1024 * 1024;

/// The identities of known callers.
#[derive(Debug, Default)]
pub(super) struct Callers(Mutex<Remembered>);

/// The caller's uid, and the person whose limits apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) person: Person,
}

#[derive(Debug, Default)]
struct Remembered {
    identities: HashMap<OwnedUniqueName, Identity>,
    /// The same names, in the order of their arrival.
    order: VecDeque<OwnedUniqueName>,
}

impl Callers {
    pub(super) fn identity(&self, name: &str) -> Option<Identity> {
        locked(&self.0).identities.get(name).copied()
    }

    pub(super) fn remember(&self, name: &OwnedUniqueName, identity: Identity) {
        let mut remembered = locked(&self.0);
        if remembered.identities.insert(name.clone(), identity).is_some() {
            return;
        }
        remembered.order.push_back(name.clone());
        if remembered.order.len() > REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.identities.remove(&oldest);
        }
    }
}

/// Calls that wait until the bus has identified their caller.
#[derive(Debug)]
pub(super) struct Unidentified<C>(Mutex<Queue<C>>);

#[derive(Debug)]
struct Queue<C> {
    calls: HashMap<OwnedUniqueName, Vec<(C, usize)>>,
    count: usize,
    bytes: usize,
}

impl<C> Default for Unidentified<C> {
    fn default() -> Self {
        Self(Mutex::new(Queue { calls: HashMap::new(), count: 0, bytes: 0 }))
    }
}

impl<C> Unidentified<C> {
    /// Queues a call of this size. If it is the caller's first one, returns the name, and the bus
    /// has to be asked about it. If there is no room, the error is the call.
    pub(super) fn enter(&self, name: &OwnedUniqueName, call: C, bytes: usize) -> Result<Option<OwnedUniqueName>, C> {
        let mut queue = locked(&self.0);
        let of_name = queue.calls.get(name).map_or(0, Vec::len);
        let has_place = match of_name {
            0 => queue.calls.len() < MOST_NAMES && queue.bytes + bytes <= MOST_BYTES_OF_FIRST,
            _ => of_name < PER_NAME && queue.bytes + bytes <= MOST_BYTES,
        };
        if !has_place {
            return Err(call);
        }
        queue.count += 1;
        queue.bytes += bytes;
        queue.calls.entry(name.clone()).or_default().push((call, bytes));
        Ok((of_name == 0).then(|| name.clone()))
    }

    /// Removes and returns the calls of a caller after the bus has answered.
    pub(super) fn leave(&self, name: &OwnedUniqueName) -> Vec<C> {
        let mut queue = locked(&self.0);
        let calls = queue.calls.remove(name).unwrap_or_default();
        queue.count -= calls.len();
        queue.bytes -= calls.iter().map(|(_, bytes)| bytes).sum::<usize>();
        if queue.calls.is_empty() {
            queue.calls.shrink_to_fit();
        }
        calls.into_iter().map(|(call, _)| call).collect()
    }

    /// The number of calls that wait.
    pub(super) fn count(&self) -> usize {
        locked(&self.0).count
    }
}

/// The user who opened the caller's connection.
///
/// # Errors
/// [`ErrorKind::AccessDenied`] if the caller has left the bus, [`ErrorKind::Busy`] if the bus does
/// not answer.
pub(super) async fn uid(
    runtime: &SharedRuntime,
    connection: &Connection,
    name: &OwnedUniqueName,
) -> Result<u32, Error> {
    let bus = bus(connection).await.map_err(|error| caller_unknown(&error))?;
    answered(runtime, || bus.get_connection_unix_user(BusName::from(name.as_ref()))).await
}

/// Checks that the caller is still on the bus.
///
/// # Errors
/// [`ErrorKind::AccessDenied`] if it has left, [`ErrorKind::Busy`] if the bus does not answer.
pub(super) async fn check_connected(
    runtime: &SharedRuntime,
    connection: &Connection,
    name: &OwnedUniqueName,
) -> Result<(), Error> {
    let bus = bus(connection).await.map_err(|error| caller_unknown(&error))?;
    let is_there = answered(runtime, || bus.name_has_owner(BusName::from(name.as_ref()))).await?;
    if is_there { Ok(()) } else { Err(caller_left()) }
}

/// Asks the bus, and repeats the question if the bus does not answer in time.
async fn answered<T, A: Future<Output = fdo::Result<T>>>(
    runtime: &SharedRuntime,
    ask: impl Fn() -> A,
) -> Result<T, Error> {
    for _ in 0..ATTEMPTS {
        match runtime.timeout(ANSWER, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(fdo::Error::NameHasNoOwner(_))) => return Err(caller_left()),
            Ok(Err(error)) => return Err(caller_unknown(&error)),
            Err(_) => {}
        }
    }
    Err(caller_unknown(&format!("no answer within {} s", ANSWER.as_secs() * u64::from(ATTEMPTS))))
}

/// Completes when the caller has left the bus; never while it stays.
pub(super) async fn wait_until_left(runtime: &SharedRuntime, connection: &Connection, name: &OwnedUniqueName) -> Error {
    runtime.sleep(WATCH_DELAY).await;
    // The subscription precedes the question, so a caller that leaves in between is not missed.
    let leaving = match bus(connection).await {
        Ok(bus) => bus.receive_name_owner_changed_with_args(&[(0, name.as_str()), (2, "")]).await,
        Err(error) => Err(error),
    };
    // Without a subscription nothing is lost: the caller is checked again before the change is
    // committed.
    let Ok(mut leaving) = leaving else { return std::future::pending().await };
    match check_connected(runtime, connection, name).await {
        Err(error) if error.kind() == ErrorKind::AccessDenied => {}
        _ => drop(leaving.next().await),
    }
    caller_left()
}

async fn bus(connection: &Connection) -> zbus::Result<DBusProxy<'static>> {
    DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await
}

fn caller_left() -> Error {
    ErrorKind::AccessDenied.because("the caller has left the bus")
}

fn caller_unknown(cause: &dyn std::fmt::Display) -> Error {
    ErrorKind::Busy.because(format!("the bus does not say who calls: {cause}; call again in a moment"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(number: usize) -> OwnedUniqueName {
        format!(":1.{number}").try_into().unwrap()
    }

    fn identity(uid: u32) -> Identity {
        Identity { uid, person: Person(uid) }
    }

    #[test]
    fn only_so_many_callers_are_remembered_and_the_newest_are() {
        let callers = Callers::default();
        for number in 0..=REMEMBERED {
            callers.remember(&name(number), identity(1000));
            callers.remember(&name(number), identity(1000));
        }
        assert_eq!((callers.identity(&name(0)), callers.identity(&name(1))), (None, Some(identity(1000))));
        assert_eq!(locked(&callers.0).identities.len(), REMEMBERED);
    }

    #[test]
    fn calls_of_one_caller_wait_for_one_question() {
        let unidentified = Unidentified::default();
        assert_eq!(unidentified.enter(&name(1), 'a', 200), Ok(Some(name(1))));
        assert_eq!(unidentified.enter(&name(1), 'b', 200), Ok(None));
        assert_eq!((unidentified.leave(&name(1)), unidentified.count()), (vec!['a', 'b'], 0));
        assert_eq!(unidentified.enter(&name(1), 'c', 200), Ok(Some(name(1))), "the asking begins again");
    }

    #[test]
    fn a_flood_of_unidentified_calls_leaves_a_slot_to_a_new_caller() {
        for size in [200, 8 * 1024] {
            let unidentified = Unidentified::default();
            let mut refused = 0;
            for number in 0..256 {
                refused += (0..128).filter(|_| unidentified.enter(&name(number), (), size).is_err()).count();
            }
            assert!(refused > 0 && locked(&unidentified.0).bytes <= MOST_BYTES_OF_FIRST);
            assert!(unidentified.enter(&name(9999), (), size).is_ok(), "{size}");
        }
    }
}
