//! A stand-in for polkitd: it answers as the test chooses and records the questions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zbus::fdo::DBusProxy;
use zbus::names::{BusName, ErrorName};
use zbus::{Connection, OwnedVariant, interface};

/// Its name on the bus.
pub const POLKIT: &str = "org.freedesktop.PolicyKit1";

type Subject = (String, HashMap<String, OwnedVariant>);

/// How the stand-in answers a question.
#[derive(Clone, Copy, Debug)]
pub enum AnswerMode {
    /// It answers with `is_authorized`, `is_challenge`, and whether the user dismissed the prompt.
    Fixed(bool, bool, bool),
    /// A challenge to a caller that allows no prompt, and yes to one that does.
    NeedsPassword,
    /// It has no such action.
    Fails,
    /// The caller has left the bus.
    CallerUnknown,
    /// It says yes after this time.
    After(Duration),
    /// It does not answer.
    Hangs,
    /// It asks everybody but root for a password, and the prompt never ends.
    HangsAtPrompt,
}

/// A question as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedQuestion {
    /// Kind and details of the subject.
    pub subject: String,
    /// The identifier of the action.
    pub action: String,
    /// The details, sorted.
    pub details: Vec<(String, String)>,
    /// 1 if the caller allows a password prompt.
    pub flags: u32,
}

/// The events so far.
#[derive(Debug, Default)]
pub struct Record {
    /// The questions.
    pub questions: Vec<RecordedQuestion>,
    /// The cancellation ids of cancelled questions.
    pub cancelled: Vec<String>,
    /// The cancellation ids of questions that wait for a password.
    pub prompts: Vec<String>,
    /// The largest number of prompts that were open at once.
    pub most_prompts: usize,
}

/// The record of a stand-in; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recorded(Arc<Mutex<Record>>);

impl Recorded {
    /// Takes polkit's name on this connection, and answers from then on.
    ///
    /// # Errors
    /// The bus's error, if it refuses the name to this user.
    pub async fn serve(connection: &Connection, mode: AnswerMode) -> zbus::Result<Self> {
        let recorded = Self::default();
        let stand_in = StandIn { mode, recorded: recorded.clone() };
        connection.object_server().at("/org/freedesktop/PolicyKit1/Authority", stand_in).await?;
        connection.request_name(POLKIT).await?;
        Ok(recorded)
    }

    /// The events so far.
    pub fn so_far(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct StandIn {
    mode: AnswerMode,
    recorded: Recorded,
}

type Answer = (bool, bool, HashMap<String, String>);

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl StandIn {
    async fn check_authorization(
        &self,
        subject: Subject,
        action: String,
        details: HashMap<String, String>,
        flags: u32,
        cancellation: String,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Answer, Failure> {
        let named: Vec<_> = subject.1.iter().map(|(key, value)| format!("{key}={}", **value)).collect();
        let mut details: Vec<_> = details.into_iter().collect();
        details.sort();
        let question =
            RecordedQuestion { subject: format!("{} {}", subject.0, named.join(" ")), action, details, flags };
        self.recorded.so_far().questions.push(question);
        let says = |is_authorized, is_challenge| Ok((is_authorized, is_challenge, HashMap::new()));
        match self.mode {
            AnswerMode::Fixed(is_authorized, is_challenge, is_dismissed) => {
                let details = is_dismissed.then(|| ("polkit.dismissed".to_owned(), "true".to_owned()));
                Ok((is_authorized, is_challenge, details.into_iter().collect()))
            }
            AnswerMode::NeedsPassword => says(flags == 1, flags == 0),
            AnswerMode::Fails => Err(Failure::NotRegistered),
            AnswerMode::CallerUnknown => Err(Failure::NameHasNoOwner),
            AnswerMode::After(delay) => {
                zruntime::unblock(move || std::thread::sleep(delay)).await;
                says(true, false)
            }
            AnswerMode::Hangs => std::future::pending().await,
            AnswerMode::HangsAtPrompt if is_root(connection, &subject).await => says(true, false),
            AnswerMode::HangsAtPrompt if flags == 0 => says(false, true),
            AnswerMode::HangsAtPrompt => {
                self.recorded.so_far().prompt(cancellation);
                std::future::pending().await
            }
        }
    }

    fn cancel_check_authorization(&self, cancellation: String) {
        let mut record = self.recorded.so_far();
        record.prompts.retain(|open| *open != cancellation);
        record.cancelled.push(cancellation);
    }
}

impl Record {
    fn prompt(&mut self, name: String) {
        self.prompts.push(name);
        self.most_prompts = self.most_prompts.max(self.prompts.len());
    }
}

/// Whether the bus says that a `system-bus-name` is root's.
async fn is_root(connection: &Connection, (_, details): &Subject) -> bool {
    let name = details.get("name").and_then(|name| name.downcast_ref::<&str>().ok()).unwrap_or_default();
    let (Ok(bus), Ok(name)) = (DBusProxy::new(connection).await, BusName::try_from(name)) else { return false };
    // A caller who has left has no uid, and so is not root.
    bus.get_connection_unix_user(name).await.is_ok_and(|uid| uid == 0)
}

/// polkit's errors.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// For an action that is not installed.
    NotRegistered,
    /// For a caller who has left the bus: polkit passes the bus's own error on.
    NameHasNoOwner,
}

impl zbus::DBusError for Failure {
    fn create_reply(&self, call: &zbus::message::Header<'_>) -> zbus::Result<zbus::Message> {
        zbus::Message::error(call, self.name()).build(&match self {
            Self::NotRegistered => "Action org.airpods.helper1.clamp-on is not registered",
            Self::NameHasNoOwner => "GDBus.Error:org.freedesktop.DBus.Error.NameHasNoOwner: no such name",
        })
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(match self {
            Self::NotRegistered => "org.freedesktop.PolicyKit1.Error.Failed",
            Self::NameHasNoOwner => "org.freedesktop.DBus.Error.NameHasNoOwner",
        })
    }

    fn description(&self) -> Option<&str> {
        None
    }
}
