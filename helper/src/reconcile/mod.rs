//! The reconciler holds the one truth of the helper: what is desired, and a kernel that is made to hold it.
//!
//! Everything here happens at once, between two awaits: whoever has the reconciler in hand sees and leaves a state in
//! which the table, the memory and the files agree.
//!
//! Three things can keep the table from being right, and each is a state of its own. Another program changes it: the first
//! losses are repaired immediately, later ones ever more slowly (`contested`). The kernel refuses it (`refused`): the same
//! rules are tried again ever more rarely, other rules at once. It cannot be read: the last known state stands, and it is read
//! again.

mod repair;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{Error, ErrorKind, LinkName, Target, Unclampable};

use crate::authority::Permit;
use crate::backoff::{self, Backoff};
use crate::clamp::{self, Change, Desired, Plan, Request};
use crate::kernel::{Events, Kernel, KernelError, Link, Links, Routes, Ruleset};
use crate::log::{Line, Log};
use crate::state::{Memory, Places};
use repair::{Refused, Table};

pub use report::{Announcement, VERSION};

/// The answer to callers of a helper that is stopping.
pub(crate) const LEAVING: &str = "the helper is stopping; call again in a moment";

/// See the module.
pub struct Reconciler {
    kernel: Box<dyn Kernel>,
    places: Places,
    log: Log,
    desired: Desired,
    plan: Plan,
    /// The data of the routes when they were last read.
    routes: BTreeMap<LinkName, Routes>,
    /// VPN links that no rule can name, as far as that has been logged.
    unclampable: Vec<Unclampable>,
    table: Table,
    /// The files say what the memory does, as far as is known.
    is_saved: bool,
    names: Names,
    /// Losses to other programs.
    repairs: Backoff,
    /// Reads that failed.
    reads: Backoff,
    refused: Option<Refused>,
    announced: Announcement,
    is_leaving: bool,
}

/// The names that a kept auto has learnt, and its file.
#[derive(Default)]
struct Names {
    /// The file may not have them.
    are_due: bool,
    /// It has been logged that they could not be written.
    is_loss_logged: bool,
}

/// The content of the persistent file, before a change and after it.
#[derive(Debug)]
pub struct Unkept {
    places: Places,
    before: Desired,
    desired: Desired,
    known: BTreeSet<LinkName>,
}

impl Unkept {
    /// Writes it, and waits for the disk.
    ///
    /// # Errors
    /// [`ErrorKind::ApplyFailed`]; the file is then as it was.
    pub fn write(&self) -> Result<(), Error> {
        self.places.persist(&self.desired, &self.known).map_err(not_kept)
    }

    /// Writes what was kept before, and waits for the disk.
    ///
    /// # Errors
    /// [`ErrorKind::ApplyFailed`].
    pub fn take_back(&self) -> Result<(), Error> {
        self.places.persist(&self.before, &self.known).map_err(not_kept)
    }
}

