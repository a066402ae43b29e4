//! The connection to the helper over the system bus, with an agent for the password if one is
//! needed.
//!
//! Checking whether the helper runs does not start it. The owner of its bus name is checked as
//! well: an answer of another program is worthless.

mod error;
mod polkit;

use std::future::Future;
use std::time::Duration;

use airpods_dbus::{ClampOptions, ErrorKind, HelperProxy, Status, Target, names};
use nix::unistd::User;
use tokio::time::timeout;
use zbus::Connection;
use zbus::fdo::{self, DBusProxy};
use zbus::names::BusName;
use zbus::proxy::CacheProperties;

use crate::system_bus::{self, CONNECT_TIMEOUT, is_trusted};
use crate::terminal;
use polkit::{Agent, AgentPriority};

pub use error::HelperError;
pub use polkit::ExpectedAnswer;

/// Time limit for an answer without a prompt: as long as the bus gives a service to start
/// (`service_start_timeout`, dbus-daemon(1)).
const ANSWER: Duration = Duration::from_secs(25);

/// Time limit for typing the password; polkit's own agents give up sooner.
const PROMPT: Duration = Duration::from_secs(300);

/// Time for a helper that is shutting down to leave the bus, before the call is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Whether the user may be prompted for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// If necessary, by the session's agent, or in this terminal.
    Allowed,
    /// Never: a change that needs a password fails.
    Never,
}

/// A request to the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `ClampOn`
    On(Target, ClampOptions),
    /// `ClampOff`
    Off(Target),
    /// `Reset`
    Reset,
}

/// A connection to the helper.
#[derive(Debug)]
pub struct HelperLink {
    proxy: HelperProxy<'static>,
}

impl HelperLink {
    /// Connects to the system bus, has it start the helper, and checks the owner of the helper's
    /// name.
    ///
    /// # Errors
    /// [`HelperError::Bus`] within two seconds; [`HelperError::WrongOwner`] if another program has
    /// the helper's name.
    pub async fn connect() -> Result<Self, HelperError> {
        let connection = system_bus::connect().await?;
        timeout(ANSWER, started(&connection)).await.map_err(|_| HelperError::Silent(ANSWER))??;
        // Without the cache, making the proxy costs no call.
        let proxy = HelperProxy::builder(&connection).cache_properties(CacheProperties::No).build().await;
        Ok(Self { proxy: proxy.map_err(HelperError::from_call)? })
    }

    /// Reads the helper's whole state. This never prompts.
    ///
    /// # Errors
    /// [`HelperError`]
    pub async fn status(&self) -> Result<Status, HelperError> {
        within(ANSWER, self.proxy.get_status()).await
    }

    /// Requests a change. Returns whether anything changed.
    ///
    /// If polkit needs no password for this user, the first call already does the work. That saves
    /// starting an agent, which takes longer than the change itself. Only if the helper answers
    /// that a password is needed, it is called again with the flag that allows a prompt.
    ///
    /// # Errors
    /// [`HelperError`]
    pub async fn change(&self, change: &Change, asking: Asking) -> Result<bool, HelperError> {
        match retry_if_shutting_down(|| within(ANSWER, self.call(change))).await {
            answer if asking == Asking::Allowed && needs_agent(&answer) => self.change_asking(change).await,
            answer => answer,
        }
    }

    /// Calls with an agent that yields to the session's own. If nobody could be prompted that way,
    /// calls again with our agent first.
    async fn change_asking(&self, change: &Change) -> Result<bool, HelperError> {
        // Without a terminal the session may still have an agent.
        if !terminal::is_interactive() {
            return retry_if_shutting_down(|| within(PROMPT, self.call_asking(change))).await;
        }
        match self.change_with_agent(change, AgentPriority::BehindTheSessions).await {
            answer if needs_agent(&answer) => self.change_with_agent(change, AgentPriority::First).await,
            answer => answer,
        }
    }

    async fn change_with_agent(&self, change: &Change, priority: AgentPriority) -> Result<bool, HelperError> {
        let agent = Agent::start(priority).await;
        let answer = tokio::select! {
            answer = retry_if_shutting_down(|| within(PROMPT, self.call_asking(change))) => answer,
            _ = tokio::signal::ctrl_c() => Err(HelperError::Interrupted),
        };
        if let Some(agent) = agent {
            agent.end().await;
        }
        answer
    }

    async fn call(&self, change: &Change) -> zbus::Result<bool> {
        match change {
            Change::On(target, options) => self.proxy.clamp_on(target.as_wire(), options.to_wire()).await,
            Change::Off(target) => self.proxy.clamp_off(target.as_wire()).await,
            Change::Reset => self.proxy.reset().await,
        }
    }

    async fn call_asking(&self, change: &Change) -> zbus::Result<bool> {
        match change {
            Change::On(target, options) => self.proxy.clamp_on_asking(target.as_wire(), options.to_wire()).await,
            Change::Off(target) => self.proxy.clamp_off_asking(target.as_wire()).await,
            Change::Reset => self.proxy.reset_asking().await,
        }
    }
}

/// Whether the helper answers that a password is needed but nobody could be prompted.
fn needs_agent(answer: &Result<bool, HelperError>) -> bool {
    answer.as_ref().is_err_and(HelperError::needs_password)
}

