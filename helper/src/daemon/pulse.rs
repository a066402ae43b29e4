//! The sign of life that the service manager's watchdog waits for.

use std::time::{Duration, Instant};

/// When to give the next sign: twice in the time after which the watchdog loses patience, as `sd_watchdog_enabled(3)` advises.
#[derive(Debug)]
pub(super) struct Pulse {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Pulse {
    /// A pulse for a watchdog with this patience; none for no watchdog.
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(180);

    #[test]
    fn a_sign_is_given_twice_in_the_watchdogs_patience() {
        let now = Instant::now();
        let mut pulse = Pulse::new(Some(PATIENCE), now);
        assert!(!pulse.beats(now));
        assert_eq!(pulse.wait(now), Some(PATIENCE / 2));
        assert!(pulse.beats(now + PATIENCE / 2));
        assert!(!pulse.beats(now + PATIENCE / 2), "once");
        assert_eq!(pulse.wait(now + PATIENCE / 2), Some(PATIENCE / 2));
    }

    #[test]
    fn a_late_sign_is_not_made_up_for() {
        let now = Instant::now();
        let mut pulse = Pulse::new(Some(PATIENCE), now);
        assert!(pulse.beats(now + PATIENCE * 10));
        assert!(!pulse.beats(now + PATIENCE * 10));
    }

    #[test]
    fn without_a_watchdog_nothing_is_ever_due() {
        let now = Instant::now();
        let mut pulse = Pulse::new(None, now);
        assert_eq!((pulse.wait(now), pulse.beats(now + PATIENCE)), (None, false));
    }
}