fn not_kept(error: impl std::fmt::Display) -> Error {
    ErrorKind::ApplyFailed.because(format!("cannot change what is kept across reboots: {error}"))
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The change of the desired state.
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
        Self {
            kernel,
            places,
            log,
            desired,
            plan: Plan { known, ..Plan::default() },
            routes: BTreeMap::new(),
            unclampable: Vec::new(),
            // Whatever the kernel holds now was left by another process: nothing is settled before it has been looked at.
            table: Table::default(),
            is_saved: true,
            names: Names::default(),
            repairs: Backoff::new(backoff::REPAIRS),
            reads: Backoff::new(backoff::READS),
            refused: None,
            announced: Announcement::default(),
            is_leaving: false,
        }
    }

    /// Starts listening to the kernel.
    ///
    /// # Errors
    /// [`KernelError`] if that is not possible.
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
        self.table.is_settled || self.is_idle()
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

    /// Checks a request, and tells whether there is anything to do. Changes nothing, and costs a look-up or two at most:
    /// nobody has judged the caller yet.
    ///
    /// # Errors
    /// The reason for which the request would be refused, whoever asked.
    pub fn consider(&mut self, request: &Request) -> Result<bool, Error> {
        self.check(request)?;
        let (next, change) = self.desired.after(request)?;
        if change.is_something() || !self.table.is_settled || !self.is_kept(request, &next) {
            return Ok(true);
        }
        let held = self.kernel.held()?;
        Ok(!self.is_right(held.as_ref(), &self.plan.ruleset))
    }

    /// Whether a request is about what is kept across reboots.
    ///
    /// # Errors
    /// As for [`Self::consider`].
    pub fn is_about_what_is_kept(&self, request: &Request) -> Result<bool, Error> {
        let (next, _) = self.desired.after(request)?;
        Ok(request.is_about_what_is_kept(&self.desired, &next))
    }

    /// The state to write before a request is kept across reboots. The caller writes it on a thread where waiting for
    /// the disk holds nobody up. [`Self::commit`] then finds it written; if that fails, the caller
    /// [takes it back](Unkept::take_back).
    ///
    /// # Errors
    /// As for [`Self::consider`].
    pub fn unkept(&self, request: &Request) -> Result<Option<Unkept>, Error> {
        let (next, _) = self.desired.after(request)?;
        let is_kept = self.is_kept(request, &next);
        Ok((!is_kept).then(|| self.to_be_kept(next)))
    }

    fn to_be_kept(&self, desired: Desired) -> Unkept {
        let (places, known) = (self.places.clone(), self.plan.known.clone());
        Unkept { places, before: self.desired.clone(), desired, known }
    }

    /// Whether a kept auto has learnt names that are to be written, and nobody has been told so yet.
    pub fn are_names_due(&mut self) -> bool {
        std::mem::take(&mut self.names.are_due)
    }

    /// The file to write then; `None` if there is no kept auto any more.
    #[must_use]
    pub fn unkept_names(&self) -> Option<Unkept> {
        self.keeps_auto().then(|| self.to_be_kept(self.desired.clone()))
    }

    fn keeps_auto(&self) -> bool {
        self.desired.auto.is_some_and(|auto| auto.persist)
    }

    /// Takes in whether they were written. If not, that is logged once, and it is tried again after the next look.
    pub fn names_written(&mut self, written: Result<(), Error>) {
        let error = written.err();
        self.names.are_due |= error.is_some();
        let is_logged = std::mem::replace(&mut self.names.is_loss_logged, error.is_some());
        if let Some(error) = error.filter(|_| !is_logged) {
            self.log.write(Line::warning("state-not-saved").with("cause", error));
        }
    }

    /// Makes a request true: in the files, in the kernel and in memory.
    ///
    /// Persistent clamps are written first: a disk that fails then changes no rule.
    ///
    /// # Errors
    /// [`Error`]; the table, the memory and the files are then as they were.
    pub fn commit(&mut self, permit: Permit) -> Result<Outcome, Error> {
        let request = &permit.spend();
        self.check(request)?;
        let (next, change) = self.desired.after(request)?;
        let links = self.links(&next)?;
        let is_kept = self.is_kept(request, &next);
        let plan = clamp::plan(&next, &links, &self.plan.known);
        if !is_kept {
            self.places.persist(&next, &self.plan.known).map_err(not_kept)?;
        }
        let applied = match self.make(&plan.ruleset) {
            Ok(applied) => applied,
            Err(error) => {
                self.undo(&error);
                if !is_kept && let Err(error) = self.places.persist(&self.desired, &self.plan.known) {
                    self.log.write(Line::error("undo-failed").with("cause", error));
                }
                return Err(error.into());
            }
        };
        let was_right = self.is_right(applied.before.as_ref(), &plan.ruleset);
        self.desired = next;
        self.plan = plan;
        self.note(applied.after.as_ref());
        self.save(true);
        Ok(Outcome { changed: change.is_something() || !is_kept || !was_right, change })
    }

    /// Takes the rules out of the kernel, and forgets what was only to last until the next boot, where no service manager
    /// does either when the helper is stopped.
    ///
    /// This comes before the name is released: the bus may start the next helper from then on, and it must find neither the
    /// table of a process that is about to end, nor wishes from before the stop.
    pub fn withdraw(&mut self) {
        if let Err(cause) = self.make(&Ruleset::default()) {
            self.log.write(Line::error("table-left-behind").with("cause", cause));
        }
        if let Err(cause) = self.places.forget() {
            self.log.write(Line::warning("state-left-behind").with("cause", cause));
        }
        // Status calls that still arrive report the empty table.
        self.desired = Desired::default();
        self.plan = Plan::default();
        self.table.in_force = Ruleset::default();
    }

    fn check(&mut self, request: &Request) -> Result<(), Error> {
        if self.is_leaving {
            return Err(ErrorKind::ShuttingDown.because(LEAVING));
        }
        if let Request::ClampOn(Target::Link(link), options) = request {
            clamp::accept(link, *options, self.kernel.link(link)?.as_ref())?;
        }
        Ok(())
    }

    /// The links there are, with the routes of those for which they matter: to auto, and to a clamp to the route MTU.
    fn links(&mut self, desired: &Desired) -> Result<Vec<Link>, KernelError> {
        let for_auto = |link: &Link| desired.auto.is_some() && clamp::may_be_in_use(link);
        let routes_of = |link: &Link| for_auto(link) || (link.up && desired.named.contains_key(&link.name));
        let Links { named: links, unclampable } = self.kernel.links(&routes_of)?;
        self.routes = links.iter().map(|link| (link.name.clone(), link.routes)).collect();
        if desired.auto.is_some() {
            for link in unclampable.iter().filter(|link| !self.unclampable.contains(link)) {
                self.log
                    .write(Line::warning("link-not-clampable").with("link", &link.link).with("cause", &link.reason));
            }
            self.unclampable = unclampable;
        }
        Ok(links)
    }

    /// Whether the file of what is kept across reboots needs no change for a request. The file may say something else than was
    /// remembered, so it is that which is looked at and not what was desired before.
    fn is_kept(&self, request: &Request, next: &Desired) -> bool {
        !request.is_about_what_is_kept(&self.desired, next) || self.places.keeps(next)
    }

    /// Writes down what is desired and known until the next boot, in a folder that is no disk. The rules are in force whether that
    /// succeeds or not. A failed write is tried again at the next look, and logged if it is `news`. A kept auto knows
    /// its names in both lives. Those for after a reboot are on a disk, and written by whoever learns that
    /// [they are due](Self::are_names_due).
    fn save(&mut self, news: bool) {
        let known: &BTreeSet<LinkName> = &self.plan.known;
        let mut errors = Vec::new();
        if let Err(error) = self.places.remember(&self.desired, known) {
            errors.push(error);
            errors.extend(self.places.forget_other_than(&self.desired).err());
        }
        self.names.are_due |= news && self.keeps_auto();
        self.is_saved = errors.is_empty();
        for error in errors.into_iter().filter(|_| news) {
            self.log.write(Line::warning("state-not-saved").with("cause", error));
        }
    }
}

#[cfg(test)]
mod tests;
