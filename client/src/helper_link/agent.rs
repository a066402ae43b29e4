//! polkit's text agent, by which somebody on ssh can type a password.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, geteuid};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long the agent may take to register; it takes 30 ms, more when the bus has to start polkit first.
const REGISTER: Duration = Duration::from_secs(5);

/// How long the agent may take to end before it is killed.
const END: Duration = Duration::from_secs(1);

/// Which agent is asked when the session has one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// The session's, and ours where it has none. polkit passes over such an agent where there is no session, as after
    /// su or where there is no systemd (`get_authentication_agent_for_subject` in polkit's
    /// `polkitbackendinteractiveauthority.c`).
    BehindTheSessions,
    /// Ours.
    First,
}

impl Rank {
    fn flag(self) -> Option<&'static str> {
        (self == Self::BehindTheSessions).then_some("--fallback")
    }
}

/// A running `pkttyagent` that is registered for this process. It is ended by [`Agent::end`], and by the kernel
/// if that is never reached.
pub(super) struct Agent {
    child: Child,
    /// The terminal as it was: an agent that is ended at its prompt leaves echo off.
    terminal: Option<Termios>,
}

impl Agent {
    /// Starts the agent and waits until it is registered. `None`: there is none, or it does not work; the session's
    /// own agent may still be asked.
    ///
    /// Without `--process` it registers for its parent, which is this process. It talks to `/dev/tty`, so standard
    /// output is free to be the descriptor that it closes once registered (pkttyagent(1)).
    pub(super) async fn start(rank: Rank) -> Option<Self> {
        // polkit never asks root for anything.
        if geteuid().is_root() {
            return None;
        }
        let terminal = tcgetattr(std::io::stdin()).ok();
        let mut child = Command::new("pkttyagent")
            .args(rank.flag())
            .arg("--notify-fd=1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut registered = child.stdout.take()?;
        let mut nothing = Vec::new();
        timeout(REGISTER, registered.read_to_end(&mut nothing)).await.ok()?.ok()?;
        // The descriptor is closed by an agent that failed, too.
        match child.try_wait() {
            Ok(None) => Some(Self { child, terminal }),
            _ => None,
        }
    }

    /// Ends the agent and leaves the terminal as it was.
    pub(super) async fn end(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        if pid.is_some_and(|pid| kill(pid, Signal::SIGTERM).is_ok()) {
            // One that does not end is killed when the child is dropped.
            let _ = timeout(END, self.child.wait()).await;
        }
        if let Some(terminal) = &self.terminal {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, terminal);
        }
    }
}
