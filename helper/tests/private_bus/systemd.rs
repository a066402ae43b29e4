//! A fake service manager.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airpods_helper::daemon::systemd::ServiceManager;
use sd_notify::NotifyState;

/// A service manager that records its notifications. Clones share the record.
#[derive(Clone)]
pub struct Manager {
    pub is_there: bool,
    pub watchdog: Option<Duration>,
    pub notifications: Arc<Mutex<Vec<String>>>,
}

impl Default for Manager {
    fn default() -> Self {
        Self { is_there: true, watchdog: None, notifications: Arc::default() }
    }
}

impl Manager {
    /// How often it got this notification.
    pub fn times_notified(&self, what: &NotifyState<'_>) -> usize {
        self.notifications.lock().unwrap().iter().filter(|sent| **sent == what.to_string()).count()
    }
}

impl ServiceManager for Manager {
    fn is_there(&self) -> bool {
        self.is_there
    }

    fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    fn notify(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        self.notifications.lock().unwrap().extend(states.iter().map(ToString::to_string));
        Ok(())
    }
}
