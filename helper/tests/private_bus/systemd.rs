//! A fake service manager.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use airpods_helper::daemon::ServiceManager;
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

impl From<Manager> for ServiceManager {
    fn from(Manager { is_there, watchdog, notifications }: Manager) -> Self {
        let notify = Box::new(move |state: NotifyState<'_>| {
            notifications.lock().unwrap().push(state.to_string());
            Ok(())
        });
        Self { is_there, watchdog, notify }
    }
}
