//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// Waits until something is so, 10 s at most.
///
/// # Panics
/// When it does not come true.
#[track_caller]
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(Duration::from_secs(10), what, is_so);
}

/// Waits until something is so, for as long as is said, and looks two thousand times meanwhile.
///
/// # Panics
/// When it does not come true.
#[track_caller]
pub fn eventually_within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "{what} does not come true");
        std::thread::sleep(limit / 2000);
    }
}
