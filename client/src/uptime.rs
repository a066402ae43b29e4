//! How long something has been running, for people.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A time span, shown with its two largest units: `3 d 4 h`, `12 min 5 s`, `0 s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uptime {
    /// Whole seconds.
    pub(crate) seconds: u64,
}

impl Uptime {
    /// The time since a moment in seconds since 1970; zero for one that is yet to come.
    #[must_use]
    pub(crate) fn since(moment: i64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
        Self { seconds: now.saturating_sub(u64::try_from(moment).unwrap_or(0)) }
    }
}

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        let (hours, days) = (minutes / 60, minutes / 60 / 24);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {seconds} s"),
            (0, _, _) => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_is_shown_with_its_two_largest_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_725, "1 h 2 min"),
            (90_000, "1 d 1 h"),
            (86_400 * 400, "400 d 0 h"),
        ] {
            assert_eq!(Uptime { seconds }.to_string(), shown);
        }
    }
}
