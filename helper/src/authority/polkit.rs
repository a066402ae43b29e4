//! polkit, the authority of the system.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use zbus::Connection;
use zbus::proxy::CacheProperties;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags};
use zruntime::SharedRuntime;

use super::{Answer, Authority, Manner, NoAnswer, Question};

/// How long polkit may think when it cannot ask anybody. A caller must have an answer within 2 s, and the bus daemon
/// may need some of that to start polkitd.
const THINKING: Duration = Duration::from_millis(1800);
/// How long a person may take over a password.
const TYPING: Duration = Duration::from_secs(300);

/// polkitd on the system bus.
pub struct Polkit {
    connection: Connection,
    runtime: SharedRuntime,
    checks: AtomicU64,
}

impl Polkit {
    /// Asks polkitd over this connection; nothing is sent before the first question.
    #[must_use]
    pub fn over(connection: Connection, runtime: SharedRuntime) -> Self {
        Self { connection, runtime, checks: AtomicU64::new(0) }
    }

    async fn proxy(connection: &Connection) -> zbus::Result<AuthorityProxy<'static>> {
        // Without a cache there is nothing that a restart of polkitd could leave stale.
        AuthorityProxy::builder(connection).cache_properties(CacheProperties::No).build().await
    }
}

#[async_trait]
impl Authority for Polkit {
    async fn ask(&self, question: &Question, manner: Manner) -> Result<Answer, NoAnswer> {
        let (flags, patience) = match manner {
            Manner::Quietly => (CheckAuthorizationFlags::empty(), THINKING),
            Manner::Prompting => (CheckAuthorizationFlags::ALLOW_USER_INTERACTION, TYPING),
        };
        let id = format!("airpods-{}", self.checks.fetch_add(1, Ordering::Relaxed));
        let details =
            HashMap::from([("interface", question.interface.as_str()), ("operation", question.action.operation())]);
        let mut open = OpenCheck { polkit: self, id: Some(id.clone()) };
        let check = async {
            let polkit = Self::proxy(&self.connection).await?;
            polkit.check_authorization(&question.subject, question.action.id(), &details, flags, &id).await
        };
        match self.runtime.timeout(patience, check).await {
            Ok(result) => {
                open.id = None;
                result
                    .map(|result| Answer {
                        is_authorized: result.is_authorized,
                        is_challenge: result.is_challenge,
                        is_dismissed: result.details.get("polkit.dismissed").is_some_and(|value| !value.is_empty()),
                    })
                    .map_err(|error| no_answer(&error))
            }
            Err(_) => Err(NoAnswer::Unreachable(format!("no answer within {} s", patience.as_secs_f32()))),
        }
    }
}

/// Takes a check back when nobody waits for it any more, so that no prompt stays open for a caller who is gone.
struct OpenCheck<'a> {
    polkit: &'a Polkit,
    id: Option<String>,
}

impl Drop for OpenCheck<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let connection = self.polkit.connection.clone();
            let cancel = async move {
                if let Ok(polkit) = Polkit::proxy(&connection).await {
                    // polkitd may be gone, or have answered meanwhile: either way there is nothing left to take back.
                    drop(polkit.cancel_check_authorization(&id).await);
                }
            };
            self.polkit.runtime.spawn("cancel an authorization check", cancel).detach();
        }
    }
}

/// Tells "nobody is there" from "somebody answered with an error", and both from "whom do you mean?".
fn no_answer(error: &zbus::Error) -> NoAnswer {
    let text = error.to_string();
    match (error, error_name(error)) {
        (zbus::Error::InputOutput(_), _) => NoAnswer::Unreachable(text),
        // polkitd asks the bus about the subject, and hands the bus's error on as its own. About a polkitd that is absent
        // itself the bus says ServiceUnknown, because our call may start it.
        (_, Some(name)) if name == "org.freedesktop.DBus.Error.NameHasNoOwner" => NoAnswer::CallerGone,
        (_, Some(name)) if is_absence(&name) => NoAnswer::Unreachable(text),
        _ => NoAnswer::Failed(text),
    }
}

fn error_name(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, ..) => Some(name.to_string()),
        zbus::Error::FDO(inner) => Some(zbus::DBusError::name(inner.as_ref()).to_string()),
        _ => None,
    }
}

/// The errors with which the bus daemon says that polkitd is not there and could not be started.
fn is_absence(name: &str) -> bool {
    let own = name.strip_prefix("org.freedesktop.DBus.Error.");
    own.is_some_and(|own| {
        matches!(own, "ServiceUnknown" | "NoReply" | "Timeout" | "TimedOut" | "Disconnected" | "NoServer")
            || own.starts_with("Spawn.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_and_a_missing_name_are_no_answer_and_everything_else_is_one() {
        use zbus::fdo;
        let fdo = |error: fdo::Error| no_answer(&zbus::Error::FDO(Box::new(error)));
        let broken = zbus::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(no_answer(&broken), NoAnswer::Unreachable(_)));
        assert!(matches!(fdo(fdo::Error::ServiceUnknown(String::new())), NoAnswer::Unreachable(_)));
        assert!(matches!(fdo(fdo::Error::NameHasNoOwner(String::new())), NoAnswer::CallerGone));
        assert!(matches!(fdo(fdo::Error::AccessDenied(String::new())), NoAnswer::Failed(_)));
        assert!(matches!(no_answer(&zbus::Error::InvalidReply), NoAnswer::Failed(_)));
    }

    #[test]
    fn absence_is_told_from_refusal() {
        for name in ["ServiceUnknown", "NoReply", "TimedOut", "Spawn.ChildExited", "Spawn.ServiceNotFound"] {
            assert!(is_absence(&format!("org.freedesktop.DBus.Error.{name}")), "{name}");
        }
        for name in [
            "org.freedesktop.PolicyKit1.Error.Failed",
            "org.freedesktop.DBus.Error.AccessDenied",
            "org.freedesktop.DBus.Error.Failed",
            "org.freedesktop.DBus.Error.NameHasNoOwner",
            "ServiceUnknown",
        ] {
            assert!(!is_absence(name), "{name}");
        }
    }
}
