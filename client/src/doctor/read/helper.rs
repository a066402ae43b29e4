//! Asks the helper how it is, and polkit what this user may; nobody is ever asked for a password.

use std::time::Duration;

use airpods_dbus::{Status, names};

use crate::doctor::{Helper, Permission};
use crate::helper_link::{HelperError, HelperLink, Judgement};

/// How long the helper may take, which the bus may have to start.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn read(remote: bool) -> Helper {
    match tokio::time::timeout(LIMIT, ask(remote)).await {
        Ok(Ok((status, permission))) => Helper::Answers { status, permission },
        Ok(Err(error)) => sorted(&error),
        Err(_) => Helper::Failed(format!("the helper does not answer within {} s", LIMIT.as_secs())),
    }
}

async fn ask(remote: bool) -> Result<(Status, Permission), HelperError> {
    let link = HelperLink::connect().await?;
    let status = link.status().await?;
    let permission = match link.judgement(names::ACTION_CLAMP_ON).await {
        Judgement::Allowed => Permission::Granted,
        Judgement::Challenge => Permission::Password,
        Judgement::Denied => Permission::Denied { remote },
        Judgement::NoAuthority => Permission::NoAuthority,
        Judgement::UnknownAction => Permission::NoPolicy,
        Judgement::NotKnown(why) => Permission::NotKnown(why),
    };
    Ok((status, permission))
}

fn sorted(error: &HelperError) -> Helper {
    match error {
        HelperError::NoBus(_) | HelperError::SilentBus(_) => Helper::NoBus(error.to_string()),
        HelperError::NotInstalled => Helper::Missing,
        other => Helper::Failed(other.to_string()),
    }
}
