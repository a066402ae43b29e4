//! The service manager that started the helper, if one did; and what it waits for: that the helper is ready, and then its signs
//! of life.

use std::io;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The calls of the daemon to a service manager.
pub trait ServiceManager: Send + Sync {
    /// Whether there is one: it removes the runtime folder when the helper is stopped for good, sees to the table then
    /// (see [`crate::after_stop`]), and starts the next helper only when this one is gone.
    fn is_there(&self) -> bool;

    /// After how long without [`NotifyState::Watchdog`] it takes the helper for hung; `None` if it does not watch.
    fn watchdog(&self) -> Option<Duration>;

    /// Tells it something.
    ///
    /// # Errors
    /// The system's error if there is one and it does not listen.
    fn tell(&self, news: &[NotifyState<'_>]) -> io::Result<()>;
}

/// systemd, or whatever else speaks as it does through the environment: `sd_notify(3)`.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn is_there(&self) -> bool {
        std::env::var_os("RUNTIME_DIRECTORY").is_some()
    }

    fn watchdog(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }

    fn tell(&self, news: &[NotifyState<'_>]) -> io::Result<()> {
        sd_notify::notify(news)
    }
}

/// When to give the next sign: twice in the time after which the watchdog loses patience, as `sd_watchdog_enabled(3)` advises.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Watchdog {
    /// A watchdog for a watchdog with this patience; none for no watchdog.
    pub(super) fn new(patience: Option<Duration>, now: Instant) -> Self {
        let every = patience.map(|patience| patience / 2);
        Self { every, next: every.and_then(|every| now.checked_add(every)) }
    }

    /// How long until the next sign is due; `None` if nobody waits for one.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }

    /// Whether a sign is due. If so, the next one is due that much later.
    pub(super) fn beats(&mut self, now: Instant) -> bool {
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due {
            self.next = self.every.and_then(|every| now.checked_add(every));
        }
        is_due
    }
}

/// The time to bring the rules in force before readiness is reported in any case: a boot waits for it.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Ready is said once.
#[derive(Debug)]
pub(super) struct Readiness {
    /// When it is said at the latest; `None` once it has been.
    until: Option<Instant>,
}

/// In what state the helper is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// The kernel holds what it ought to.
    WithRules,
    /// It does not yet; it is still being tried.
    WithoutRules,
}

impl Readiness {
    /// Nothing has been said at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { until: now.checked_add(READY_WITHIN) }
    }

    /// How long until it is to be said in any case; `None` if it has been.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// The report after a look at the kernel.
    pub(super) fn news(&mut self, is_in_force: bool, now: Instant) -> Option<Ready> {
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

    const PATIENCE: Duration = Duration::from_secs(180);

    #[test]
    fn a_sign_is_given_twice_in_the_watchdogs_patience() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(Some(PATIENCE), now);
        assert!(!watchdog.beats(now));
        assert_eq!(watchdog.wait(now), Some(PATIENCE / 2));
        assert!(watchdog.beats(now + PATIENCE / 2));
        assert!(!watchdog.beats(now + PATIENCE / 2), "once");
        assert_eq!(watchdog.wait(now + PATIENCE / 2), Some(PATIENCE / 2));
    }

    #[test]
    fn a_late_sign_is_not_made_up_for() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(Some(PATIENCE), now);
        assert!(watchdog.beats(now + PATIENCE * 10));
        assert!(!watchdog.beats(now + PATIENCE * 10));
    }

    #[test]
    fn without_a_watchdog_nothing_is_ever_due() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(None, now);
        assert_eq!((watchdog.wait(now), watchdog.beats(now + PATIENCE)), (None, false));
    }

    #[test]
    fn it_is_ready_once_as_soon_as_the_rules_are_in_force() {
        let now = Instant::now();
        let mut readiness = Readiness::new(now);
        assert_eq!((readiness.news(false, now), readiness.wait(now)), (None, Some(READY_WITHIN)));
        assert_eq!(readiness.news(true, now), Some(Ready::WithRules));
        assert_eq!((readiness.news(true, now), readiness.wait(now)), (None, None));
        assert_eq!(readiness.news(false, now + READY_WITHIN), None);
    }

    #[test]
    fn rules_that_the_kernel_refuses_hold_nobody_up_for_long() {
        let now = Instant::now();
        let mut readiness = Readiness::new(now);
        assert_eq!(readiness.news(false, now + READY_WITHIN / 2), None);
        assert_eq!(readiness.wait(now + READY_WITHIN / 2), Some(READY_WITHIN / 2));
        assert_eq!(readiness.news(false, now + READY_WITHIN), Some(Ready::WithoutRules));
        assert_eq!(readiness.news(true, now + READY_WITHIN), None, "once");
    }
}
