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

/// So long the bus is waited for, and so often it is asked. It drops its answer while very long messages are on their way
/// to the helper, and a call that waited for that would keep its place for good.
const ANSWER: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 4;

/// The user who opened the caller's connection.
///
/// # Errors
/// [`ErrorKind::AccessDenied`] if the caller has left the bus, or the bus does not say.
pub(super) async fn uid(
    runtime: &SharedRuntime,
    connection: &Connection,
    name: &OwnedUniqueName,
) -> Result<u32, Error> {
    let bus = bus(connection).await.map_err(|_| gone())?;
    answered(runtime, || bus.get_connection_unix_user(BusName::from(name.as_ref()))).await?.map_err(|_| gone())
}

/// What the bus answers, or that it does not.
async fn answered<T, A: Future<Output = zbus::fdo::Result<T>>>(
    runtime: &SharedRuntime,
    ask: impl Fn() -> A,
) -> Result<zbus::fdo::Result<T>, Error> {
    for _ in 0..ATTEMPTS {
        if let Ok(answer) = runtime.timeout(ANSWER, ask()).await {
            return Ok(answer);
        }
    }
    Err(ErrorKind::AccessDenied.because("the bus does not say who calls; call again in a moment"))
}

/// Checks that the caller is still on the bus.
///
/// # Errors
/// [`ErrorKind::AccessDenied`] if not, or the bus does not say.
pub(super) async fn check(
    runtime: &SharedRuntime,
    connection: &Connection,
    name: &OwnedUniqueName,
) -> Result<(), Error> {
    let bus = bus(connection).await.map_err(|_| gone())?;
    match answered(runtime, || bus.name_has_owner(BusName::from(name.as_ref()))).await? {
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
    if check(runtime, connection, name).await.is_ok() {
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
