//! The word to end, between the loop that runs a plan and the steps under way.

use std::cell::Cell;

/// Tells steps that can be cut off safely to end.
#[derive(Default)]
pub(super) struct Cancel {
    set: Cell<bool>,
    notify: tokio::sync::Notify,
}

impl Cancel {
    /// Cancels, now and for whoever asks later.
    pub(super) fn set(&self) {
        self.set.set(true);
        self.notify.notify_waiters();
    }

    /// Completes once cancelled.
    pub(super) async fn cancelled(&self) {
        // Nothing runs between the look and the registration: the client has one thread, and `notified` registers
        // on its first poll, which follows at once.
        while !self.set.get() {
            self.notify.notified().await;
        }
    }
}
