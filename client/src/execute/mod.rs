//! Executes a plan: runs its steps concurrently where dependencies allow it, and undoes them if one
//! fails.
//!
//! [`execute`] checks ports with the kernel, runs the steps ([`run`]), and on a failure or Ctrl-C
//! undoes the changes of this run. It names the changes that remain.

mod act;
mod end;
mod error;
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
use crate::plan::{Action, Plan};
use crate::podman::Podman;

pub use end::{Ended, Notice, end};
pub use error::{Aborted, StepError};
pub use progress::{Event, Progress, Silent};
pub use run::{Gate, Open};

/// Timeouts and limits for executing a plan.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Run one step after another.
    pub sequential: bool,
    /// The number of concurrent pulls, at least one.
    pub pulls: usize,
    /// How long a service has to become healthy; with zero, nothing waits for health.
    pub startup: Duration,
    /// Time between two health checks.
    pub interval: Duration,
    /// How long one health check may take.
    pub ping: Duration,
    /// How long a container has to stop by itself before podman kills it, in seconds.
    pub stop_seconds: u32,
}

impl Pace {
    /// The values of the configuration.
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
    /// Warnings of a successful start.
    pub warnings: Vec<String>,
    /// Services that passed their health check.
    pub healthy: BTreeSet<String>,
    /// Services that run but did not become healthy in time.
    pub late: Vec<NotHealthyInTime>,
}

impl Outcome {
    /// Whether a service is healthy; none if it was not checked.
    #[must_use]
    pub fn is_healthy(&self, service: &str) -> Option<bool> {
        let late = self.late.iter().any(|late| late.service == service);
        (late || self.healthy.contains(service)).then_some(!late)
    }
}

/// A service that did not become healthy in time, and still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotHealthyInTime {
    /// The service.
    pub service: String,
    /// The place of the check, as in `at http://…`.
    pub asked: String,
    /// The last answer or error.
    pub last: String,
    /// How long it was waited for.
    pub waited: Duration,
}

/// Executes a plan as [`execute`] does, with progress on standard error. With `verbose` it prints
/// every step, and podman's messages in full. No container starts before `gate` lets it.
pub async fn execute_with_progress(
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

/// Executes a plan, or restores the former state.
///
/// `interrupt` ends it early, as Ctrl-C does: steps under way are waited for, and the finished ones
/// are undone. A second Ctrl-C ends that, too.
///
/// # Errors
/// The cause, with the changes that could not be undone.
pub async fn execute(
    podman: &impl Podman,
    plan: &Plan,
    pace: &Pace,
    progress: &dyn Progress,
    interrupt: impl Future<Output = ()>,
) -> Result<Outcome, Aborted> {
    execute_until(podman, plan, pace, progress, &Open, interrupt, interrupted()).await
}

/// The same with a gate. `again` is the second Ctrl-C.
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
            return Err(Aborted::new(cause, Vec::new(), Vec::new()));
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
            let done = ran.done.iter().filter_map(|(index, _)| plan.steps.get(*index));
            let pulled = done.filter_map(|step| match &step.action {
                Action::Pull(image) => Some(image.clone()),
                _ => None,
            });
            Err(Aborted::new(cause, left, pulled.collect()))
        }
    }
}

/// Completes on SIGINT, SIGTERM or SIGHUP.
///
/// From the first poll on, these signals no longer end the process by themselves.
pub async fn interrupted() {
    let listen = |kind| signal(kind).ok();
    let mut signals = [listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup())];
    let received = signals.iter_mut().map(|signal| Box::pin(next(signal.as_mut())));
    futures_util::future::select_all(received).await;
}

/// Waits for the next such signal; for ever if the process cannot listen for it.
async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// A signal asked this process to end, and there was nothing to undo.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Report for Interrupted {
    fn exit(&self) -> Exit {
        Exit::Interrupted
    }

    /// Prints nothing: the user knows about the Ctrl-C.
    fn render(&self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The result of `work`. If `interrupt` comes first, `work` is dropped.
pub async fn interruptible<T>(
    interrupt: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    match select(interrupt, pin!(work)).await {
        Either::Left(_) => Err(Interrupted),
        Either::Right((done, _)) => Ok(done),
    }
}

/// Cancels steps that can be cut off safely.
#[derive(Default)]
pub(super) struct Cancel {
    set: Cell<bool>,
    notify: tokio::sync::Notify,
}

impl Cancel {
    /// Cancels current and later waiters.
    pub(super) fn set(&self) {
        self.set.set(true);
        self.notify.notify_waiters();
    }

    fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Completes once cancelled.
    pub(super) async fn cancelled(&self) {
        // No wake-up is lost between the check and the registration: the client has one thread, and
        // `notified` registers on its first poll, which follows at once.
        while !self.set.get() {
            self.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
