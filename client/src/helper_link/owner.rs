//! Whose process owns the helper's name. What anybody else answers is worth nothing.

use airpods_dbus::names;
use nix::unistd::User;
use zbus::Connection;
use zbus::fdo::{self, DBusProxy};
use zbus::names::BusName;
use zbus::proxy::CacheProperties;

use super::HelperError;

/// Callers who may do everything anyway.
const ROOT: u32 = 0;

/// Has the bus start the helper if it does not run, and checks that the name belongs to the helper's user.
///
/// # Errors
/// [`HelperError`], such as [`HelperError::WrongOwner`].
pub(super) async fn started(bus: &Connection) -> Result<(), HelperError> {
    let daemon = daemon(bus).await?;
    // Only a name without an owner is started: dbus-daemon knows nothing of one that was not started by it.
    if let Some(owner) = owner(&daemon).await? {
        return trusted(owner);
    }
    let no_flags = 0;
    daemon
        .start_service_by_name(names::BUS_NAME.try_into().map_err(HelperError::from_call)?, no_flags)
        .await
        .map_err(from_bus)?;
    trusted(owner(&daemon).await?.ok_or(HelperError::WentAway)?)
}

/// Checks that the name belongs to the helper's user.
///
/// # Errors
/// [`HelperError::WrongOwner`], or [`HelperError::WentAway`] if nobody has it.
pub(super) async fn check(bus: &Connection) -> Result<(), HelperError> {
    trusted(owner(&daemon(bus).await?).await?.ok_or(HelperError::WentAway)?)
}

/// The uid of whoever owns the name.
async fn owner(daemon: &DBusProxy<'_>) -> Result<Option<u32>, HelperError> {
    match daemon.get_connection_unix_user(name()?).await {
        Ok(uid) => Ok(Some(uid)),
        Err(fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(from_bus(error)),
    }
}

fn name() -> Result<BusName<'static>, HelperError> {
    names::BUS_NAME.try_into().map_err(HelperError::from_call)
}

fn trusted(owner: u32) -> Result<(), HelperError> {
    let helper = User::from_name(names::HELPER_USER).ok().flatten().map(|user| user.uid.as_raw());
    if is_trusted(owner, helper) { Ok(()) } else { Err(HelperError::WrongOwner(owner)) }
}

fn is_trusted(owner: u32, helper: Option<u32>) -> bool {
    owner == ROOT || Some(owner) == helper
}

async fn daemon(bus: &Connection) -> Result<DBusProxy<'static>, HelperError> {
    DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await.map_err(HelperError::from_call)
}

fn from_bus(error: fdo::Error) -> HelperError {
    HelperError::from_call(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helpers_user_and_root_are_trusted_and_nobody_else() {
        assert!(is_trusted(990, Some(990)) && is_trusted(0, Some(990)) && is_trusted(0, None));
        assert!(!is_trusted(1000, Some(990)) && !is_trusted(1000, None));
    }
}
