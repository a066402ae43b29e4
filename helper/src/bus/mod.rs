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
use zbus::connection::Builder;
use zbus::fdo::{RequestNameFlags, RequestNameReply};

use crate::authority::Authority;

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

/// Joins the bus: serves the object, and only then takes the name, as on activation the first call is delivered at once.
///
/// The object is served by the builder, which waits until calls are listened for; `authority` is made once the bus is
/// reached.
///
/// # Errors
/// [`BusError`].
pub async fn join(
    bus: Builder<'_>,
    service: &Arc<Service>,
    authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
) -> Result<Connection, BusError> {
    let object = interface::Helper(Arc::clone(service));
    let connection = bus.serve_at(names::OBJECT_PATH, object).build().await.map_err(BusError::Unreachable)?;
    service.obey(authority(&connection));
    match connection.request_name_with_flags(names::BUS_NAME, RequestNameFlags::DO_NOT_QUEUE).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(connection),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => {
            Err(BusError::NameTaken)
        }
        Err(error) => Err(BusError::NameRefused(error)),
    }
}
