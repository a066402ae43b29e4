//! Executing a plan: its steps side by side where nothing forbids it, and back again when one fails.
//!
//! [`execute`] asks the kernel about ports, runs the steps ([`run`]), and undoes on failure or Ctrl-C what this run
//! did. It names the changes that it does not undo.

mod act;
mod end;
mod error;
mod gate;
mod progress;
mod run;
mod undo;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Cli;
use crate::error::{Exit, Report};
use crate::kernel;
use crate::plan::Plan;
use crate::podman::Podman;

pub use end::{Ended, Notice, end};
pub use error::{Aborted, StepError};
pub use gate::{Gate, Open};
pub use progress::{Event, Progress, Silent, bytes};

/// The times and numbers by which a plan is executed.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// One step after another.
    pub sequential: bool,
    /// Images pulled at the same time, at least one.
    pub pulls: usize,
    /// How long a service has to become healthy; zero does not wait.
    pub startup: Duration,
    /// Time between two looks at its health.
    pub interval: Duration,
    /// How long one look may take.
    pub ping: Duration,
    /// Seconds that a container has to stop by itself.
    pub stop_seconds: u32,
}

impl Pace {
    /// As configured.
    #[must_use]
    pub fn from_config(cli: &Cli) -> Self {
        Self {
            sequential: false,
            pulls: cli.max_concurrent_pulls.get().into(),
            startup: Duration::from_secs(cli.startup_timeout.get().into()),
            interval: Duration::from_secs_f64(cli.startup_check_interval),
            ping: Duration::from_secs_f64(cli.ping_timeout),
            stop_seconds: cli.stop_timeout.get(),
        }
    }
}

/// The outcome of an executed plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Warnings although the services run.
    pub warnings: Vec<String>,
    /// Services that answered as they should.
    pub healthy: BTreeSet<String>,
    /// Services that run but did not become healthy in time.
    pub late: Vec<Late>,
}

impl Outcome {
    /// Whether a service is well, if it was asked.
    #[must_use]
    pub fn is_healthy(&self, service: &str) -> Option<bool> {
        let late = self.late.iter().any(|late| late.service == service);
        (late || self.healthy.contains(service)).then_some(!late)
    }
}

/// A service that runs and did not become healthy in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The service.
    pub service: String,
    /// How it was asked, as in `at http://…`.
    pub asked: String,
    /// Its last answer.
    pub last: String,
    /// How long it was waited for.
    pub waited: Duration,
}

/// Executes a plan as [`execute`] does, and tells of it on standard error: of every step, and with podman's words in full, if
/// `verbose`. No container starts before `gate` is settled.
pub async fn execute_in_sight(
    podman: &impl Podman,
    plan: &Plan,
    pace: &Pace,
    verbose: bool,
    gate: &impl Gate,
    interrupt: impl Future<Output = ()>,
) -> Result<Outcome, Aborted> {
    let progress = progress::progress_on_stderr(verbose);
    let outcome = execute_until(podman, plan, pace, &*progress, gate, interrupt, interrupted()).await;
    outcome.map_err(|aborted| aborted.in_detail(verbose))
}

/// Executes a plan, or leaves things as they were.
///
/// `interrupt` ends it early, as Ctrl-C does: steps under way are waited for, and what was done is undone. A second Ctrl-C ends
/// that, too. On failure the error says what could not be undone.
pub async fn execute(
    podman: &impl Podman,
    plan: &Plan,
    pace: &Pace,
    progress: &dyn Progress,
    interrupt: impl Future<Output = ()>,
) -> Result<Outcome, Aborted> {
    execute_until(podman, plan, pace, progress, &Open, interrupt, interrupted()).await
}

/// The same with a gate; `again` is the second Ctrl-C.
async fn execute_until(
    podman: &impl Podman,
    plan: &Plan,
    pace: &Pace,
    progress: &dyn Progress,
    gate: &impl Gate,
    interrupt: impl Future<Output = ()>,
    again: impl Future<Output = ()>,
) -> Result<Outcome, Aborted> {
    for (service, port) in &plan.ports {
        if kernel::is_taken(*port) {
            let cause = StepError::PortInUse { service: service.clone(), port: *port };
            return Err(Aborted::new(cause, Vec::new()));
        }
    }
    let (mut interrupt, mut again) = (pin!(interrupt), pin!(again));
    let ran = run::run(podman, plan, pace, progress, gate, interrupt.as_mut(), again.as_mut()).await;
    match ran.failure {
        None => {
            let mut outcome = ran.outcome;
            outcome.warnings.extend(undo::discard(podman, plan).await);
            Ok(outcome)
        }
        Some(cause) => {
            let mut left = ran.left;
            let under_way = ran.under_way.iter().filter_map(|index| plan.steps.get(*index));
            left.extend(under_way.map(|step| format!("it may still happen: {}", step.action)));
            let given_up = !ran.under_way.is_empty();
            // If a step failed without an interrupt, the first Ctrl-C ends the undo.
            let stop: Pin<&mut dyn Future<Output = ()>> = if ran.interrupted { again } else { interrupt };
            let undoing = undo::Undoing { podman, plan, pace, stop, given_up };
            left.extend(undoing.undo(&ran.done, progress).await);
            Err(Aborted::new(cause, left))
        }
    }
}

/// Completes when the user, the terminal or the system asks this process to end.
///
/// From its first poll on, those signals do not end the process by themselves.
pub async fn interrupted() {
    let listen = |kind| signal(kind).ok();
    let mut signals = [listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup())];
    let received = signals.iter_mut().map(|signal| Box::pin(next(signal.as_mut())));
    futures_util::future::select_all(received).await;
}

/// The next of one signal; never, where listening for it is not possible.
async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Somebody asked this process to end, and it was doing nothing that has to be undone.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Report for Interrupted {
    fn exit(&self) -> Exit {
        Exit::Interrupted
    }

    /// The person who pressed Ctrl-C need not be told.
    fn render(&self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The outcome of `work`, unless `interrupt` comes first; then `work` is dropped.
pub async fn unless<T>(
    interrupt: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    match select(interrupt, pin!(work)).await {
        Either::Left(_) => Err(Interrupted),
        Either::Right((done, _)) => Ok(done),
    }
}

/// Tells steps that can be cut off safely to end.
#[derive(Default)]
pub(super) struct Cancel {
    set: Cell<bool>,
    notify: tokio::sync::Notify,
}

impl Cancel {
    /// Cancels, now and for whoever asks later.
    pub(super) fn set(&self) {
        self.set.set(true);
        self.notify.notify_waiters();
    }

    fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Completes once cancelled.
    pub(super) async fn cancelled(&self) {
        // Nothing runs between the look and the registration: the client has one thread, and `notified` registers
        // on its first poll, which follows at once.
        while !self.set.get() {
            self.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
