//! polkit, the system's authority.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_lite::future::or;
use zbus::fdo::{self, DBusProxy};
use zbus::message::Flags;
use zbus::names::OwnedUniqueName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, Message};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags};
use zruntime::SharedRuntime;

use super::{Answer, Authority, NoAnswer, PromptMode, Question};

/// polkit's names on the bus (polkit reference manual, "D-Bus API").
const NAME: &str = "org.freedesktop.PolicyKit1";
const OBJECT: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";

/// Time limit for an answer of a running polkit without a prompt. It usually takes 1 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for the answer to a prompt: the user has to type a password.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(300);
/// Time limit for the start of polkit. The bus gives up earlier and answers with an error. The
/// limits are 25 s in dbus-daemon (`service_start_timeout`, dbus-daemon(1)) and 90 s in systemd
/// (`DefaultTimeoutStartSec=`, systemd-system.conf(5)).
const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the helper checks that polkit is still there while it waits for an answer.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The same at a prompt, which takes as long as the user does.
const PROMPT_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Time limit for the bus's answer to one such check. If it does not answer, the next check asks
/// again.
const BUS_TIMEOUT: Duration = Duration::from_secs(5);

/// polkitd on the system bus.
pub struct Polkit {
    connection: Connection,
    runtime: SharedRuntime,
    checks: AtomicU64,
}

impl Polkit {
    /// Asks polkitd over this connection. Sends nothing before the first question.
    #[must_use]
    pub fn over(connection: Connection, runtime: SharedRuntime) -> Self {
        Self { connection, runtime, checks: AtomicU64::new(0) }
    }

    async fn ask_once(&self, question: &Question, mode: PromptMode) -> Result<Answer, NoAnswer> {
        let flags = match mode {
            PromptMode::Forbidden => CheckAuthorizationFlags::empty(),
            PromptMode::Allowed => CheckAuthorizationFlags::ALLOW_USER_INTERACTION,
        };
        let id = format!("airpods-{}", self.checks.fetch_add(1, Ordering::Relaxed));
        let details = question.details();
        let details: HashMap<&str, &str> = details.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut open = OpenCheck { polkit: self, id: Some(id.clone()) };
        let check = async {
            // No cache: after a restart of polkitd it would be stale.
            let polkit =
                AuthorityProxy::builder(&self.connection).cache_properties(CacheProperties::No).build().await?;
            polkit.check_authorization(&question.subject, question.action().id(), &details, flags, &id).await
        };
        let checked = or(async { Ok(check.await) }, async { Err(self.given_up(mode).await) }).await;
        let result = checked?;
        // The check has ended, so there is nothing left to cancel.
        open.id = None;
        match result {
            Ok(result) => Ok(Answer {
                is_authorized: result.is_authorized,
                is_challenge: result.is_challenge,
                is_dismissed: result.details.get("polkit.dismissed").is_some_and(|value| !value.is_empty()),
            }),
            Err(error) => Err(self.diagnose(&error).await),
        }
    }

    /// Completes when waiting is pointless, and returns the reason. While polkit's name has no
    /// owner, the bus is starting polkit, and the bus itself answers the check if that fails.
    async fn given_up(&self, mode: PromptMode) -> NoAnswer {
        let (timeout, interval) = match mode {
            PromptMode::Forbidden => (ANSWER_TIMEOUT, POLL_INTERVAL),
            PromptMode::Allowed => (PROMPT_TIMEOUT, PROMPT_POLL_INTERVAL),
        };
        let begun = Instant::now();
        let mut seen: Option<(OwnedUniqueName, Instant)> = None;
        while begun.elapsed() < ACTIVATION_TIMEOUT + timeout {
            self.runtime.sleep(interval).await;
            let owner = self.runtime.timeout(BUS_TIMEOUT, self.owner()).await;
            match (owner, &seen) {
                (Ok(Ok(Some(owner))), Some((before, since))) if owner == *before => {
                    if since.elapsed() >= timeout {
                        return NoAnswer::Silent(timeout.as_secs());
                    }
                }
                (Ok(Ok(Some(owner))), None) => seen = Some((owner, Instant::now())),
                // The polkitd that got the question has left the bus.
                (Ok(Ok(_)), Some(_)) => return NoAnswer::Ended,
                // polkit is not there yet, or the bus is slow, which proves nothing about polkit.
                (Ok(Ok(None)), None) | (Ok(Err(_)) | Err(_), _) => {}
            }
        }
        NoAnswer::Absent(format!("it was not started within {} s", ACTIVATION_TIMEOUT.as_secs()))
    }

