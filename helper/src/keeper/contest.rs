//! How eagerly the table is put back when somebody else keeps removing it, or the kernel keeps refusing it.

use std::time::{Duration, Instant};

/// So many losses are put back at once.
const PATIENCE: u32 = 3;
/// The wait after the first loss beyond that; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After so long without a loss the contest is over.
const CALM: Duration = Duration::from_secs(120);

/// A record of losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contest {
    losses: u32,
    last: Option<Instant>,
}

impl Contest {
    /// Notes that the table was lost, or could not be put back.
    pub(super) fn lost(&mut self, now: Instant) {
        self.calm_down(now);
        self.losses = self.losses.saturating_add(1);
        self.last = Some(now);
    }

    /// How long to wait before the table is put back; zero means now.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        let Some(beyond) = self.losses.checked_sub(PATIENCE + 1) else { return Duration::ZERO };
        let wait = FIRST_WAIT.saturating_mul(1 << beyond.min(16)).min(LONGEST_WAIT);
        wait.saturating_sub(now.saturating_duration_since(last))
    }

    /// Whether there is a fight.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.losses > PATIENCE && self.until_calm(now).is_some()
    }

    /// How long until the contest is over, if there is one.
    pub(super) fn until_calm(&self, now: Instant) -> Option<Duration> {
        let left = CALM.saturating_sub(now.saturating_duration_since(self.last?));
        (self.losses > PATIENCE && !left.is_zero()).then_some(left)
    }

    fn calm_down(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= CALM) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(losses: u32, now: Instant) -> Contest {
        let mut contest = Contest::default();
        (0..losses).for_each(|_| contest.lost(now));
        contest
    }

    #[test]
    fn the_first_losses_are_put_back_at_once() {
        let now = Instant::now();
        for losses in 0..=PATIENCE {
            assert_eq!(after(losses, now).wait(now), Duration::ZERO);
            assert!(!after(losses, now).is_on(now));
        }
    }

    #[test]
    fn a_fight_is_fought_ever_more_slowly() {
        let now = Instant::now();
        let waits: Vec<_> = (4..8).map(|losses| after(losses, now).wait(now).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000]);
        assert_eq!(after(u32::MAX / 1_000_000, now).wait(now), LONGEST_WAIT);
        assert!(after(4, now).is_on(now));
    }

    #[test]
    fn waiting_uses_the_wait_up() {
        let now = Instant::now();
        let contest = after(5, now);
        assert_eq!(contest.wait(now + Duration::from_millis(400)), Duration::from_millis(100));
        assert_eq!(contest.wait(now + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn a_long_calm_ends_the_contest() {
        let now = Instant::now();
        let mut contest = after(9, now);
        let later = now + CALM;
        assert!(!contest.is_on(later));
        contest.lost(later);
        assert_eq!(contest.wait(later), Duration::ZERO);
    }
}
