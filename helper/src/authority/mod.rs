//! Authorisation of callers.
//!
//! An [`Authority`] only answers questions; [`authorise`] judges the answer. Only it can make a
//! [`Permit`], and the reconciler demands one for every change. So no change happens without a
//! judgement, and no judgement outlives its call.

mod polkit;

use std::collections::HashMap;

use async_trait::async_trait;
use zbus::Variant;
use zbus::names::OwnedUniqueName;

use airpods_dbus::{ClampOptions, Error, ErrorKind, names};

use crate::clamp::{Request, yes_or_no};
use crate::log::Line;

pub use polkit::Polkit;

/// The uid that polkit allows every action, without a password.
const ROOT: u32 = 0;

/// The error of a request that needs a password.
const NEEDS_PASSWORD: ErrorKind = ErrorKind::InteractiveAuthorizationRequired;

/// The polkit actions: one for each mutating method, and one for a link that is no VPN link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `ClampOn`.
    ClampOn,
    /// `ClampOn` with `any-link`.
    ClampAnyLink,
    /// `ClampOff`.
    ClampOff,
    /// `Reset`.
    Reset,
}

impl Action {
    /// Every method of the interface with the action it needs; reads need none. A test fails if a
    /// method is missing here.
    pub const OF_METHODS: [(&'static str, Option<Self>); 4] = [
        ("ClampOn", Some(Self::ClampOn)),
        ("ClampOff", Some(Self::ClampOff)),
        ("Reset", Some(Self::Reset)),
        ("GetStatus", None),
    ];

    /// The action that a request needs.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        match request {
            Request::ClampOn(_, ClampOptions { any_link: true, .. }) => Self::ClampAnyLink,
            Request::ClampOn(..) => Self::ClampOn,
            Request::ClampOff(_) => Self::ClampOff,
            Request::Reset => Self::Reset,
        }
    }

    /// The action's identifier in polkit's policy.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::ClampOn => names::ACTION_CLAMP_ON,
            Self::ClampAnyLink => names::ACTION_CLAMP_ANY_LINK,
            Self::ClampOff => names::ACTION_CLAMP_OFF,
            Self::Reset => names::ACTION_RESET,
        }
    }

    /// The word for the action in details and in the log: the last part of its identifier.
    #[must_use]
    pub fn operation(self) -> &'static str {
        self.id().rsplit('.').next().unwrap_or_default()
    }
}

/// The caller, as the bus daemon identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The connection's unique name. The bus never reuses it.
    pub name: OwnedUniqueName,
    /// The user who opened the connection.
    pub uid: u32,
}

/// The question to an authority.
#[derive(Debug)]
pub struct Question {
    /// The caller.
    pub caller: Caller,
    /// The requested action.
    pub request: Request,
    /// Whether a clamp that the request changes, removes or overrides is kept across reboots.
    pub kept_now: bool,
    /// Whether polkit may prompt: the message allows it and the caller is not root.
    pub interaction: bool,
}

/// Whether polkit may prompt for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptMode {
    /// No prompt, so polkit answers at once.
    Forbidden,
    /// polkit may prompt for a password; the answer takes as long as the user does.
    Allowed,
}

impl Question {
    /// The question whether a caller may make a request. `kept_now` is [`Question::kept_now`], and
    /// `allows_interaction` the flag of the caller's message.
    #[must_use]
    pub fn about(caller: Caller, request: Request, kept_now: bool, allows_interaction: bool) -> Self {
        let interaction = caller.uid != ROOT && allows_interaction;
        Self { caller, request, kept_now, interaction }
    }

    /// The subject, in polkit's terms: always the caller's unique bus name. A process id could
    /// belong to another process by now.
    #[must_use]
    pub fn subject(&self) -> (&'static str, HashMap<&'static str, Variant<'_>>) {
        ("system-bus-name", HashMap::from([("name", Variant::from(self.caller.name.as_str()))]))
    }

    /// The details, for polkit rules and for the text of the prompt.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let interface = match &self.request {
            Request::ClampOn(target, _) | Request::ClampOff(target) => target.to_string(),
            // Link names of callers have no spaces, so this cannot be mistaken for one.
            Request::Reset => "every link".to_owned(),
        };
        let mut details =
            vec![("interface", interface), ("operation", Action::of(&self.request).operation().to_owned())];
        details.extend(self.request.options());
        details.push(("kept-now", yes_or_no(self.kept_now)));
        details
    }

    /// Whether the judgement without a prompt calls for one with it. So callers who need no
    /// password get their answer soon, even if polkit hangs.
    #[must_use]
    pub fn needs_prompt(&self, judged: &Result<Permit, Error>) -> bool {
        self.interaction && judged.as_ref().is_err_and(|error| error.kind() == NEEDS_PASSWORD)
    }
}

