//! Notifications to the service manager that started the helper, if any: readiness, the watchdog,
//! and stopping.

use std::io;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// A service manager, as far as the daemon needs one.
pub trait ServiceManager: Send + Sync {
    /// Whether there is one. On a stop it removes the runtime folder and runs
    /// [`crate::after_stop`], which removes the table. It starts the next helper only when this one
    /// is gone.
    fn is_there(&self) -> bool;

    /// The time without [`NotifyState::Watchdog`] after which it considers the helper hung; `None`
    /// if it has no watchdog.
    fn watchdog(&self) -> Option<Duration>;

    /// Sends it a notification.
    ///
    /// # Errors
    /// The system's error if there is a service manager and it cannot be reached.
    fn notify(&self, states: &[NotifyState<'_>]) -> io::Result<()>;
}

/// systemd, or another service manager with the same environment and protocol: `sd_notify(3)`.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn is_there(&self) -> bool {
        // systemd sets it for `RuntimeDirectory=` of the unit (systemd.exec(5)).
        std::env::var_os("RUNTIME_DIRECTORY").is_some()
    }

    fn watchdog(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }

    fn notify(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        sd_notify::notify(states)
    }
}

/// Schedules the watchdog notifications: twice per watchdog timeout, as `sd_watchdog_enabled(3)`
/// advises.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Watchdog {
    /// A schedule for this timeout; without a timeout nothing is ever due.
    pub(super) fn new(timeout: Option<Duration>, now: Instant) -> Self {
        let every = timeout.map(|timeout| timeout / 2);
        Self { every, next: every.and_then(|every| now.checked_add(every)) }
    }

    /// The time until the next notification is due; `None` without a watchdog.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }

    /// Whether a notification is due. If so, schedules the next one.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = self.every.and_then(|every| now.checked_add(every));
        }
        due
    }
}

/// The helper reports readiness after this time even if the rules are not in force: a boot waits
/// for it.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Decides when to report readiness, once.
#[derive(Debug)]
pub(super) struct Readiness {
    /// The latest time of the report; `None` once it was sent.
    until: Option<Instant>,
}

/// The state of the rules when readiness is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// The kernel has the desired rules.
    WithRules,
    /// It does not yet; the helper keeps trying.
    WithoutRules,
}

impl Readiness {
    /// Readiness at the start of the daemon.
    pub(super) fn new(now: Instant) -> Self {
        Self { until: now.checked_add(READY_WITHIN) }
    }

    /// The time until the report is due in any case; `None` once it was sent.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// Returns the report to send after a look at the kernel, if any.
    pub(super) fn due_report(&mut self, is_in_force: bool, now: Instant) -> Option<Ready> {
        let until = self.until?;
        let ready = match (is_in_force, until <= now) {
            (true, _) => Ready::WithRules,
            (false, true) => Ready::WithoutRules,
            (false, false) => return None,
        };
        self.until = None;
        Some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(180);

    #[test]
    fn the_watchdog_is_notified_twice_per_timeout() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(Some(TIMEOUT), now);
        assert!(!watchdog.is_due(now));
        assert_eq!(watchdog.wait(now), Some(TIMEOUT / 2));
        assert!(watchdog.is_due(now + TIMEOUT / 2));
        assert!(!watchdog.is_due(now + TIMEOUT / 2), "once");
        assert_eq!(watchdog.wait(now + TIMEOUT / 2), Some(TIMEOUT / 2));
    }

    #[test]
    fn a_late_watchdog_notification_is_not_repeated() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(Some(TIMEOUT), now);
        assert!(watchdog.is_due(now + TIMEOUT * 10));
        assert!(!watchdog.is_due(now + TIMEOUT * 10));
    }

    #[test]
    fn without_a_watchdog_nothing_is_ever_due() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(None, now);
        assert_eq!((watchdog.wait(now), watchdog.is_due(now + TIMEOUT)), (None, false));
    }

    #[test]
    fn it_is_ready_once_as_soon_as_the_rules_are_in_force() {
        let now = Instant::now();
        let mut readiness = Readiness::new(now);
        assert_eq!((readiness.due_report(false, now), readiness.wait(now)), (None, Some(READY_WITHIN)));
        assert_eq!(readiness.due_report(true, now), Some(Ready::WithRules));
        assert_eq!((readiness.due_report(true, now), readiness.wait(now)), (None, None));
        assert_eq!(readiness.due_report(false, now + READY_WITHIN), None);
    }

    #[test]
    fn refused_rules_do_not_delay_callers_for_long() {
        let now = Instant::now();
        let mut readiness = Readiness::new(now);
        assert_eq!(readiness.due_report(false, now + READY_WITHIN / 2), None);
        assert_eq!(readiness.wait(now + READY_WITHIN / 2), Some(READY_WITHIN / 2));
        assert_eq!(readiness.due_report(false, now + READY_WITHIN), Some(Ready::WithoutRules));
        assert_eq!(readiness.due_report(true, now + READY_WITHIN), None, "once");
    }
}
