//! The reconciler owns the desired state, and makes the kernel, memory and files agree with it.
//!
//! No method awaits, and one lock protects the reconciler. So no task sees a change that is made
//! only in part. One step is outside the lock: a slow disk must not block it, so the caller writes
//! the persistent file, before the change.
//!
//! Three things can keep the table from being as desired. If another program changes it, the first
//! losses are repaired immediately, later ones ever more slowly (`contested`). If the kernel
//! refuses it (`refused`), the same rules are retried ever less often, other rules at once. If it
//! cannot be read, the last known state stands, and the helper reads again.

mod repair;
mod report;

use std::collections::BTreeMap;
use std::fmt::Display;

use airpods_dbus::{Error, ErrorKind, LinkName, Target, Unclampable, names::MAX_CLAMPS};

use crate::authority::Permit;
use crate::backoff::{self, Backoff};
use crate::clamp::{self, Desired, Plan, Request};
use crate::kernel::{Events, Kernel, KernelError, Link, Links, Routes, Ruleset};
use crate::log::{Line, Log};
use crate::state::{StateDirs, StateText};
use repair::{Condition, Refused, Table};

pub use report::{Properties, VERSION};

/// The lock on the persistent file, as proof that the file does not change meanwhile. Its value is
/// set once a failure to write names has been logged.
pub type DiskLock<'a> = zruntime::lock::MutexGuard<'a, bool>;

/// The error message for callers while the helper is stopping.
pub(crate) const LEAVING: &str = "the helper is stopping; call again in a moment";

/// The error for callers if the persistent file cannot be changed.
pub(crate) fn not_kept(cause: impl Display) -> Error {
    ErrorKind::ApplyFailed.because(format!("cannot change what is kept across reboots: {cause}"))
}

/// The desired state, and the kernel and the files that have to agree with it.
pub struct Reconciler {
    kernel: Box<dyn Kernel>,
    state_dirs: StateDirs,
    log: Log,
    desired: Desired,
    plan: Plan,
    /// The routes through each link, as last read.
    routes: BTreeMap<LinkName, Routes>,
    /// VPN links that no rule can name and that have been logged.
    unclampable: Vec<Unclampable>,
    table: Table,
    /// Whether the runtime file agrees with memory, as far as is known.
    is_saved: bool,
    /// The persistent file may lack names that a persistent auto has collected. The task that
    /// finds this mark clears it, and writes [them](Self::kept_names).
    pub(crate) are_names_due: bool,
    /// The back-off for repairs after changes by other programs.
    repairs: Backoff,
    /// The back-off for failed reads.
    reads: Backoff,
    refused: Option<Refused>,
    is_leaving: bool,
}

impl Reconciler {
    /// A reconciler with the state that the previous helper saved. It does not touch the table yet:
    /// see [`Reconciler::reconcile`].
    #[must_use]
    pub fn new(kernel: Box<dyn Kernel>, state_dirs: StateDirs, log: Log) -> Self {
        let (desired, errors) = state_dirs.load();
        for error in errors {
            log.write(Line::warning("state-ignored").with("cause", error));
        }
        Self {
            kernel,
            state_dirs,
            log,
            desired,
            plan: Plan::default(),
            routes: BTreeMap::new(),
            unclampable: Vec::new(),
            // Another process left what the kernel holds now, so the table counts as wrong until it
            // has been read.
            table: Table::default(),
            is_saved: true,
            are_names_due: false,
            repairs: Backoff::new(backoff::REPAIRS),
            reads: Backoff::new(backoff::READS),
            refused: None,
            is_leaving: false,
        }
    }

