//! A gate before the first start of a container. Steps that come before it are not held back.

use std::future::Future;

use super::act::Actor;
use super::{Event, Interrupted, StepError};
use crate::podman::Podman;

/// Holds back every start of a container. It is asked once, when the first container could start.
#[allow(async_fn_in_trait, reason = "futures stay on the one thread of the client")]
pub trait Gate {
    /// Waits until it is known whether the user has to be asked.
    async fn is_needed(&self) -> bool;

    /// Asks the user and acts on the answer. No progress is shown meanwhile, so that the question
    /// stays readable.
    ///
    /// # Errors
    /// [`Interrupted`], after which no container starts.
    async fn settle(&self, interrupt: impl Future<Output = ()>) -> Result<(), Interrupted>;
}

/// A gate that is always open.
#[derive(Debug, Clone, Copy)]
pub struct Open;

impl Gate for Open {
    async fn is_needed(&self) -> bool {
        false
    }

    async fn settle(&self, _: impl Future<Output = ()>) -> Result<(), Interrupted> {
        Ok(())
    }
}

impl<P: Podman, G: Gate> Actor<'_, P, G> {
    /// Takes the first start through the gate; every other one waits for it.
    pub(super) async fn pass_gate(&self) -> Result<(), StepError> {
        self.passed.get_or_try_init(|| self.open_gate()).await.copied()
    }

    async fn open_gate(&self) -> Result<(), StepError> {
        // An earlier start was cancelled in the gate. `OnceCell` then lets the next one try, which
        // must not ask again.
        if self.cancel.is_set() {
            return Err(StepError::Interrupted);
        }
        if self.unless_cancelled(self.gate.is_needed()).await? {
            self.progress.event(&Event::Paused);
            let settled = self.gate.settle(self.cancel.cancelled()).await;
            self.progress.event(&Event::Resumed);
            settled.map_err(|Interrupted| StepError::Interrupted)?;
        }
        Ok(())
    }
}
