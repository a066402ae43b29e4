//! How often the kernel is looked at while events pour in.

use std::time::{Duration, Instant};

/// The pause after a reaction to an event that came out of the blue.
const SHORTEST: Duration = Duration::from_millis(2);
/// The longest pause: the most by which a reaction is late in the middle of a storm.
const LONGEST: Duration = Duration::from_millis(64);
/// So long without a reaction is calm.
const CALM: Duration = Duration::from_millis(250);

/// Makes the pauses between reactions longer while events keep coming, and short again in calm. The first reaction is
/// never delayed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// How long to let events gather after the reaction that has just been made.
    pub(super) fn pause(&mut self, now: Instant) -> Duration {
        let pause = match self.last {
            Some((last, pause)) if now.saturating_duration_since(last) < CALM => (pause * 2).min(LONGEST),
            _ => SHORTEST,
        };
        self.last = Some((now, pause));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_slows_reactions_down_to_a_bound() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let pauses: Vec<_> = (0..8).map(|_| pace.pause(now).as_millis()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn calm_makes_them_quick_again() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..8 {
            pace.pause(now);
        }
        assert_eq!(pace.pause(now + CALM), SHORTEST);
    }
}
