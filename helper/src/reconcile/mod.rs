//! The reconciler holds the one truth of the helper: what is desired, and a kernel that is made to hold it.
//!
//! Everything here happens at once, between two awaits: whoever has the reconciler in hand sees and leaves a state in
//! which the table, the memory and the files agree.

mod report;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use airpods_dbus::{Error, ErrorKind, LinkName, Target};

use crate::authority::Permit;
use crate::backoff::{self, Backoff};
use crate::clamp::{self, Change, Desired, Plan, Request};
use crate::kernel::{Event, Events, Held, Kernel, KernelError, Link, Ruleset};
use crate::log::{Line, Log};
use crate::state::{Memory, Places};

pub use report::{Announcement, VERSION};

/// What callers are told by a helper that leaves.
pub(crate) const LEAVING: &str = "the helper is stopping; call again in a moment";

/// How long to wait at least before something that failed is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// See the module.
pub struct Reconciler {
    kernel: Box<dyn Kernel>,
    places: Places,
    log: Log,
    desired: Desired,
    plan: Plan,
    /// The table holds what the plan wants, as far as is known.
    is_settled: bool,
    /// The files say what the memory does, as far as is known.
    is_saved: bool,
    repairs: Backoff,
    announced: Announcement,
    is_leaving: bool,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it changed in what is desired.
    pub change: Change,
    /// Whether anything is different, be it only that rules that had been lost are back.
    pub changed: bool,
}

impl Reconciler {
    /// A reconciler that remembers what the helper before it was asked for. The table is not touched yet: see
    /// [`Reconciler::tend`].
    #[must_use]
    pub fn new(kernel: Box<dyn Kernel>, places: Places, log: Log) -> Self {
        let (Memory { desired, known }, errors) = places.recall();
        for error in errors {
            log.write(Line::warning("state-ignored").with("cause", error));
        }
        if !desired.is_empty() {
            let line = Line::info("state-recalled").with("auto", desired.auto.is_some());
            log.write(line.with("clamps", desired.named.len()));
        }
        // Whatever the kernel holds now was left by somebody else: nothing is settled before it has been looked at.
        let (is_settled, is_saved) = (false, true);
        let plan = Plan { known, ..Plan::default() };
        let (repairs, announced) = (Backoff::new(backoff::REPAIRS), Announcement::default());
        Self { kernel, places, log, desired, plan, is_settled, is_saved, repairs, announced, is_leaving: false }
    }

