//! A watch of the kernel that the runtime waits for.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use zruntime::{AsyncIo, Shared, SharedRuntime};

use super::DaemonError;
use crate::kernel::{Event, Events};

/// What tells of events; nothing does of a kernel that cannot be watched.
pub(super) struct KernelEvents {
    watch: Option<(Box<dyn Events>, AsyncIo<OwnedFd, Shared>)>,
    runtime: SharedRuntime,
}

impl KernelEvents {
    pub(super) fn new(watch: Option<Box<dyn Events>>, runtime: &SharedRuntime) -> Result<Self, DaemonError> {
        let with_descriptor = |watch: Box<dyn Events>| {
            let descriptor = AsyncIo::new(runtime, watch.as_fd().try_clone_to_owned()?)?;
            Ok((watch, descriptor))
        };
        let watch = watch.map(with_descriptor).transpose().map_err(DaemonError::Wait)?;
        Ok(Self { watch, runtime: runtime.clone() })
    }

    /// The next events. There may be none once it has taken `wait`.
    pub(super) async fn next(&mut self, wait: Option<Duration>) -> Result<Vec<Event>, DaemonError> {
        let until = wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            let readable = match until {
                Some(until) => self.runtime.timeout_at(until, self.readable()).await.ok(),
                None => Some(self.readable().await),
            };
            let is_due = readable.transpose().map_err(DaemonError::Wait)?.is_none();
            let drained = self.watch.as_mut().map(|(watch, _)| watch.drain());
            let events = drained.transpose().map_err(DaemonError::Events)?.unwrap_or_default();
            if is_due || !events.is_empty() {
                return Ok(events);
            }
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match &self.watch {
            Some((_, descriptor)) => descriptor.readable().await.map(drop),
            None => pending().await,
        }
    }
}
