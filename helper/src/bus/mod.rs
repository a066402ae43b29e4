//! The helper on the bus: one object with one interface, and the life of each call to it.
//!
//! To read the code, follow a call. `bounded_socket` reads it, and `inbox` gives it a place or
//! refuses it. `dispatch` identifies the caller and answers simple calls at once. `call` decodes
//! the call, and `change` runs a mutating call. The steps of a mutating call are, in this order:
//! quota, validate, nothing to do?, authorise, write the persistent file, re-check, commit, read
//! back, update memory, write the runtime file, audit log line, signal, reply.

pub mod bounded_socket;
mod call;
mod caller;
mod change;
mod dispatch;
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../../fuzzing/bus.rs"]
pub(crate) mod fuzzing;
mod header;
mod inbox;
mod log_limit;
mod person;
pub mod quota;
mod refusals;
mod service;
mod snapshot;

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airpods_dbus::names;
use zbus::connection::Builder;
use zbus::fdo::{RequestNameFlags, RequestNameReply};
use zbus::{Address, Connection};

use crate::authority::Authority;
use crate::failure::{Exit, Failure};

pub use service::Service;

/// Connects to the bus and starts answering calls. This precedes the request for the name: on
/// activation the bus delivers the first call as soon as the name is taken.
///
/// # Errors
/// [`Exit::NoBus`] or [`Exit::ForeignBus`].
pub async fn reach(bus: &Address, service: &Arc<Service>) -> Result<Connection, Failure> {
    let socket = bounded_socket::connect(bus, &service.runtime, &service.inbox).await?;
    let connection = Builder::socket(socket).build().await.map_err(unreachable)?;
    service.runtime.spawn("answer calls", Arc::clone(service).dispatch(connection.clone())).detach();
    service.runtime.spawn("refuse calls", Arc::clone(service).refuse_in_turn(connection.clone())).detach();
    Ok(connection)
}

/// Requests the name. From then on `authority` authorises callers.
///
/// # Errors
/// [`Exit::NameTaken`], or [`Exit::NoBus`] if the bus's policy does not let this user own it.
pub async fn take_name(
    connection: &Connection,
    service: &Arc<Service>,
    authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
) -> Result<(), Failure> {
    service.set_authority(authority(connection));
    match connection.request_name_with_flags(names::BUS_NAME, RequestNameFlags::DO_NOT_QUEUE).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(()),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => {
            Err(Exit::NameTaken.because(format!("the name `{}` is taken: another helper is running", names::BUS_NAME)))
        }
        Err(error) => {
            let cause = format!("the bus does not give this user the name `{}`: {error}", names::BUS_NAME);
            Err(Exit::NoBus.because(cause))
        }
    }
}

/// The value as text, or `unknown`.
fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

/// Locks a mutex. No holder of one here leaves its data half changed if it panics, so the data
/// behind a poisoned lock is valid.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There is no system bus, or it does not let this user in.
pub fn unreachable(error: impl Display) -> Failure {
    Exit::NoBus.because(format!("cannot reach the system bus: {error}"))
}
