//! Ctrl-C and its like, and how they reach the steps under way.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Write};
use std::pin::{Pin, pin};

use futures_util::future::{Either, select};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Report;
use crate::exit::Exit;

/// Completes when the user, the terminal or the system asks this process to end.
///
/// From its first poll on, those signals do not end the process by themselves.
pub async fn interrupted() {
    let listen = |kind| signal(kind).ok();
    let mut signals = [listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup())];
    let received = signals.iter_mut().map(|signal| Box::pin(next(signal.as_mut())));
    futures_util::future::select_all(received).await;
}

/// The next of one signal; never, where listening for it is not possible.
async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Somebody asked this process to end, and it was doing nothing that has to be undone.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Report for Interrupted {
    fn exit(&self) -> Exit {
        Exit::Interrupted
    }

    /// Whoever pressed Ctrl-C need not be told.
    fn render(&self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The outcome of `work`, unless `interrupt` comes first; then `work` is dropped.
pub async fn unless<T>(
    interrupt: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    match select(interrupt, pin!(work)).await {
        Either::Left(_) => Err(Interrupted),
        Either::Right((done, _)) => Ok(done),
    }
}

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
