//! May this caller do that?
//!
//! An [`Authority`] only answers; what its answer means is judged in one place here, which alone can make
//! a [`Permit`], which the reconciler demands for every change. So there is no change without a judgement, and no
//! judgement that outlives its call.

mod polkit;

use async_trait::async_trait;
use zbus::Message;
use zbus::names::OwnedUniqueName;
use zbus_polkit::policykit1::Subject;

use airpods_dbus::{ClampOptions, Error, ErrorKind, names};

use crate::clamp::Request;
use crate::log::Line;

pub use polkit::Polkit;

/// Whom polkit always allows everything, without a password.
const ROOT: u32 = 0;

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
    /// Every method of the interface, and the action it needs; reads need none. A method that is missing here fails
    /// a test.
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

    /// Its identifier in polkit's policy.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::ClampOn => names::ACTION_CLAMP_ON,
            Self::ClampAnyLink => names::ACTION_CLAMP_ANY_LINK,
            Self::ClampOff => names::ACTION_CLAMP_OFF,
            Self::Reset => names::ACTION_RESET,
        }
    }

    /// The word for it in details and in the log: the last part of its identifier.
    #[must_use]
    pub fn operation(self) -> &'static str {
        self.id().rsplit('.').next().unwrap_or_default()
    }
}

/// The caller, as the bus daemon vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The connection's unique name, which is never given to another one.
    pub name: OwnedUniqueName,
    /// The user who opened the connection.
    pub uid: u32,
}

/// The question to an authority.
#[derive(Debug)]
pub struct Question {
    /// Whom it is about: always the caller's unique bus name. A process id could be another process' by now.
    pub subject: Subject,
    /// The caller.
    pub caller: Caller,
    /// The requested action.
    pub request: Request,
    /// Whether the person at the caller's end may be asked for a password: the message allows it. Root never is.
    pub interaction: bool,
}

/// How a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nobody is asked for a password, so there is an answer at once.
    Quietly,
    /// Somebody may be asked for a password, and take their time.
    Prompting,
}

impl Question {
    /// The question whether a caller may do what is requested, and whether their message `allows_interaction`.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] if there is no such subject.
    pub fn about(caller: Caller, request: Request, allows_interaction: bool) -> Result<Self, Error> {
        // Of a message zbus_polkit takes its sender and nothing else.
        let stand_in = Message::method_call("/", "Call").sender(caller.name.clone()).build(&());
        let subject = stand_in.ok().and_then(|call| Subject::new_for_message_header(&call.header()).ok());
        let no_subject = || ErrorKind::AccessDenied.because("the caller is none that polkit can judge");
        let interaction = caller.uid != ROOT && allows_interaction;
        Ok(Self { subject: subject.ok_or_else(no_subject)?, caller, request, interaction })
    }

    /// The requested action, in polkit's terms.
    #[must_use]
    pub fn action(&self) -> Action {
        Action::of(&self.request)
    }

    /// The details by which a rule decides, and which the prompt shows.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let mut details =
            vec![("interface", interface(&self.request)), ("operation", self.action().operation().to_owned())];
        if let Request::ClampOn(_, options) = &self.request {
            details.push(("mtu", options.mtu.map_or_else(|| "route".to_owned(), |mtu| mtu.to_string())));
            details.push(("persist", if options.persist { "yes" } else { "no" }.to_owned()));
        }
        details
    }
}

/// The detail `interface` of a request. No link's name has a space, so the words stand for nothing else.
fn interface(request: &Request) -> String {
    match request {
        Request::ClampOn(target, _) | Request::ClampOff(target) => target.to_string(),
        Request::Reset => "every link".to_owned(),
    }
}

/// An authority's answer, as polkit gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The subject may.
    pub is_authorized: bool,
    /// The subject might, after a password.
    pub is_challenge: bool,
    /// The person at the prompt closed it.
    pub is_dismissed: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The bus says that polkit is not there and cannot be started; what it says.
    #[error("polkit is not there: {0}")]
    Absent(String),
    /// polkit is there, and has not answered for so many seconds.
    #[error("polkit is running, and has not answered for {0} s")]
    Silent(u64),
    /// polkit ended, or left the bus, before it answered.
    #[error("polkit ended before it answered")]
    Ended,
    /// polkit found nobody to judge: the caller had left the bus already.
    #[error("the caller has left the bus")]
    CallerGone,
    /// polkit answered with an error, as it does for an action that is not installed.
    #[error("polkit failed: {0}")]
    Failed(String),
}

impl NoAnswer {
    /// Whether nobody has judged: then root is served all the same, as polkit always allows root everything.
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Absent(_) | Self::Silent(_) | Self::Ended)
    }
}