    /// Starts watching the kernel.
    ///
    /// # Errors
    /// [`KernelError`] if it cannot be watched.
    pub fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        self.kernel.events()
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.desired.is_empty()
    }

    /// Whether the kernel holds what it ought to, as far as is known.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.is_settled || self.is_idle()
    }

    /// From now on nothing is changed for callers any more.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Whether it is leaving.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Checks a request, and tells whether there is anything to do. Changes nothing.
    ///
    /// # Errors
    /// The reason for which the request would be refused, whoever asked.
    pub fn consider(&mut self, request: &Request) -> Result<bool, Error> {
        self.check(request)?;
        let (next, change) = self.desired.after(request)?;
        let is_so = !change.is_something() && self.is_settled && self.is_kept(request, &next);
        Ok(!is_so || self.held_ruleset()? != self.plan.ruleset)
    }

    /// Makes a request true: in the kernel, in memory and in the files.
    ///
    /// # Errors
    /// [`Error`]; the table, the memory and the files are then as they were.
    pub fn commit(&mut self, permit: Permit, request: &Request) -> Result<Outcome, Error> {
        permit.spend_on(request)?;
        let links = self.check(request)?;
        let (next, change) = self.desired.after(request)?;
        let is_kept = self.is_kept(request, &next);
        let held_before = self.held_ruleset()?;
        let plan = clamp::plan(&next, &links, &self.plan.known);
        if let Err(error) = self.apply(&plan.ruleset) {
            self.undo(&held_before);
            return Err(error.into());
        }
        let changed = change.is_something() || !is_kept || held_before != plan.ruleset;
        let before = (std::mem::replace(&mut self.desired, next), std::mem::replace(&mut self.plan, plan));
        if let Err(error) = self.keep(request, &before.0) {
            (self.desired, self.plan) = before;
            self.undo(&held_before);
            return Err(error);
        }
        self.is_settled = true;
        self.save(true);
        Ok(Outcome { change, changed })
    }

    /// Looks at the kernel after events, and makes it hold again what it ought to. Returns after how long to look
    /// again even without an event; `None` if only an event can bring news.
    pub fn tend(&mut self, events: &[Event], now: Instant) -> Option<Duration> {
        match self.put_right(events, now) {
            Ok(wait) => wait,
            Err(error) => {
                self.is_settled = false;
                self.repairs.hit(now);
                self.log.write(Line::error("rules-not-applied").with("cause", error));
                // The first failures are no contest yet, but not retried in a tight loop either.
                (!self.is_idle()).then(|| self.repairs.wait(now).max(FIRST_RETRY))
            }
        }
    }

    fn put_right(&mut self, events: &[Event], now: Instant) -> Result<Option<Duration>, KernelError> {
        let links = self.links(self.desired.auto.is_some())?;
        let plan = clamp::plan(&self.desired, &links, &self.plan.known);
        let held = self.kernel.held()?;
        let is_there = held.is_some();
        let held = held.map(|held| held.ruleset).unwrap_or_default();
        let was_lost = self.is_settled && held != self.plan.ruleset;
        if was_lost {
            self.repairs.hit(now);
            self.is_settled = false;
            let culprit = events.iter().find_map(|event| match event {
                Event::Rules { pid } if *pid != 0 => Some(*pid),
                _ => None,
            });
            let pid = culprit.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
            self.log.write(Line::warning("rules-removed").with("pid", pid).with("contested", self.repairs.is_on(now)));
        }
        let has_new_names = plan.known != self.plan.known;
        self.plan = plan;
        let looked_after = self.hold(&held, is_there, was_lost, now);
        // Names are learnt once: also from a plan that has to wait, or that the kernel refuses.
        if has_new_names || !self.is_saved {
            self.save(has_new_names);
        }
        looked_after
    }

    /// Makes the table hold what is planned, unless that has to wait.
    fn hold(
        &mut self,
        held: &Ruleset,
        is_there: bool,
        was_lost: bool,
        now: Instant,
    ) -> Result<Option<Duration>, KernelError> {
        // A table that was found at the start may hold the right links and still be nobody's: it is taken over.
        if *held != self.plan.ruleset || (!self.is_settled && is_there) {
            let wait = self.repairs.wait(now);
            if !wait.is_zero() {
                return Ok(Some(wait));
            }
            let wanted = self.plan.ruleset.clone();
            self.apply(&wanted)?;
            let line = Line::info("rules-applied").with("links", wanted.route.len() + wanted.fixed.len());
            self.log.write(line.with("restored", was_lost));
        }
        self.is_settled = true;
        Ok(self.repairs.until_calm(now))
    }

    /// Leaves the kernel as a helper that stops should: a table with the owner flag goes, or stays in the service
    /// manager's hands, with the socket; a plain one is deleted here.
    pub fn stop(&mut self) {
        let stopped = match self.kernel.held() {
            Ok(Some(held)) if !held.owned => self.kernel.apply(&Ruleset::default()).map(drop),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            self.log.write(Line::error("table-left-behind").with("cause", error));
        }
    }

    /// Takes the rules out of the kernel, and forgets what was only to last until the next boot, where no service manager
    /// does either when the helper is stopped.
    ///
    /// This comes before the name is released: the bus may start the next helper from then on, and it must find neither a
    /// table that belongs to a process still running, nor wishes from before the stop.
    pub fn withdraw(&mut self) {
        if let Err(cause) = self.kernel.apply(&Ruleset::default()) {
            self.log.write(Line::error("table-left-behind").with("cause", cause));
        }
        if let Err(cause) = self.places.forget() {
            self.log.write(Line::warning("state-left-behind").with("cause", cause));
        }
        // Who still asks is told what is so.
        self.desired = Desired::default();
        self.plan = Plan::default();
    }

    fn check(&mut self, request: &Request) -> Result<Vec<Link>, Error> {
        if self.is_leaving {
            return Err(ErrorKind::ShuttingDown.because(LEAVING));
        }
        let for_auto = self.desired.auto.is_some() || matches!(request, Request::ClampOn(Target::Auto, _));
        let links = self.links(for_auto)?;
        if let Request::ClampOn(Target::Link(link), options) = request {
            clamp::accept(link, *options, &links)?;
        }
        Ok(links)
    }

    /// The links there are. Routes matter to auto alone.
    fn links(&mut self, for_auto: bool) -> Result<Vec<Link>, KernelError> {
        self.kernel.links(&|link| for_auto && clamp::vpn::may_be_in_use(link))
    }

    fn held_ruleset(&mut self) -> Result<Ruleset, KernelError> {
        Ok(self.kernel.held()?.map(|held| held.ruleset).unwrap_or_default())
    }

    /// Applies, and believes only what is read back.
    fn apply(&mut self, wanted: &Ruleset) -> Result<Option<Held>, KernelError> {
        let held = self.kernel.apply(wanted)?;
        let is_so = held.as_ref().map_or_else(|| wanted.is_empty(), |held| held.ruleset == *wanted);
        if is_so { Ok(held) } else { Err(KernelError::ReadBack) }
    }

    /// Whether the file of what is kept across reboots needs no change for a request.
    fn is_kept(&self, request: &Request, next: &Desired) -> bool {
        !request.is_about_what_is_kept(&self.desired, next) || self.places.keeps(next)
    }

    /// Writes what is kept across reboots, if the request was about that. The file may say something else than was remembered, so it
    /// is that which is looked at and not what was desired before.
    fn keep(&self, request: &Request, before: &Desired) -> Result<(), Error> {
        if !request.is_about_what_is_kept(before, &self.desired) {
            return Ok(());
        }
        let unkept =
            |error| ErrorKind::ApplyFailed.because(format!("cannot change what is kept across reboots: {error}"));
        self.places.persist(&self.desired, &self.plan.known).map_err(unkept)
    }

    /// Makes the table hold what it held before a change that was not to be. A refused change has left it so already; one
    /// that could not be read back may have been made.
    fn undo(&mut self, held_before: &Ruleset) {
        if self.held_ruleset().is_ok_and(|held| held == *held_before) {
            return;
        }
        if let Err(error) = self.apply(held_before) {
            self.is_settled = false;
            self.log.write(Line::error("undo-failed").with("cause", error));
        }
    }

    /// Writes down what is desired and known; for a kept auto in both files, since it is known in both lives. The rules are in
    /// force whether that succeeds or not. What fails is tried again at the next look, and told if it is `news`.
    fn save(&mut self, news: bool) {
        let known: &BTreeSet<LinkName> = &self.plan.known;
        let mut errors = Vec::new();
        if let Err(error) = self.places.remember(&self.desired, known) {
            errors.push(error);
            errors.extend(self.places.forget_other_than(&self.desired).err());
        }
        if self.desired.auto == Some(true) {
            errors.extend(self.places.persist(&self.desired, known).err());
        }
        self.is_saved = errors.is_empty();
        for error in errors.into_iter().filter(|_| news) {
            self.log.write(Line::warning("state-not-saved").with("cause", error));
        }
    }
}

#[cfg(test)]
mod tests;
