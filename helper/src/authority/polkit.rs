//! polkit, the system's authority.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_lite::StreamExt;
use futures_lite::future::or;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};
use zbus::message::Flags;
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
/// The helper starts to watch polkit only after this delay: an answer that comes sooner needs no
/// watching.
const WATCH_DELAY: Duration = Duration::from_millis(250);

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
                Denial::CallerGone if matches!(self.is_there().await, Ok(false)) => Denial::Absent(error.to_string()),
                denial => denial,
            }),
        }
    }

    /// Completes when waiting is pointless, and returns the reason. While polkit's name has no
    /// owner, the bus is starting polkit, and the bus itself answers the check if that fails.
    async fn given_up(&self, mode: PromptMode) -> Denial {
        let timeout = if mode == PromptMode::Allowed { PROMPT_TIMEOUT } else { ANSWER_TIMEOUT };
        // A slow bus proves nothing about polkit, and may have dropped an answer.
        let (mut changes, mut is_there) = loop {
            self.runtime.sleep(WATCH_DELAY).await;
            if let Ok(Ok(watched)) = self.runtime.timeout(ANSWER_TIMEOUT, self.watch()).await {
                break watched;
            }
        };
        loop {
            let limit = if is_there { timeout } else { ACTIVATION_TIMEOUT };
            match self.runtime.timeout(limit, changes.next()).await {
                // The polkitd that got the question has left the bus.
                Ok(Some(change)) if change.args().is_ok_and(|args| args.old_owner.is_some()) => return Denial::Ended,
                Ok(Some(_)) => is_there = true,
                // The connection is lost, which ends the helper.
                Ok(None) => return pending().await,
                Err(_) if !is_there => return Denial::Absent("it was not started in time".to_owned()),
                // The bus may hold the answer: only a bus that answers itself shows that polkit is
                // silent.
                Err(_) => {
                    if self.runtime.timeout(ANSWER_TIMEOUT, self.is_there()).await.is_ok() {
                        return Denial::Silent(timeout.as_secs());
                    }
                }
            }
        }
    }

    /// Subscribes to changes of the owner of polkit's name, and looks whether it has one now. In
    /// this order none is missed.
    async fn watch(&self) -> zbus::Result<(NameOwnerChangedStream, bool)> {
        let changes = self.bus().await?.receive_name_owner_changed_with_args(&[(0, NAME)]).await?;
        Ok((changes, self.is_there().await?))
    }

    /// Whether polkit is running.
    async fn is_there(&self) -> zbus::Result<bool> {
        Ok(self.bus().await?.name_has_owner(NAME.try_into()?).await?)
    }

    async fn bus(&self) -> zbus::Result<DBusProxy<'static>> {
        DBusProxy::builder(&self.connection).cache_properties(CacheProperties::No).build().await
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
