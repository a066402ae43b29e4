//! Whether the helper runs, without starting it.

use airpods_dbus::{HelperProxy, Status, names};
use tokio::time::timeout;
use zbus::fdo::DBusProxy;
use zbus::proxy::CacheProperties;
use zbus::{Connection, connection};

use super::{ANSWER, CONNECT, owner};

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
        owner::check(&bus).await.ok()?;
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
        if owner::check(bus).await.is_err() {
            return Ok(Presence::Unknown);
        }
        let helper = HelperProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
        return Ok(Presence::Running(helper.version().await?));
    }
    let daemon = DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    let can_be_started = daemon.list_activatable_names().await?.iter().any(|name| name.as_str() == names::BUS_NAME);
    Ok(if can_be_started { Presence::Idle } else { Presence::NotInstalled })
}
