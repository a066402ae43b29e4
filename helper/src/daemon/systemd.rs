//! The service manager that started the helper, if one did.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// What the daemon asks of a service manager.
pub trait ServiceManager: Send + Sync {
    /// Whether there is one: it removes the runtime folder when the helper is stopped for good, sees to the table then
    /// (see [`crate::after_stop`]), and starts the next helper only when this one is gone.
    fn is_there(&self) -> bool;

    /// After how long without [`NotifyState::Watchdog`] it takes the helper for hung; `None` if it does not watch.
    fn watchdog(&self) -> Option<Duration>;

    /// Tells it something.
    ///
    /// # Errors
    /// The system's error if there is one and it does not listen.
    fn tell(&self, news: &[NotifyState<'_>]) -> io::Result<()>;
}

/// systemd, or whatever else speaks as it does through the environment: `sd_notify(3)`.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn is_there(&self) -> bool {
        std::env::var_os("RUNTIME_DIRECTORY").is_some()
    }

    fn watchdog(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }

    fn tell(&self, news: &[NotifyState<'_>]) -> io::Result<()> {
        sd_notify::notify(news)
    }
}
