//! Callers as the bus reports them: their uid, and whether they are still connected.
//!
//! The helper waits for a slow bus. Only the bus's answer that a name has no owner means that the
//! caller has left.

use std::time::Duration;

use airpods_dbus::{Error, ErrorKind};
use zbus::Connection;
use zbus::fdo::{self, DBusProxy};
use zbus::names::OwnedUniqueName;
use zbus::proxy::CacheProperties;
use zruntime::SharedRuntime;

/// How often the helper checks during a prompt that the caller is still there. A watch on its name
/// would be cheaper. But a prompt that ends while it subscribes leaves the subscription on the bus,
/// which allows a connection only so many.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Time limit for one answer of the bus, and the number of attempts. The bus drops its answer while
/// very long messages are queued for the helper. Callers give up after 25 s themselves.
const ANSWER: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

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
    ask(runtime, connection, |bus| async move { bus.get_connection_unix_user(name.as_ref().into()).await }).await
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
    let is_there =
        ask(runtime, connection, |bus| async move { bus.name_has_owner(name.as_ref().into()).await }).await?;
    if is_there { Ok(()) } else { Err(caller_left()) }
}

/// Asks the bus, and repeats the question if the bus does not answer in time.
async fn ask<T, A: Future<Output = fdo::Result<T>>>(
    runtime: &SharedRuntime,
    connection: &Connection,
    question: impl Fn(DBusProxy<'static>) -> A,
) -> Result<T, Error> {
    let bus = bus(connection).await.map_err(|error| caller_unknown(&error))?;
    for _ in 0..ATTEMPTS {
        match runtime.timeout(ANSWER, question(bus.clone())).await {
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
    loop {
        runtime.sleep(POLL_INTERVAL).await;
        match check_connected(runtime, connection, name).await {
            Err(error) if error.kind() == ErrorKind::AccessDenied => return error,
            // Only the bus's answer that it has left counts.
            _ => {}
        }
    }
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