    /// The owner of polkit's name; `None` if polkit is not running.
    async fn owner(&self) -> zbus::Result<Option<OwnedUniqueName>> {
        let bus = DBusProxy::builder(&self.connection).cache_properties(CacheProperties::No).build().await?;
        match bus.get_name_owner(NAME.try_into()?).await {
            Ok(owner) => Ok(Some(owner)),
            Err(fdo::Error::NameHasNoOwner(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn diagnose(&self, error: &zbus::Error) -> NoAnswer {
        let no_answer = classify(error);
        // polkit looks the subject up on the bus and passes the bus's error on. The bus gives the
        // same error if polkit itself is missing, so its owner decides.
        if no_answer == NoAnswer::CallerGone && matches!(self.owner().await, Ok(None)) {
            return NoAnswer::Absent(error.to_string());
        }
        no_answer
    }
}

#[async_trait]
impl Authority for Polkit {
    async fn ask(&self, question: &Question, mode: PromptMode) -> Result<Answer, NoAnswer> {
        match self.ask_once(question, mode).await {
            // Ask once more: the bus starts another polkitd, and without a prompt no user has seen
            // the question yet.
            Err(NoAnswer::Ended) if mode == PromptMode::Forbidden => self.ask_once(question, mode).await,
            answer => answer,
        }
    }
}

/// Cancels a check when it is dropped, so that no prompt stays open for a caller who has left.
struct OpenCheck<'a> {
    polkit: &'a Polkit,
    id: Option<String>,
}

impl Drop for OpenCheck<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let connection = self.polkit.connection.clone();
            // `drop` cannot await, so a task sends the message.
            let cancel = async move {
                let call = Message::method_call(OBJECT, "CancelCheckAuthorization").destination(NAME);
                // No reply: a polkit that hangs would not send one. No auto-start: a new polkit has
                // no such check.
                let flags = Flags::NO_REPLY_EXPECTED | Flags::NO_AUTO_START;
                if let Ok(call) = call.interface(INTERFACE).with_flags(flags).build(&id) {
                    drop(connection.send(&call).await);
                }
            };
            self.polkit.runtime.spawn("cancel an authorization check", cancel).detach();
        }
    }
}

/// Classifies errors: polkit is absent, polkit answered with an error, polkit ended, or the caller
/// is gone.
fn classify(error: &zbus::Error) -> NoAnswer {
    let text = error.to_string();
    let Some(name) = error_name(error) else {
        return match error {
            zbus::Error::InputOutput(_) => NoAnswer::Absent(text),
            _ => NoAnswer::Failed(text),
        };
    };
    match name.strip_prefix("org.freedesktop.DBus.Error.") {
        Some("NameHasNoOwner") => NoAnswer::CallerGone,
        Some("NoReply" | "Disconnected") => NoAnswer::Ended,
        Some("ServiceUnknown" | "Timeout" | "TimedOut" | "NoServer") => NoAnswer::Absent(text),
        Some(own) if own.starts_with("Spawn.") => NoAnswer::Absent(text),
        // systemd's errors for a unit that is masked or does not load.
        None if name.starts_with("org.freedesktop.systemd1.") => NoAnswer::Absent(text),
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

#[cfg(test)]
mod tests {
    use zbus::fdo;

    use super::*;

    #[test]
    fn absence_refusal_end_and_a_caller_who_left_are_distinguished() {
        let of = |error: fdo::Error| classify(&zbus::Error::FDO(Box::new(error)));
        let broken = zbus::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(classify(&broken), NoAnswer::Absent(_)));
        for absent in [
            fdo::Error::ServiceUnknown(String::new()),
            fdo::Error::TimedOut(String::new()),
            fdo::Error::SpawnChildExited(String::new()),
            fdo::Error::SpawnServiceNotFound(String::new()),
        ] {
            assert!(matches!(of(absent.clone()), NoAnswer::Absent(_)), "{absent}");
        }
        assert_eq!(of(fdo::Error::NoReply(String::new())), NoAnswer::Ended);
        assert_eq!(of(fdo::Error::NameHasNoOwner(String::new())), NoAnswer::CallerGone);
        for failed in [fdo::Error::AccessDenied(String::new()), fdo::Error::Failed(String::new())] {
            assert!(matches!(of(failed.clone()), NoAnswer::Failed(_)), "{failed}");
        }
        assert!(matches!(classify(&zbus::Error::InvalidReply), NoAnswer::Failed(_)));
    }
}
