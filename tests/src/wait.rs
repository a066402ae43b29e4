//! Waiting for a condition that comes true by itself.

use std::time::{Duration, Instant};

/// Time limit for events that normally take milliseconds. It is generous because a busy machine is
/// slow: it tells *late* from *never* and is no claim about speed.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// Waits until a condition holds, for up to [`TIMEOUT`].
///
/// # Panics
/// When it does not come true.
#[track_caller]
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(TIMEOUT, what, is_so);
}

/// Waits until a condition holds, for up to `limit`, and checks it at most twenty thousand times.
///
/// # Panics
/// When it does not come true.
#[track_caller]
pub fn eventually_within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "{what} does not come true");
        std::thread::sleep(limit / 20_000);
    }
}
