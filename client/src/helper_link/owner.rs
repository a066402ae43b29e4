//! Whether the helper runs, without starting it, and whose process owns its name. An answer of any other owner is worth
//! nothing.

use airpods_dbus::{HelperProxy, Status, names};
use nix::unistd::User;
use tokio::time::timeout;
use zbus::fdo::{self, DBusProxy};
use zbus::names::BusName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, connection};

use super::{ANSWER, CONNECT, HelperError};

/// What can be known of a helper that nobody disturbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It runs, in this version.
    Running(String),
    /// It does not run; the bus starts it when it is needed.
    Idle,
    /// The bus does not know it.
    NotInstalled,
    /// There is no bus that could say.
    Unknown,
}

/// Looks. The bus alone is asked unless the helper runs anyway.
pub async fn presence() -> Presence {
    match timeout(CONNECT, connection::Builder::system().build()).await {
        Ok(Ok(bus)) => timeout(ANSWER, look(&bus)).await.ok().and_then(Result::ok).unwrap_or(Presence::Unknown),
        _ => Presence::Unknown,
    }
}

/// The status of a helper that runs; `None` where none does, or none can be known of. One that does not run clamps nothing.
pub async fn status_if_running() -> Option<Status> {
    let ask = async {
        let bus = connection::Builder::system().build().await.ok()?;
        runs(&bus).await.ok().filter(|runs| *runs)?;
        check(&bus).await.ok()?;
        let helper = HelperProxy::builder(&bus).cache_properties(CacheProperties::No).build().await.ok()?;
        helper.get_status().await.ok()
    };
    timeout(CONNECT, ask).await.ok().flatten()
}

async fn runs(bus: &Connection) -> zbus::Result<bool> {
    let daemon = DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    Ok(daemon.name_has_owner(names::BUS_NAME.try_into()?).await?)
}

async fn look(bus: &Connection) -> zbus::Result<Presence> {
    if runs(bus).await? {
        if check(bus).await.is_err() {
            return Ok(Presence::Unknown);
        }
        let helper = HelperProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
        return Ok(Presence::Running(helper.version().await?));
    }
    let daemon = DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    let can_be_started = daemon.list_activatable_names().await?.iter().any(|name| name.as_str() == names::BUS_NAME);
    Ok(if can_be_started { Presence::Idle } else { Presence::NotInstalled })
}

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