    /// Subscribes to kernel events.
    ///
    /// # Errors
    /// [`KernelError`] if the subscription fails.
    pub fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        self.kernel.events()
    }

    /// Whether no clamp is desired.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.desired.is_empty()
    }

    /// Whether the kernel has the desired rules, as far as is known.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.table.condition != Condition::Wrong || self.is_idle()
    }

    /// Refuses all later requests.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Whether [`Self::leave`] was called.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Validates a request, and returns whether there is anything to do. It changes nothing and
    /// costs a few look-ups at most, because the caller is not authorised yet.
    ///
    /// # Errors
    /// The reason why the request would be refused for any caller.
    pub fn consider(&mut self, request: &Request) -> Result<bool, Error> {
        self.check(request)?;
        let next = self.desired.after(request)?;
        if next != self.desired || self.table.condition == Condition::Wrong || !self.is_kept(request, &next) {
            return Ok(true);
        }
        let table = self.kernel.read_table()?;
        Ok(self.judge(table.as_ref(), &self.plan.ruleset) == Condition::Wrong)
    }

    /// Whether a request changes, removes or overrides a clamp that is kept across reboots. `Reset`
    /// also removes those of a file that this process did not read.
    ///
    /// This is for the authority alone: a name that overrides a kept auto leaves the file as it is.
    #[must_use]
    pub fn affects_kept(&self, request: &Request) -> bool {
        let is_of_file = || *request == Request::Reset && !self.state_dirs.keeps(&Desired::default());
        self.desired.loses_kept(request) || self.desired.overrides_kept_auto(request) || is_of_file()
    }

    /// Checks that a change affects nothing kept of which the authority did not know.
    fn check_permit(&self, permit: &Permit) -> Result<(), Error> {
        if self.affects_kept(permit.request()) && !permit.covers_kept() {
            return Err(ErrorKind::Busy.because("a clamp was kept across reboots while polkit was asked; call again"));
        }
        Ok(())
    }

    /// Whether a request concerns the persistent file. Then the caller locks that file until the
    /// commit is over: otherwise an older text could replace a newer one.
    #[must_use]
    pub fn concerns_kept(&self, request: &Request) -> bool {
        self.desired.concerns_kept(request)
    }

    /// The text of the persistent file after a change; `None` if the file has those clamps already.
    /// The caller writes it on a thread that may block on the disk. [`Self::commit`] then finds it
    /// written. If the commit fails, the caller writes the former text back.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    pub fn kept_after(&self, permit: &Permit, _locked: &DiskLock<'_>) -> Result<Option<StateText>, Error> {
        self.check_permit(permit)?;
        let next = self.desired.after(permit.request())?;
        Ok((!self.state_dirs.keeps(&next)).then(|| self.state_dirs.kept(&next)))
    }

    /// The text of the persistent file with all names; `None` if auto is no longer persistent.
    #[must_use]
    pub fn kept_names(&self, _locked: &DiskLock<'_>) -> Option<StateText> {
        self.desired.keeps_auto().then(|| self.state_dirs.kept(&self.desired))
    }

    /// Carries out a request: in the kernel, in memory and in the runtime file. The caller has
    /// [written the persistent file](Self::kept_after), so a failing disk changes no rule. Returns
    /// whether anything changed, even if the request only restored lost rules.
    ///
    /// # Errors
    /// [`Error`]; the table, the memory and the runtime file are then as they were.
    pub fn commit(&mut self, permit: Permit) -> Result<bool, Error> {
        self.check_permit(&permit)?;
        let request = &permit.spend();
        self.check(request)?;
        let next = self.desired.after(request)?;
        if !self.is_kept(request, &next) {
            return Err(not_kept("its file has changed meanwhile"));
        }
        let links = self.links(&next)?;
        let plan = clamp::plan(&next, &links);
        let applied = self.apply_verified(&plan.ruleset).inspect_err(|error| self.undo(error))?;
        let was_wrong = self.judge(applied.before.as_ref(), &plan.ruleset) == Condition::Wrong;
        let is_changed = next != self.desired;
        self.desired = next;
        self.adopt(plan);
        self.record_table(applied.after);
        self.save(true);
        Ok(is_changed || was_wrong)
    }

    /// Removes the table and the runtime file. The daemon calls this when it stops without a
    /// service manager, which would do both.
    ///
    /// This precedes the release of the bus name. After it the bus may start the next helper, which
    /// must find neither this process's table nor clamps from before the stop.
    pub fn withdraw(&mut self) {
        if let Err(cause) = self.apply_verified(&Ruleset::default()) {
            self.log.write(Line::error("table-left-behind").with("cause", cause));
        }
        // Status calls that still arrive must report the empty table.
        self.desired = Desired::default();
        self.plan = Plan::default();
        self.table = Table::default();
        self.save(true);
    }

    fn adopt(&mut self, plan: Plan) {
        self.desired.known.clone_from(&plan.known);
        self.plan = plan;
    }

    fn check(&mut self, request: &Request) -> Result<(), Error> {
        if self.is_leaving {
            return Err(ErrorKind::ShuttingDown.because(LEAVING));
        }
        if let Request::ClampOn(Target::Link(link), options) = request {
            clamp::accept(link, *options, self.kernel.link(link)?.as_ref())?;
            if self.desired.keeps_auto() && !options.persist && self.plan.is_full_for(link) {
                return Err(ErrorKind::TooManyClamps
                    .because(format!("there are {MAX_CLAMPS} clamps already, with those of auto, which is kept")));
            }
        }
        Ok(())
    }

    /// All links, with the routes of those whose routes matter: VPN links that are up under auto,
    /// and named links that are up.
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

    /// Whether the persistent file needs no change for a request. It reads the file, which may
    /// differ from what this process remembers.
    fn is_kept(&self, request: &Request, next: &Desired) -> bool {
        !self.concerns_kept(request) || self.state_dirs.keeps(next)
    }

    /// Writes the runtime file, which is on a tmpfs. The rules are in force whether that succeeds
    /// or not. A failed write is retried at the next look, and logged if `is_new`. A persistent
    /// auto also keeps its names on the disk, which another task writes.
    fn save(&mut self, is_new: bool) {
        let failure = self.state_dirs.save_runtime(&self.desired).err();
        self.are_names_due |= is_new && self.desired.keeps_auto();
        self.is_saved = failure.is_none();
        if let Some(cause) = failure.filter(|_| is_new) {
            self.log.write(Line::warning("state-not-saved").with("cause", cause));
        }
    }
}

#[cfg(test)]
mod tests;
