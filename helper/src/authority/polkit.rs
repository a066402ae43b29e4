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
use zruntime::SharedRuntime;

use super::{Action, Authority, Denial, PromptMode, Question};

/// polkit's names on the bus (polkit reference manual, "D-Bus API").
const NAME: &str = "org.freedesktop.PolicyKit1";
const OBJECT: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";

/// The flag of a check that allows a prompt (`AllowUserInteraction`).
const ALLOW_PROMPT: u32 = 1;

/// Time limit for an answer of a running polkit without a prompt. It usually takes 1 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for the answer to a prompt: the user has to type a password.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(300);
/// Time limit for the start of polkit. The bus gives up earlier and answers with an error. The
/// limits are 25 s in dbus-daemon (`service_start_timeout`, dbus-daemon(1)) and 90 s in systemd
/// (`DefaultTimeoutStartSec=`, systemd-system.conf(5)).
const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the helper checks that polkit is still there while it waits for an answer. A watch on
/// the name would be cheaper. But a call that is dropped while it subscribes leaves the
/// subscription on the bus, which allows a connection only so many.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The same at a prompt, which takes as long as the user does.
const PROMPT_POLL_INTERVAL: Duration = Duration::from_secs(2);

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

    async fn ask_once(&self, question: &Question, mode: PromptMode) -> Result<(), Denial> {
        let flags = if mode == PromptMode::Allowed { ALLOW_PROMPT } else { 0 };
        let id = format!("airpods-{}", self.checks.fetch_add(1, Ordering::Relaxed));
        let details: HashMap<_, _> = question.details().into_iter().collect();
        let body = (question.subject(), Action::of(&question.request).id(), details, flags, &id);
        let mut open = OpenCheck { polkit: self, id: Some(id.clone()) };
        let check = self.connection.call_method(Some(NAME), OBJECT, Some(INTERFACE), "CheckAuthorization", &body);
        let reply = or(async { Ok(check.await) }, async { Err(self.given_up(mode).await) }).await?;
        // The check has ended, so there is nothing left to cancel.
        open.id = None;
        match reply.and_then(|reply| reply.body().deserialize::<(bool, bool, HashMap<String, String>)>()) {
            Ok((is_authorized, is_challenge, details)) => {
                let is_dismissed = details.get("polkit.dismissed").is_some_and(|value| !value.is_empty());
                Denial::unless(is_authorized, is_challenge, is_dismissed)
            }
            Err(error) => Err(match classify(&error) {
                // polkit looks the subject up on the bus and passes the bus's error on. The bus
                // gives the same error if polkit itself is missing, so its owner decides.
                Denial::CallerGone if matches!(self.owner().await, Ok(None)) => Denial::Absent(error.to_string()),
                denial => denial,
            }),
        }
    }

    /// Completes when waiting is pointless, and returns the reason. While polkit's name has no
    /// owner, the bus is starting polkit, and the bus itself answers the check if that fails.
    async fn given_up(&self, mode: PromptMode) -> Denial {
        let (timeout, interval) = match mode {
            PromptMode::Forbidden => (ANSWER_TIMEOUT, POLL_INTERVAL),
            PromptMode::Allowed => (PROMPT_TIMEOUT, PROMPT_POLL_INTERVAL),
        };
        let begun = Instant::now();
        let (mut asked, mut waited): (Option<OwnedUniqueName>, _) = (None, Duration::ZERO);
        while begun.elapsed() < ACTIVATION_TIMEOUT + timeout {
            self.runtime.sleep(interval).await;
            // A bus that does not answer may hold the answer of polkit. So polkit is silent only
            // while the bus itself answers.
            let Ok(Ok(owner)) = self.runtime.timeout(ANSWER_TIMEOUT, self.owner()).await else { continue };
            waited += interval;
            match owner {
                // The polkitd that got the question has left the bus.
                owner if asked.is_some() && asked != owner => return Denial::Ended,
                Some(_) if asked.is_some() && waited >= timeout => return Denial::Silent(timeout.as_secs()),
                Some(owner) if asked.is_none() => (asked, waited) = (Some(owner), Duration::ZERO),
                _ => {}
            }
        }
        Denial::Absent("it was not started in time".to_owned())
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
}

#[async_trait]
impl Authority for Polkit {
    async fn ask(&self, question: &Question, mode: PromptMode) -> Result<(), Denial> {
        match self.ask_once(question, mode).await {
            // Ask once more: the bus starts another polkitd, and without a prompt no user has seen
            // the question yet.
            Err(Denial::Ended) if mode == PromptMode::Forbidden => self.ask_once(question, mode).await,
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
        let Some(id) = self.id.take() else { return };
        let connection = self.polkit.connection.clone();
        // `drop` cannot await, so a task sends the message.
        let cancel = async move {
            let call = Message::method_call(OBJECT, "CancelCheckAuthorization").destination(NAME);
            // No reply: a polkit that hangs would not send one. No auto-start: a new polkit has no
            // such check.
            let flags = Flags::NO_REPLY_EXPECTED | Flags::NO_AUTO_START;
            if let Ok(call) = call.interface(INTERFACE).with_flags(flags).build(&id) {
                drop(connection.send(&call).await);
            }
        };
        self.polkit.runtime.spawn("cancel an authorization check", cancel).detach();
    }
}

/// Classifies errors: polkit is absent, polkit answered with an error, polkit ended, or the caller
/// is gone.
fn classify(error: &zbus::Error) -> Denial {
    let text = error.to_string();
    let name = match error {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        zbus::Error::FDO(error) => zbus::DBusError::name(error.as_ref()).to_string(),
        zbus::Error::InputOutput(_) => return Denial::Absent(text),
        _ => return Denial::Failed(text),
    };
    match name.strip_prefix("org.freedesktop.DBus.Error.") {
        Some("NameHasNoOwner") => Denial::CallerGone,
        Some("NoReply" | "Disconnected") => Denial::Ended,
        Some("ServiceUnknown" | "Timeout" | "TimedOut" | "NoServer") => Denial::Absent(text),
        Some(own) if own.starts_with("Spawn.") => Denial::Absent(text),
        // systemd's errors for a unit that is masked or does not load.
        None if name.starts_with("org.freedesktop.systemd1.") => Denial::Absent(text),
        _ => Denial::Failed(text),
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
        assert!(matches!(classify(&broken), Denial::Absent(_)));
        for absent in [
            fdo::Error::ServiceUnknown(String::new()),
            fdo::Error::TimedOut(String::new()),
            fdo::Error::SpawnChildExited(String::new()),
            fdo::Error::SpawnServiceNotFound(String::new()),
        ] {
            assert!(matches!(of(absent.clone()), Denial::Absent(_)), "{absent}");
        }
        assert_eq!(of(fdo::Error::NoReply(String::new())), Denial::Ended);
        assert_eq!(of(fdo::Error::NameHasNoOwner(String::new())), Denial::CallerGone);
        for failed in [fdo::Error::AccessDenied(String::new()), fdo::Error::Failed(String::new())] {
            assert!(matches!(of(failed.clone()), Denial::Failed(_)), "{failed}");
        }
        assert!(matches!(classify(&zbus::Error::InvalidReply), Denial::Failed(_)));
    }
}
