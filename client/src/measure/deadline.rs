//! The moment at which a check has to end. All of its parts keep it, in other processes as well.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment of `CLOCK_MONOTONIC`, which all processes of a machine share (see `clock_gettime(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Deadline(Duration);

impl Deadline {
    /// The moment after this much time.
    pub(super) fn after(time: Duration) -> Self {
        Self(now() + time)
    }

    /// The time until then.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_sub(now())
    }
}

fn now() -> Duration {
    // The clock exists on every Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The time and the connections that a check may use on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// The search ends after this time, whatever is known by then.
    pub(super) end: Duration,
    /// No connection is opened after this time.
    pub(super) last_begin: Duration,
    /// Upper bound on all connections.
    pub(super) connections: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { end: Duration::from_secs(12), last_begin: Duration::from_millis(9500), connections: 48 }
    }
}

impl Budget {
    /// The budget if this much time is left. No connection is opened in the last 2.5 s, so that
    /// each has time to be judged.
    pub(super) fn within(time: Duration) -> Self {
        Self { end: time, last_begin: time.saturating_sub(Duration::from_millis(2500)), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_deadline_means_the_same_moment_to_another_process() {
        let whole = Duration::from_secs(5);
        let deadline = Deadline::after(whole);
        std::thread::sleep(Duration::from_millis(20));
        let read: Deadline = serde_json::from_str(&serde_json::to_string(&deadline).unwrap()).unwrap();
        assert_eq!(read, deadline);
        assert!(read.left() + Duration::from_millis(20) <= whole, "{:?}", read.left());
        assert_eq!(Deadline::after(Duration::ZERO).left(), Duration::ZERO);
    }
}
