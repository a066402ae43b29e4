//! A log whose lines a test reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::{Line, Log};

/// The lines that a log has written. Clones share them.
#[derive(Clone, Default)]
pub struct LinesKept(Arc<Mutex<Vec<Line>>>);

impl LinesKept {
    /// A log, and the lines that it writes.
    #[must_use]
    pub fn log() -> (Log, Self) {
        let lines = Self::default();
        let kept = lines.clone();
        (Log::to(Box::new(move |line| kept.hold().push(line.clone()))), lines)
    }

    /// The lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<Line> {
        self.hold().clone()
    }

    /// Stops whoever writes a line, for as long as this is held.
    pub fn hold(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
