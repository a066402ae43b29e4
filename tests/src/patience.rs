//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// How long the laboratory waits for what takes milliseconds. A busy machine is slow: this tells *late* from *never*, and no speed is
/// claimed by it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something is so, for as long as [`PATIENCE`].
///
/// # Panics
/// When it does not come true.
#[track_caller]
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, is_so);
}

/// Waits until something is so, for as long as is said, and looks twenty thousand times meanwhile.
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