/// The authority that judges callers.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Asks. An authority that is being started is waited for. Dropping the future takes the question back.
    async fn ask(&self, question: &Question, manner: Manner) -> Result<Answer, NoAnswer>;
}

/// The judgement that one caller may make one change, once: it owns the request that was judged, so there is no other to
/// make with it. Only [`authorise`] and [`authorise_at_prompt`] make it.
#[must_use = "a permit is there to be handed to the change it permits"]
#[derive(Debug)]
pub struct Permit {
    request: Request,
}

impl Permit {
    /// The permitted change.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Uses the permit up.
    #[must_use]
    pub fn spend(self) -> Request {
        self.request
    }
}

/// Asks the authority quietly and judges its answer; `None` if only a password can decide, and one may be asked for. So
/// whoever needs none has an answer soon, also from an authority that has stopped to answer.
///
/// `tell` gets the line for the log if there is no answer: whoever calls very often is not to fill the log.
///
/// # Errors
/// Everything but a clear yes is a denial, each with the name of its own.
pub async fn authorise(
    authority: &dyn Authority,
    question: &Question,
    tell: impl FnOnce(Line),
) -> Result<Option<Permit>, Error> {
    let answer = ask(authority, question, Manner::Quietly, tell).await;
    if question.interaction && matches!(answer, Ok(Answer { is_authorized: false, is_challenge: true, .. })) {
        return Ok(None);
    }
    permit(question, &answer).map(Some)
}

/// The same for a question to which the quiet answer was that a password is needed. Somebody may be asked for one.
///
/// # Errors
/// As for [`authorise`].
pub async fn authorise_at_prompt(
    authority: &dyn Authority,
    question: &Question,
    tell: impl FnOnce(Line),
) -> Result<Permit, Error> {
    permit(question, &ask(authority, question, Manner::Prompting, tell).await)
}

async fn ask(
    authority: &dyn Authority,
    question: &Question,
    manner: Manner,
    tell: impl FnOnce(Line),
) -> Result<Answer, NoAnswer> {
    let answer = authority.ask(question, manner).await;
    let hint = match &answer {
        // Nothing is wrong with polkit then.
        Ok(_) | Err(NoAnswer::CallerGone) => None,
        Err(NoAnswer::Absent(_)) => Some("is polkit installed, and not masked?"),
        Err(NoAnswer::Silent(_) | NoAnswer::Ended) => Some("`systemctl status polkit` may say why"),
        Err(NoAnswer::Failed(_)) => Some("the policy is not installed, or polkit does not let this user ask"),
    };
    if let (Err(cause), Some(hint)) = (&answer, hint) {
        let line = Line::warning("no-answer-from-polkit").with("action", question.action().id());
        tell(line.with("cause", cause).with("hint", hint));
    }
    answer
}

fn permit(question: &Question, answer: &Result<Answer, NoAnswer>) -> Result<Permit, Error> {
    judge(question, answer).map(|()| Permit { request: question.request.clone() })
}

/// The meaning of an answer.
///
/// Without polkit root is served, by the uid that the bus daemon vouches for: polkit itself always says yes to root.
fn judge(question: &Question, answer: &Result<Answer, NoAnswer>) -> Result<(), Error> {
    let (kind, sentence) = match answer {
        Ok(answer) if answer.is_authorized => return Ok(()),
        Err(none) if none.is_unavailable() && question.caller.uid == ROOT => return Ok(()),
        Ok(answer) if answer.is_dismissed => (ErrorKind::AuthDismissed, "the question for a password was dismissed"),
        Ok(answer) if answer.is_challenge && question.interaction => (
            ErrorKind::InteractiveAuthorizationRequired,
            "this needs an administrator's password, and there is no authentication agent to ask for it",
        ),
        Ok(answer) if answer.is_challenge => (
            ErrorKind::InteractiveAuthorizationRequired,
            "this needs an administrator's password, and the call does not allow to ask for it",
        ),
        Ok(_) => (ErrorKind::AccessDenied, "polkit does not allow this"),
        Err(none @ (NoAnswer::Absent(_) | NoAnswer::Silent(_) | NoAnswer::Ended)) => {
            return Err(ErrorKind::AuthUnavailable.because(format!("{none}; until it answers only root is served")));
        }
        Err(NoAnswer::CallerGone) => (ErrorKind::AccessDenied, "the caller has left the bus"),
        Err(NoAnswer::Failed(_)) => {
            (ErrorKind::AccessDenied, "polkit could not judge this; the policy of airpods may not be installed")
        }
    };
    Err(kind.because(sentence))
}

#[cfg(test)]
mod tests;
