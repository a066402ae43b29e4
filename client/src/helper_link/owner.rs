//! Whose process owns the helper's name. What anybody else answers is worth nothing.

use airpods_dbus::names;
use nix::unistd::User;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::proxy::CacheProperties;

use super::HelperError;

/// Who may do everything anyway.
const ROOT: u32 = 0;

/// Has the bus start the helper if it does not run, and checks that the name belongs to the helper's user.
///
/// # Errors
/// [`HelperError`], such as [`HelperError::WrongOwner`].
pub(super) async fn started(bus: &Connection) -> Result<(), HelperError> {
    let no_flags = 0;
    let name = || names::BUS_NAME.try_into().map_err(|error: zbus::Error| HelperError::from_call(error));
    daemon(bus).await?.start_service_by_name(name()?, no_flags).await.map_err(from_bus)?;
    check(bus).await
}

/// Checks that the name belongs to the helper's user.
///
/// # Errors
/// [`HelperError`], such as [`HelperError::WrongOwner`].
pub(super) async fn check(bus: &Connection) -> Result<(), HelperError> {
    let name = names::BUS_NAME.try_into().map_err(|error: zbus::Error| HelperError::from_call(error))?;
    let owner = daemon(bus).await?.get_connection_unix_user(name).await.map_err(from_bus)?;
    if is_trusted(owner, User::from_name(names::HELPER_USER).ok().flatten().map(|user| user.uid.as_raw())) {
        Ok(())
    } else {
        Err(HelperError::WrongOwner(owner))
    }
}

fn is_trusted(owner: u32, helper: Option<u32>) -> bool {
    owner == ROOT || Some(owner) == helper
}

async fn daemon(bus: &Connection) -> Result<DBusProxy<'static>, HelperError> {
    DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await.map_err(HelperError::from_call)
}

fn from_bus(error: zbus::fdo::Error) -> HelperError {
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
