//! The helper on the bus: one object with one interface, and the life of each call to it.
//!
//! Inside every mutating method, in this order: quota, validate, nothing to do?, authorise, re-check, commit, read
//! back, update memory, persist, audit log line, signal, reply. `service` has the whole of it on one page.

mod announce;
mod interface;
mod presence;
pub mod quota;
mod service;

use std::sync::Arc;

use airpods_dbus::names;
use zbus::Connection;
use zbus::fdo::{RequestNameFlags, RequestNameReply};

pub use service::Service;

/// Why the helper is not on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no system bus, or it does not let this user in.
    #[error("cannot reach the system bus: {0}")]
    Unreachable(#[source] zbus::Error),
    /// The bus did not give the name, as its policy does not let this user own it.
    #[error("the bus does not give this user the name `{name}`: {0}", name = names::BUS_NAME)]
    NameRefused(#[source] zbus::Error),
    /// Another helper is running.
    #[error("the name `{name}` is taken: another helper is running", name = names::BUS_NAME)]
    NameTaken,
}

/// Serves the object, and only then takes the name: on activation the first call is delivered at once.
///
/// # Errors
/// [`BusError`].
pub async fn serve(connection: &Connection, service: Arc<Service>) -> Result<(), BusError> {
    let served = connection.object_server().at(names::OBJECT_PATH, interface::Helper(service)).await;
    served.map_err(BusError::Unreachable)?;
    match connection.request_name_with_flags(names::BUS_NAME, RequestNameFlags::DO_NOT_QUEUE).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(()),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => {
            Err(BusError::NameTaken)
        }
        Err(error) => Err(BusError::NameRefused(error)),
    }
}
