//! What the bus daemon says about a caller: who it is, and whether it is still there.

use std::time::Duration;

use airpods_dbus::{Error, ErrorKind};
use futures_lite::StreamExt;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::proxy::CacheProperties;
use zruntime::SharedRuntime;

/// So long a check is expected to take when nobody is prompted: only after that is it worth watching the caller.
const GRACE: Duration = Duration::from_millis(50);

/// The user who opened the caller's connection.
///
/// # Errors
/// [`ErrorKind::AccessDenied`] if the caller has left the bus.
pub(super) async fn uid(connection: &Connection, name: &OwnedUniqueName) -> Result<u32, Error> {
    let bus = bus(connection).await.map_err(|_| gone())?;
    bus.get_connection_unix_user(BusName::from(name.as_ref())).await.map_err(|_| gone())
}

/// Checks that the caller is still on the bus.
///
/// # Errors
/// [`ErrorKind::AccessDenied`] if not.
pub(super) async fn check(connection: &Connection, name: &OwnedUniqueName) -> Result<(), Error> {
    let bus = bus(connection).await.map_err(|_| gone())?;
    match bus.name_has_owner(BusName::from(name.as_ref())).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(gone()),
    }
}

/// Completes when the caller leaves the bus, or has left it; never while it stays.
pub(super) async fn gone_later(runtime: &SharedRuntime, connection: &Connection, name: &OwnedUniqueName) -> Error {
    runtime.sleep(GRACE).await;
    // Subscribed before asking, so that a caller who leaves in between is not missed.
    let leaving = match bus(connection).await {
        Ok(bus) => bus.receive_name_owner_changed_with_args(&[(0, name.as_str()), (2, "")]).await,
        Err(error) => Err(error),
    };
    let Ok(mut leaving) = leaving else { return gone() };
    if check(connection, name).await.is_ok() {
        leaving.next().await;
    }
    gone()
}

async fn bus(connection: &Connection) -> zbus::Result<DBusProxy<'static>> {
    DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await
}

fn gone() -> Error {
    ErrorKind::AccessDenied.because("the caller has left the bus")
}
