//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// Waits until something is so, 10 s at most.
///
/// # Panics
/// When it does not come true.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} does not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}
