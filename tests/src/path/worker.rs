//! A thread that serves one end of a path, and ends with its value.

use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use nix::fcntl::OFlag;

use crate::error::{Doing, Result};

/// A running thread. Dropping the value ends it.
#[derive(Debug)]
pub(super) struct Worker {
    /// The writing end of a pipe: the thread ends when it is closed.
    running: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `work`. It has to end when the descriptor that it gets is readable.
    pub(super) fn start(name: &str, work: impl FnOnce(&OwnedFd) + Send + 'static) -> Result<Self> {
        let (stopped, running) = nix::unistd::pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into())?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || work(&stopped)).doing(|| format!("start the thread `{name}`"))?;
        Ok(Self { running: Some(running), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
