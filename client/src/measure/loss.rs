//! The loss of a path, counted on a sample of small packets.

use std::time::Duration;

use super::run::{BatchLimits, Outcome, Probe, Transport, Usage, run};

/// The segments of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Segments that were sent.
    pub(super) sent: u32,
    /// Segments among them that repeat a lost one.
    pub(super) repeated: u32,
}

impl Loss {
    /// Whether more than 2 % were lost, or would be if no other segment of a whole sample were. A
    /// sample on a very lossy path does not get to its end.
    pub(super) fn is_high(self) -> bool {
        const WHOLE: u32 = 60;
        self.repeated * 50 > self.sent.max(WHOLE)
    }
}

/// The packets of a sample. Small ones, 3 ms apart, stay below the rate of most policers, which
/// would drop larger ones. The last one sets the largest segment, so that SACK blocks cut none of
/// the others.
pub(super) const SAMPLE: [u16; 61] = {
    let mut sizes = [150; 61];
    sizes[60] = 200;
    sizes
};

/// Sends a sample, because a search alone sends too few packets to tell 2 % from chance.
pub(super) fn sample<T: Transport>(
    transport: &mut T,
    train: Probe,
    limit: Duration,
    spent: &mut Usage,
) -> Option<Loss> {
    let outcomes = run(transport, vec![train], BatchLimits { limit, stragglers: None }, spent, |_, _| false);
    match outcomes.first()? {
        Outcome::Up(up) => up.loss,
        _ => None,
    }
}
