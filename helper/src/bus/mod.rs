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

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airpods_dbus::names;
use zbus::connection::Builder;
use zbus::fdo::{RequestNameFlags, RequestNameReply};
use zbus::{Address, Connection};

use crate::authority::Authority;

pub use service::Service;

/// Why the helper could not join the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no system bus, or it does not let this user in.
    #[error("cannot reach the system bus: {0}")]
    Unreachable(#[source] zbus::Error),
    /// The bus is another user's, and could pass anybody off as root. A retry would not help.
    #[error("the system bus cannot be trusted: user {uid} listens on `{bus}`, and only a bus of root is believed")]
    Foreign {
        /// The user.
        uid: u32,
        /// The bus's address.
        bus: Address,
    },
    /// The bus refused the name: its policy does not let this user own it.
    #[error("the bus does not give this user the name `{name}`: {0}", name = names::BUS_NAME)]
    NameRefused(#[source] zbus::Error),
    /// Another helper is running.
    #[error("the name `{name}` is taken: another helper is running", name = names::BUS_NAME)]
    NameTaken,
}

impl From<io::Error> for BusError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.into())
    }
}

/// Connects to the bus and starts answering calls. This precedes the request for the name: on
/// activation the bus delivers the first call as soon as the name is taken.
///
/// # Errors
/// [`BusError::Unreachable`] or [`BusError::Foreign`].
pub async fn reach(bus: &Address, service: &Arc<Service>) -> Result<Connection, BusError> {
    let socket = bounded_socket::connect(bus, &service.runtime, &service.inbox).await?;
    let connection = Builder::socket(socket).build().await.map_err(BusError::Unreachable)?;
    service.runtime.spawn("answer calls", Arc::clone(service).dispatch(connection.clone())).detach();
    service.runtime.spawn("refuse calls", Arc::clone(service).refuse_in_turn(connection.clone())).detach();
    Ok(connection)
}

/// Requests the name. From then on `authority` authorises callers.
///
/// # Errors
/// [`BusError::NameTaken`] or [`BusError::NameRefused`].
pub async fn take_name(
    connection: &Connection,
    service: &Arc<Service>,
    authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
) -> Result<(), BusError> {
    service.set_authority(authority(connection));
    match connection.request_name_with_flags(names::BUS_NAME, RequestNameFlags::DO_NOT_QUEUE).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(()),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => {
            Err(BusError::NameTaken)
        }
        Err(error) => Err(BusError::NameRefused(error)),
    }
}

/// Locks a mutex. No holder of one here leaves its data half changed if it panics, so the data
/// behind a poisoned lock is valid.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
