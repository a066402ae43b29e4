//! When the service manager is told that the helper is ready.

use std::time::{Duration, Instant};

/// So long the rules are tried to be brought in force before it is said in any case: a boot waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

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
        Self { until: now.checked_add(PATIENCE) }
    }

    /// How long until it is to be said in any case; `None` if it has been.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// What there is to say after a look at the kernel.
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

    #[test]
    fn it_is_ready_once_as_soon_as_the_rules_are_in_force() {
        let now = Instant::now();
        let mut readiness = Readiness::new(now);
        assert_eq!((readiness.news(false, now), readiness.wait(now)), (None, Some(PATIENCE)));
        assert_eq!(readiness.news(true, now), Some(Ready::WithRules));
        assert_eq!((readiness.news(true, now), readiness.wait(now)), (None, None));
        assert_eq!(readiness.news(false, now + PATIENCE), None);
    }

    #[test]
    fn rules_that_the_kernel_refuses_hold_nobody_up_for_long() {
        let now = Instant::now();
        let mut readiness = Readiness::new(now);
        assert_eq!(readiness.news(false, now + PATIENCE / 2), None);
        assert_eq!(readiness.wait(now + PATIENCE / 2), Some(PATIENCE / 2));
        assert_eq!(readiness.news(false, now + PATIENCE), Some(Ready::WithoutRules));
        assert_eq!(readiness.news(true, now + PATIENCE), None, "once");
    }
}