/// Why the authority did not allow a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// polkit does not authorise the subject.
    #[error("polkit does not allow this")]
    No,
    /// polkit would authorise the subject after a password.
    #[error("this needs an administrator's password")]
    Challenge,
    /// The user dismissed the prompt.
    #[error("the question for a password was dismissed")]
    Dismissed,
    /// polkit did not find the subject: the caller had left the bus.
    #[error("the caller has left the bus")]
    CallerGone,
    /// polkit answered with an error, for example because the action is not installed.
    #[error("polkit failed: {0}")]
    Failed(String),
    /// polkit is not running and could not be started, with the bus's error.
    #[error("polkit is not there: {0}")]
    Absent(String),
    /// polkit is running, but has not answered for this many seconds.
    #[error("polkit is running, and has not answered for {0} s")]
    Silent(u64),
    /// polkit ended, or left the bus, before it answered.
    #[error("polkit ended before it answered")]
    Ended,
}

impl Denial {
    /// The meaning of polkit's answer: only a plain yes allows the request.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn unless(is_authorized: bool, is_challenge: bool, is_dismissed: bool) -> Result<(), Self> {
        match (is_authorized, is_dismissed, is_challenge) {
            (true, ..) => Ok(()),
            (_, true, _) => Err(Self::Dismissed),
            (_, _, true) => Err(Self::Challenge),
            _ => Err(Self::No),
        }
    }
}

/// The authority that judges callers.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Asks, and waits for an authority that is being started. Dropping the future cancels the
    /// check.
    async fn ask(&self, question: &Question, mode: PromptMode) -> Result<(), Denial>;
}

/// Permission for one caller to make one change, once. It owns the request that was judged, with
/// the details, so no other request can use it. Only [`authorise`] makes it.
#[must_use = "a permit is there to be handed to the change it permits"]
#[derive(Debug)]
pub struct Permit {
    request: Request,
    kept_now: bool,
}

impl Permit {
    /// The permitted change.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether the authority allowed to change, remove or override a clamp that is kept across
    /// reboots.
    #[must_use]
    pub fn covers_kept(&self) -> bool {
        self.kept_now
    }

    /// Consumes the permit, and returns the permitted request.
    #[must_use]
    pub fn spend(self) -> Request {
        self.request
    }
}

/// Asks the authority and judges its answer. The first question is without a prompt, and another
/// one with it follows if [`Question::needs_prompt`].
///
/// `log` gets the log line if there is no answer. It can limit the lines, so that a busy caller
/// does not fill the log.
///
/// Without polkit only root is served, by the uid that the bus daemon reports: polkit itself always
/// allows root everything.
///
/// # Errors
/// Every answer but a clear yes is a denial, each with its own error kind.
pub async fn authorise(
    authority: &dyn Authority,
    question: &Question,
    mode: PromptMode,
    log: impl FnOnce(Line),
) -> Result<Permit, Error> {
    let permit = || Permit { request: question.request.clone(), kept_now: question.kept_now };
    let Err(denial) = authority.ask(question, mode).await else { return Ok(permit()) };
    let only_root = "; until it answers only root is served";
    let (kind, rest, hint) = match denial {
        Denial::No | Denial::CallerGone => (ErrorKind::AccessDenied, "", None),
        Denial::Dismissed => (ErrorKind::AuthDismissed, "", None),
        Denial::Challenge if question.interaction => {
            (NEEDS_PASSWORD, ", and there is no authentication agent to ask for it", None)
        }
        Denial::Challenge => (NEEDS_PASSWORD, ", and the call does not allow to ask for it", None),
        Denial::Failed(_) => {
            let hint = "the policy is not installed, or polkit does not let this user ask";
            (ErrorKind::AccessDenied, "; the policy of airpods may not be installed", Some(hint))
        }
        Denial::Absent(_) => (ErrorKind::AuthUnavailable, only_root, Some("is polkit installed, and not masked?")),
        Denial::Silent(_) | Denial::Ended => {
            (ErrorKind::AuthUnavailable, only_root, Some("`systemctl status polkit` may say why"))
        }
    };
    // Without a hint it is no fault of polkit.
    if let Some(hint) = hint {
        let line = Line::warning("no-answer-from-polkit").with("action", Action::of(&question.request).id());
        log(line.with("cause", &denial).with("hint", hint));
    }
    if kind == ErrorKind::AuthUnavailable && question.caller.uid == ROOT {
        return Ok(permit());
    }
    Err(kind.because(match denial {
        // Its text is for the log alone: it may tell something about the machine.
        Denial::Failed(_) => format!("polkit could not judge this{rest}"),
        denial => format!("{denial}{rest}"),
    }))
}

#[cfg(test)]
mod tests;
