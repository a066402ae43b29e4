//! What polkit would say to a change, asked beforehand and without a prompt.

use std::collections::HashMap;
use std::time::Duration;

use nix::unistd::Uid;
use tokio::time::timeout;
use zbus::Variant;

use super::HelperLink;

/// polkit on the bus, see polkit's own reference, "D-Bus API".
const POLKIT: &str = "org.freedesktop.PolicyKit1";
const AUTHORITY: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";

/// How long polkit may think: nobody is asked. The bus may have to start it.
const THINKING: Duration = Duration::from_secs(5);

/// Polkit's probable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Yes.
    Allowed,
    /// Yes, after a password.
    Challenge,
    /// No.
    Denied,
    /// polkit is not there.
    NoAuthority,
    /// polkit does not know the action.
    UnknownAction,
    /// It could not be found out; why.
    NotKnown(String),
}

impl HelperLink {
    /// Asks polkit whether this process may do what one of the helper's actions stands for. root always may.
    pub async fn judgement(&self, action: &str) -> Judgement {
        if Uid::effective().is_root() {
            return Judgement::Allowed;
        }
        match timeout(THINKING, self.ask_polkit(action)).await {
            Ok(Ok((true, _))) => Judgement::Allowed,
            Ok(Ok((false, true))) => Judgement::Challenge,
            Ok(Ok((false, false))) => Judgement::Denied,
            Ok(Err(error)) => sorted(&error),
            Err(_) => Judgement::NotKnown(format!("polkit does not answer within {} s", THINKING.as_secs())),
        }
    }

    /// Whether it is authorised, and whether it could be.
    async fn ask_polkit(&self, action: &str) -> zbus::Result<(bool, bool)> {
        let connection = self.proxy.inner().connection();
        let own = connection.unique_name().map(ToString::to_string).unwrap_or_default();
        let subject = ("system-bus-name", HashMap::from([("name", Variant::from(own))]));
        let details: HashMap<&str, &str> = HashMap::new();
        let (no_flags, no_cancellation) = (0_u32, "");
        let arguments = (subject, action, details, no_flags, no_cancellation);
        let reply =
            connection.call_method(Some(POLKIT), AUTHORITY, Some(INTERFACE), "CheckAuthorization", &arguments).await?;
        let (allowed, challenge, _): (bool, bool, HashMap<String, String>) = reply.body().deserialize()?;
        Ok((allowed, challenge))
    }
}

/// polkit says that an action is not registered in the words of its own error, and the bus that it is not there in its.
fn sorted(error: &zbus::Error) -> Judgement {
    let text = error.to_string();
    if text.contains("not registered") {
        Judgement::UnknownAction
    } else if ["ServiceUnknown", "NameHasNoOwner", "Spawn"].iter().any(|name| text.contains(name)) {
        Judgement::NoAuthority
    } else {
        Judgement::NotKnown(text)
    }
}
