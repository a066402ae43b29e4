//! A log that keeps its lines in memory, for tests to read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::{Line, Log};

impl Line {
    /// The value of the first field with this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    /// The name of the event.
    #[must_use]
    pub fn event(&self) -> &str {
        self.field("event").unwrap_or_default()
    }
}

/// The lines that a log has written. Clones share them.
#[derive(Clone, Default)]
pub struct LinesKept(Arc<Mutex<Vec<Line>>>);

impl LinesKept {
    /// A new log, and a handle to the lines that it writes.
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

    /// Blocks every writer for as long as the guard lives.
    pub fn hold(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
