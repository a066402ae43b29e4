//! The moment at which a start settles the clamp: before the first step if a step needs it, before
//! the first service if the path is narrow, otherwise after the last step.

use std::cell::{Ref, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};

use super::clamp::{Clamp, Settled};
use super::measuring::Measuring;
use crate::error::{Exit, Failure};
use crate::execute::{self, Gate, Interrupted};

/// The clamp, and the measurement that it depends on.
pub(super) struct Offer<'a> {
    clamp: Clamp<'a>,
    /// None once the clamp is settled.
    measuring: RefCell<Option<Measuring>>,
    settled: RefCell<Settled>,
    /// Whether the start has anything to do.
    work: bool,
}

impl<'a> Offer<'a> {
    pub(super) fn new(clamp: Clamp<'a>, measuring: Measuring, work: bool) -> Self {
        let settled = RefCell::new(Settled::Unchanged);
        Self { clamp, measuring: RefCell::new(Some(measuring)), settled, work }
    }

    /// Whether the clamp has been turned on so far.
    pub(super) fn settled(&self) -> Ref<'_, Settled> {
        self.settled.borrow()
    }

    /// Settles the clamp before the first step.
    pub(super) async fn settle_first(&self, mut interrupt: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        let Some(measuring) = self.measuring.take() else { return Ok(()) };
        let clamp = self.clamp.with_measurement(measuring.end(interrupt.as_mut()).await?);
        self.settled.replace(clamp.settle(self.work, interrupt).await?);
        Ok(())
    }

    /// Settles the clamp after the last step, unless that was done. If it remains in doubt, `again`
    /// begins another measurement, which can use the network of the services, because they run now.
    pub(super) async fn settle_last(
        &self,
        again: impl FnOnce() -> Measuring,
        mut interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Failure> {
        let Some(measuring) = self.measuring.take() else { return Ok(()) };
        let mut clamp = self.clamp.with_measurement(measuring.end(interrupt.as_mut()).await?);
        if execute::interruptible(interrupt.as_mut(), clamp.is_unconfirmed()).await? {
            clamp = clamp.with_measurement(again().end(interrupt.as_mut()).await?);
        }
        self.settled.replace(clamp.settle(self.work, interrupt).await?);
        Ok(())
    }
}

impl Gate for Offer<'_> {
    /// Only a measurement is settled before the services start: from the host it has the same
    /// result later. An inference about their network can be measured once they run.
    async fn is_needed(&self) -> bool {
        let Some(mut measuring) = self.measuring.take() else { return false };
        measuring.before_services().await;
        let clamp = self.clamp.with_measurement(measuring.known());
        self.measuring.replace(Some(measuring));
        clamp.is_measured()
    }

    async fn settle(&self, interrupt: impl Future<Output = ()>) -> Result<(), Interrupted> {
        let known = self.measuring.borrow().as_ref().and_then(Measuring::known);
        match self.clamp.with_measurement(known).settle(self.work, pin!(interrupt)).await {
            Ok(settled) => {
                self.settled.replace(settled);
                self.measuring.take();
                Ok(())
            }
            Err(failure) if failure.exit() == Exit::Interrupted => Err(Interrupted),
            // `settle_last` tries again and reports the error once the services run.
            Err(_) => Ok(()),
        }
    }
}
