//! polkit on the client's side: the text agent, with which a user on ssh can type a password, and
//! polkit's answer about a change, asked in advance without a prompt.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, Uid, geteuid};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zbus::Variant;

use super::HelperLink;

/// Time limit for the agent's registration. It takes 30 ms, and more if the bus has to start polkit
/// first.
const REGISTER: Duration = Duration::from_secs(5);

/// Time limit for the agent to end, before it is killed.
const END: Duration = Duration::from_secs(1);

/// The agent that polkit uses if the session has one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentPriority {
    /// The session's agent; ours only if the session has none (`--fallback`). polkit ignores such
    /// an agent if there is no session, as after su or without systemd
    /// (`get_authentication_agent_for_subject` in polkit's `polkitbackendinteractiveauthority.c`).
    BehindTheSessions,
    /// Our agent.
    First,
}

impl AgentPriority {
    fn flag(self) -> Option<&'static str> {
        (self == Self::BehindTheSessions).then_some("--fallback")
    }
}

/// A running `pkttyagent` that is registered for this process. [`Agent::end`] ends it. If that is
/// never reached, it is killed when the value is dropped.
pub(super) struct Agent {
    child: Child,
    /// The terminal's settings before: an agent that is ended during its prompt leaves echo off.
    terminal: Option<Termios>,
}

impl Agent {
    /// Starts the agent and waits until it is registered. `None` if `pkttyagent` is missing or does
    /// not work; polkit may still use the session's own agent.
    ///
    /// Without `--process` it registers for its parent, which is this process. It prompts on
    /// `/dev/tty`, so standard output is free to be the descriptor that it closes after registering
    /// (pkttyagent(1)).
    pub(super) async fn start(priority: AgentPriority) -> Option<Self> {
        // polkit never asks root for a password.
        if geteuid().is_root() {
            return None;
        }
        let terminal = tcgetattr(std::io::stdin()).ok();
        let mut child = Command::new("pkttyagent")
            .args(priority.flag())
            .arg("--notify-fd=1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut registered = child.stdout.take()?;
        let mut nothing = Vec::new();
        timeout(REGISTER, registered.read_to_end(&mut nothing)).await.ok()?.ok()?;
        // An agent that failed closes the descriptor, too.
        match child.try_wait() {
            Ok(None) => Some(Self { child, terminal }),
            _ => None,
        }
    }

    /// Ends the agent and leaves the terminal as it was.
    pub(super) async fn end(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        if pid.is_some_and(|pid| kill(pid, Signal::SIGTERM).is_ok()) {
            // An agent that does not end is killed when the child is dropped.
            let _ = timeout(END, self.child.wait()).await;
        }
        if let Some(terminal) = &self.terminal {
            // An error is ignored: a terminal that is gone needs no restoring.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, terminal);
        }
    }
}

/// polkit on the bus (polkit's reference, "D-Bus API").
const POLKIT: &str = "org.freedesktop.PolicyKit1";
const AUTHORITY: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";

/// Time limit for polkit's answer, which needs no prompt. The bus may have to start polkit.
const POLKIT_TIMEOUT: Duration = Duration::from_secs(5);

/// polkit's expected answer to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedAnswer {
    /// Allowed without a password.
    Allowed,
    /// Allowed after a password.
    Challenge,
    /// Not allowed.
    Denied,
    /// polkit does not run.
    NoAuthority,
    /// polkit does not know the action.
    UnknownAction,
    /// It could not be determined, and why.
    NotKnown(String),
}

impl HelperLink {
    /// Asks polkit whether this process may perform an action of the helper. Root always may.
    pub async fn expected_answer(&self, action: &str) -> ExpectedAnswer {
        if Uid::effective().is_root() {
            return ExpectedAnswer::Allowed;
        }
        match timeout(POLKIT_TIMEOUT, self.ask_polkit(action)).await {
            Ok(Ok((true, _))) => ExpectedAnswer::Allowed,
            Ok(Ok((false, true))) => ExpectedAnswer::Challenge,
            Ok(Ok((false, false))) => ExpectedAnswer::Denied,
            Ok(Err(error)) => classify(&error),
            Err(_) => ExpectedAnswer::NotKnown(format!("polkit does not answer within {} s", POLKIT_TIMEOUT.as_secs())),
        }
    }

    /// Whether the action is authorised, and whether a password would authorise it.
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

/// Sorts an error of polkit or the bus by its text: polkit reports an unregistered action only
/// there, and the text contains the bus's error name.
fn classify(error: &zbus::Error) -> ExpectedAnswer {
    let text = error.to_string();
    if text.contains("not registered") {
        ExpectedAnswer::UnknownAction
    } else if ["ServiceUnknown", "NameHasNoOwner", "Spawn"].iter().any(|name| text.contains(name)) {
        ExpectedAnswer::NoAuthority
    } else {
        ExpectedAnswer::NotKnown(text)
    }
}