impl HelperError {
    /// Whether a password is needed.
    #[must_use]
    pub fn needs_password(&self) -> bool {
        let required = ErrorKind::InteractiveAuthorizationRequired;
        matches!(self, Self::Refused(refusal) if refusal.kind() == required)
    }
}

/// Repeats a call once if the helper was just shutting down, as it does when it has nothing to
/// keep. It has changed nothing then, and the bus starts another one.
async fn retry_if_shutting_down<F>(call: impl Fn() -> F) -> Result<bool, HelperError>
where
    F: Future<Output = Result<bool, HelperError>>,
{
    match call().await {
        Err(HelperError::Refused(refusal)) if refusal.kind() == ErrorKind::ShuttingDown => {
            tokio::time::sleep(RETRY_DELAY).await;
            call().await
        }
        answer => answer,
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = zbus::Result<T>>) -> Result<T, HelperError> {
    timeout(limit, call).await.map_err(|_| HelperError::Silent(limit))?.map_err(HelperError::from_call)
}

/// The knowledge about the helper that does not start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelperState {
    /// It runs, in this version.
    Running(String),
    /// It does not run; the bus starts it on demand.
    Idle,
    /// The bus does not know it.
    NotInstalled,
    /// There is no bus that could answer.
    Unknown,
}

/// Looks for the helper. Only the bus is queried, unless the helper runs anyway.
pub async fn helper_state() -> HelperState {
    match system_bus::connect().await {
        Ok(bus) => timeout(ANSWER, query_state(&bus)).await.ok().and_then(Result::ok).unwrap_or(HelperState::Unknown),
        Err(_) => HelperState::Unknown,
    }
}

/// The status of a running helper; `None` if it does not run, or if that is unknown. A helper that
/// does not run clamps nothing.
pub async fn status_if_running() -> Option<Status> {
    let ask = async {
        let bus = system_bus::connect().await.ok()?;
        runs(&bus).await.ok().filter(|runs| *runs)?;
        check(&bus).await.ok()?;
        let helper = HelperProxy::builder(&bus).cache_properties(CacheProperties::No).build().await.ok()?;
        helper.get_status().await.ok()
    };
    timeout(CONNECT_TIMEOUT, ask).await.ok().flatten()
}

async fn runs(bus: &Connection) -> zbus::Result<bool> {
    let daemon = DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    Ok(daemon.name_has_owner(names::BUS_NAME.try_into()?).await?)
}

async fn query_state(bus: &Connection) -> zbus::Result<HelperState> {
    if runs(bus).await? {
        if check(bus).await.is_err() {
            return Ok(HelperState::Unknown);
        }
        let helper = HelperProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
        return Ok(HelperState::Running(helper.version().await?));
    }
    let daemon = DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    let can_be_started = daemon.list_activatable_names().await?.iter().any(|name| name.as_str() == names::BUS_NAME);
    Ok(if can_be_started { HelperState::Idle } else { HelperState::NotInstalled })
}

/// Has the bus start the helper if it does not run, and checks that the name belongs to the
/// helper's user.
///
/// # Errors
/// [`HelperError`], such as [`HelperError::WrongOwner`].
pub(super) async fn started(bus: &Connection) -> Result<(), HelperError> {
    let daemon = daemon(bus).await?;
    // The bus is asked to start the helper only if the name has no owner: dbus-daemon does not know
    // a helper that it did not start.
    if let Some(owner) = owner(&daemon).await? {
        return trusted(owner);
    }
    let no_flags = 0;
    daemon
        .start_service_by_name(names::BUS_NAME.try_into().map_err(HelperError::from_call)?, no_flags)
        .await
        .map_err(from_bus)?;
    trusted(owner(&daemon).await?.ok_or(HelperError::WentAway)?)
}

/// Checks that the name belongs to the helper's user.
///
/// # Errors
/// [`HelperError::WrongOwner`], or [`HelperError::WentAway`] if the name has no owner.
pub(super) async fn check(bus: &Connection) -> Result<(), HelperError> {
    trusted(owner(&daemon(bus).await?).await?.ok_or(HelperError::WentAway)?)
}

/// The uid that owns the name.
async fn owner(daemon: &DBusProxy<'_>) -> Result<Option<u32>, HelperError> {
    match daemon.get_connection_unix_user(name()?).await {
        Ok(uid) => Ok(Some(uid)),
        Err(fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(from_bus(error)),
    }
}

fn name() -> Result<BusName<'static>, HelperError> {
    names::BUS_NAME.try_into().map_err(HelperError::from_call)
}

fn trusted(owner: u32) -> Result<(), HelperError> {
    let helper = User::from_name(names::HELPER_USER).ok().flatten().map(|user| user.uid.as_raw());
    if is_trusted(owner, helper) { Ok(()) } else { Err(HelperError::WrongOwner(owner)) }
}

async fn daemon(bus: &Connection) -> Result<DBusProxy<'static>, HelperError> {
    DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await.map_err(HelperError::from_call)
}

fn from_bus(error: fdo::Error) -> HelperError {
    HelperError::from_call(error.into())
}
