//! Back-off: reactions to the first few hits are immediate, later ones ever slower.

use std::time::{Duration, Instant};

/// The parameters of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The number of hits without a wait.
    free: u32,
    /// The wait after the first hit beyond that; each further hit doubles it.
    first: Duration,
    /// The longest wait.
    longest: Duration,
    /// The time without a hit after which the count starts again.
    calm: Duration,
}

/// For repairs of a table that another program keeps changing: the first three are immediate.
pub(crate) const REPAIRS: Policy = Policy {
    free: 3,
    first: Duration::from_millis(250),
    longest: Duration::from_secs(60),
    calm: Duration::from_secs(120),
};

/// For retries of rules that the kernel refuses.
pub(crate) const REFUSALS: Policy = Policy {
    free: 0,
    first: Duration::from_millis(200),
    longest: Duration::from_secs(60),
    calm: Duration::from_secs(120),
};

/// For retries of failed reads of the kernel.
pub(crate) const READS: Policy = Policy {
    free: 0,
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    calm: Duration::from_secs(10),
};

/// For bursts of kernel events: the first reaction is immediate, and no later one waits longer than
/// 64 ms.
pub(crate) const EVENTS: Policy = Policy {
    free: 0,
    first: Duration::from_millis(2),
    longest: Duration::from_millis(64),
    calm: Duration::from_millis(250),
};

/// A count of hits, and the wait that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    policy: Policy,
    hits: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// A back-off without hits.
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, hits: 0, last: None }
    }

    /// Counts a hit.
    pub(crate) fn hit(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= self.policy.calm) {
            self.hits = 0;
        }
        self.hits = self.hits.saturating_add(1);
        self.last = Some(now);
    }

    /// The remaining wait before the next reaction; zero means react now.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        let Some(beyond) = self.hits.checked_sub(self.policy.free + 1) else { return Duration::ZERO };
        // 2^16 times any `first` is beyond every `longest`; the bound keeps the shift in range.
        let wait = self.policy.first.saturating_mul(1 << beyond.min(16)).min(self.policy.longest);
        wait.saturating_sub(now.saturating_duration_since(last))
    }

    /// Whether reactions are slowed down now.
    pub(crate) fn is_on(&self, now: Instant) -> bool {
        self.until_calm(now).is_some()
    }

    /// The time until the count starts again; `None` if reactions are not slowed down.
    pub(crate) fn until_calm(&self, now: Instant) -> Option<Duration> {
        let left = self.policy.calm.saturating_sub(now.saturating_duration_since(self.last?));
        (self.hits > self.policy.free && !left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(hits: u32, now: Instant) -> Backoff {
        let mut backoff = Backoff::new(REPAIRS);
        (0..hits).for_each(|_| backoff.hit(now));
        backoff
    }

    #[test]
    fn the_first_losses_are_repaired_immediately() {
        let now = Instant::now();
        for hits in 0..=REPAIRS.free {
            assert_eq!(after(hits, now).wait(now), Duration::ZERO);
            assert!(!after(hits, now).is_on(now));
        }
    }

    #[test]
    fn a_fight_over_the_rules_is_backed_off_further_each_time() {
        let now = Instant::now();
        let waits: Vec<_> = (4..8).map(|hits| after(hits, now).wait(now).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000]);
        assert_eq!(after(4096, now).wait(now), REPAIRS.longest);
        assert!(after(4, now).is_on(now));
    }

    #[test]
    fn waiting_uses_the_wait_up() {
        let now = Instant::now();
        let backoff = after(5, now);
        assert_eq!(backoff.wait(now + Duration::from_millis(400)), Duration::from_millis(100));
        assert_eq!(backoff.wait(now + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn a_long_pause_resets_the_backoff() {
        let now = Instant::now();
        let mut backoff = after(9, now);
        let later = now + REPAIRS.calm;
        assert!(!backoff.is_on(later));
        backoff.hit(later);
        assert_eq!(backoff.wait(later), Duration::ZERO);
    }

    #[test]
    fn a_burst_of_events_slows_reactions_to_a_limit_and_a_pause_resets_it() {
        let (mut backoff, now) = (Backoff::new(EVENTS), Instant::now());
        let mut pause = |now| {
            backoff.hit(now);
            backoff.wait(now).as_millis()
        };
        assert_eq!([(); 8].map(|()| pause(now)), [2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(pause(now + EVENTS.calm), 2);
    }
}
