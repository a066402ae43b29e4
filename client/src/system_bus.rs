//! The connection to the D-Bus system bus, which is believed only if root or this user listens on
//! it.

use std::io;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::time::timeout;
use zbus::{Connection, connection};

/// Time limit for connecting to the bus, which takes 1 ms. If there is no bus, connecting fails at
/// once.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Root's uid. A program of root is trusted, since root can do everything anyway.
const ROOT: u32 = 0;

/// Why the system bus is not used.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It cannot be reached.
    #[error("the system bus cannot be reached")]
    Unreachable(#[source] zbus::Error),
    /// It does not answer within this time.
    #[error("the system bus does not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// This user listens on it.
    #[error("user {0} listens on the system bus, and not root or this user")]
    Foreign(u32),
}

/// Connects, and checks that root or this user listens on the bus. The bus reports who owns a name,
/// so another user's bus could pass anybody off as any service. `$DBUS_SYSTEM_BUS_ADDRESS` may lead
/// there after `su` or `sudo -E`.
///
/// # Errors
/// [`BusError`], within two seconds.
pub async fn connect() -> Result<Connection, BusError> {
    let bus = timeout(CONNECT_TIMEOUT, connection::Builder::system().build())
        .await
        .map_err(|_| BusError::Silent(CONNECT_TIMEOUT))?
        .map_err(BusError::Unreachable)?;
    // The credentials are those of the time of listen(2) (unix(7)): dbus-daemon listens before it
    // gives up root, and other buses get their socket from systemd.
    let listener = bus.peer_creds().await.map_err(|error| BusError::Unreachable(error.into()))?.unix_user_id();
    match listener {
        Some(uid) if is_trusted(uid, Some(geteuid().as_raw())) => Ok(bus),
        Some(uid) => Err(BusError::Foreign(uid)),
        None => Err(BusError::Unreachable(io::Error::other("the user who listens on it is unknown").into())),
    }
}

/// Whether a user is root, or the one that is `expected`.
#[must_use]
pub fn is_trusted(uid: u32, expected: Option<u32>) -> bool {
    uid == ROOT || Some(uid) == expected
}

#[cfg(test)]
mod tests {
    use super::is_trusted;

    #[test]
    fn root_and_the_expected_user_are_trusted_and_nobody_else() {
        assert!(is_trusted(990, Some(990)) && is_trusted(0, Some(990)) && is_trusted(0, None));
        assert!(!is_trusted(1000, Some(990)) && !is_trusted(1000, None));
    }
}
