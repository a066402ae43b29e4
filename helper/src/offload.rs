//! Work that may wait for a disk, on a thread of its own.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use zruntime::Event;

/// Runs it, and completes when it is done. Nobody else is held up meanwhile.
///
/// # Errors
/// The system's error if there can be no thread, or if the work broke off.
pub(crate) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let shared = Arc::new((Mutex::new(None), Event::new()));
    let done = shared.1.listen();
    let theirs = Arc::clone(&shared);
    thread::Builder::new().name("disk".to_owned()).spawn(move || {
        let _notify = Notify(&theirs.1);
        let outcome = work();
        *theirs.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    })?;
    done.await;
    let outcome = shared.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    outcome.ok_or_else(|| io::Error::other("the work broke off"))
}

/// Tells of the end, however it comes.
struct Notify<'a>(&'a Event);

impl Drop for Notify<'_> {
    fn drop(&mut self) {
        self.0.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use futures_lite::future::{poll_once, zip};

    use super::*;

    #[test]
    fn what_waits_holds_nobody_up_and_its_outcome_is_had_when_it_is_done() {
        let (go, wait) = mpsc::channel::<()>();
        zruntime::block_on(async {
            let mut slow = Box::pin(offload(move || wait.recv().is_ok()));
            assert!(poll_once(&mut slow).await.is_none());
            let quick = offload(|| 7).await.unwrap();
            go.send(()).unwrap();
            assert_eq!((quick, slow.await.unwrap()), (7, true));
            let (one, other) = zip(offload(|| 1), offload(|| 2)).await;
            assert_eq!((one.unwrap(), other.unwrap()), (1, 2));
        });
    }
}
