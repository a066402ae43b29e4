//! When a start settles the clamp: before its first step if a step needs that, before the first service starts if the path turns out to
//! be narrow, and after the last step otherwise.

use std::cell::{Ref, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};

use super::clamp::{Clamp, Settled};
use super::measuring::Measuring;
use crate::error::{Exit, Failure};
use crate::execute::{self, Gate, Interrupted};

/// The clamp, and the measurement by which it is offered.
pub(super) struct Offer<'a> {
    clamp: Clamp<'a>,
    /// None once it is settled.
    measuring: RefCell<Option<Measuring>>,
    settled: RefCell<Settled>,
    /// The start has something to do.
    work: bool,
}

impl<'a> Offer<'a> {
    pub(super) fn new(clamp: Clamp<'a>, measuring: Measuring, work: bool) -> Self {
        let settled = RefCell::new(Settled::AsItWas);
        Self { clamp, measuring: RefCell::new(Some(measuring)), settled, work }
    }

    /// Whether the clamp was turned on by now.
    pub(super) fn settled(&self) -> Ref<'_, Settled> {
        self.settled.borrow()
    }

    /// Settles it before the first step.
    pub(super) async fn settle_first(&self, mut interrupt: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        let Some(measuring) = self.measuring.take() else { return Ok(()) };
        let clamp = self.clamp.knowing(measuring.end(interrupt.as_mut()).await?);
        self.settled.replace(clamp.settle(self.work, interrupt).await?);
        Ok(())
    }

    /// Settles it after the last step, unless it is settled. If the measurement leaves it in doubt, `again` is another one: the services
    /// run now, so that this can be done from their network.
    pub(super) async fn settle_last(
        &self,
        again: impl FnOnce() -> Measuring,
        mut interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Failure> {
        let Some(measuring) = self.measuring.take() else { return Ok(()) };
        let mut clamp = self.clamp.knowing(measuring.end(interrupt.as_mut()).await?);
        if execute::unless(interrupt.as_mut(), clamp.is_doubtful()).await? {
            clamp = clamp.knowing(again().end(interrupt.as_mut()).await?);
        }
        self.settled.replace(clamp.settle(self.work, interrupt).await?);
        Ok(())
    }
}

impl Gate for Offer<'_> {
    /// A measurement from the host is as true before the services run as afterwards. An inference for their network is not
    /// settled here: it can be measured from there once they run.
    async fn is_needed(&self) -> bool {
        let Some(mut measuring) = self.measuring.take() else { return false };
        measuring.before_services().await;
        let clamp = self.clamp.knowing(measuring.known());
        self.measuring.replace(Some(measuring));
        clamp.is_measured()
    }

    async fn settle(&self, interrupt: impl Future<Output = ()>) -> Result<(), Interrupted> {
        let known = self.measuring.borrow().as_ref().and_then(Measuring::known);
        match self.clamp.knowing(known).settle(self.work, pin!(interrupt)).await {
            Ok(settled) => {
                self.settled.replace(settled);
                self.measuring.take();
                Ok(())
            }
            Err(failure) if failure.exit() == Exit::Interrupted => Err(Interrupted),
            // It is tried again, and told, once the services run.
            Err(_) => Ok(()),
        }
    }
}
