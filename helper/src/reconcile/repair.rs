//! Keeps the table as desired: the known state of the table, and the repair if it differs.

use std::time::{Duration, Instant};

use super::Reconciler;
use crate::backoff::{self, Backoff};
use crate::clamp;
use crate::kernel::{Applied, Event, KernelError, Ruleset, TableState};
use crate::log::Line;

/// The table `inet airpods`, as far as is known.
#[derive(Default)]
pub(super) struct Table {
    /// Its content.
    pub(super) in_force: Ruleset,
    /// It is as the plan wants it, or foreign while nothing is to be clamped.
    pub(super) is_settled: bool,
    /// This process made it, or took it over as its own.
    pub(super) is_made_here: bool,
    /// It is a foreign table, which the helper leaves alone.
    pub(super) is_foreign: bool,
}

/// Rules that the kernel refuses.
pub(super) struct Refused {
    ruleset: Ruleset,
    pub(super) cause: String,
    retries: Backoff,
}

impl Reconciler {
    /// Reads the kernel after events, and applies the desired rules again. Returns the time after
    /// which to look again without an event; `None` if only an event can bring a change.
    pub fn reconcile(&mut self, events: &[Event], now: Instant) -> Option<Duration> {
        let desired = self.desired.clone();
        let read = self.links(&desired).and_then(|links| Ok((links, self.kernel.read_table()?)));
        let (links, table) = match read {
            Ok(read) => read,
            Err(error) => return self.record_failed_read(&error, now),
        };
        let plan = clamp::plan(&self.desired, &links, &self.plan.known);
        let was_lost = self.table.is_settled
            && !self.plan.ruleset.is_empty()
            && !TableState::is_exactly(table.as_ref(), &self.plan.ruleset);
        if was_lost {
            self.record_loss(events, now);
        }
        let has_new_names = plan.known != self.plan.known;
        self.plan = plan;
        let wait = self.apply_plan(table.as_ref(), was_lost, now);
        // Names are saved even if the plan has to wait or the kernel refuses it: they count as new
        // only once.
        if has_new_names || !self.is_saved {
            self.save(has_new_names);
        }
        wait
    }

    /// Keeps the last known state after a failed read, and schedules another one. A refusal counts
    /// as [`Refused`].
    fn record_failed_read(&mut self, error: &KernelError, now: Instant) -> Option<Duration> {
        if error.is_refusal() {
            return self.record_refusal(&self.plan.ruleset.clone(), error, now);
        }
        if !self.reads.is_on(now) {
            self.log.write(Line::error("kernel-not-read").with("cause", error).with("hint", "it is tried again"));
        }
        self.reads.hit(now);
        Some(self.reads.wait(now))
    }

    /// Counts and logs a loss: another program has changed or removed the table.
    fn record_loss(&mut self, events: &[Event], now: Instant) {
        self.repairs.hit(now);
        self.table.is_settled = false;
        let culprit = events.iter().find_map(|event| match event {
            Event::Rules { pid, program } if *pid != 0 => Some((pid.to_string(), program.clone())),
            _ => None,
        });
        let (pid, program) = culprit.unwrap_or_else(|| ("unknown".to_owned(), "unknown".to_owned()));
        let line = Line::warning("rules-removed").with("program", program).with("pid", pid);
        self.log.write(line.with("contested", self.repairs.is_on(now)));
    }

    /// Applies the planned rules, unless a back-off delays that.
    fn apply_plan(&mut self, table: Option<&TableState>, was_lost: bool, now: Instant) -> Option<Duration> {
        let wanted = self.plan.ruleset.clone();
        self.record_table(table);
        if self.table.is_settled {
            return self.repairs.until_calm(now);
        }
        let retries = self.refused.as_ref().filter(|refused| refused.ruleset == wanted).map(|refused| refused.retries);
        let wait = self.repairs.wait(now).max(retries.map_or(Duration::ZERO, |retries| retries.wait(now)));
        if !wait.is_zero() {
            return Some(wait);
        }
        match self.apply_verified(&wanted) {
            Ok(applied) => {
                self.record_table(applied.after.as_ref());
                let line = Line::info("rules-applied").with("links", wanted.route.len() + wanted.fixed.len());
                self.log.write(line.with("restored", was_lost));
                self.repairs.until_calm(now)
            }
            Err(error) if error.is_refusal() => self.record_refusal(&wanted, &error, now),
            Err(error) => {
                // Most likely another program changed the table in between, so this counts as a
                // loss.
                if matches!(error, KernelError::ReadBack) {
                    self.repairs.hit(now);
                }
                self.record_failed_read(&error, now)
            }
        }
    }

    /// Records that the kernel refused the rules. The same rules are retried ever less often; new
    /// links make other rules, which are tried at once.
    fn record_refusal(&mut self, wanted: &Ruleset, error: &KernelError, now: Instant) -> Option<Duration> {
        self.table.is_settled = false;
        let cause = error.to_string();
        let before = self.refused.take().filter(|refused| refused.ruleset == *wanted);
        if before.as_ref().is_none_or(|refused| refused.cause != cause) {
            self.log.write(Line::error("rules-refused").with("cause", &cause));
        }
        let mut retries = before.map_or_else(|| Backoff::new(backoff::REFUSALS), |refused| refused.retries);
        retries.hit(now);
        self.refused = Some(Refused { ruleset: wanted.clone(), cause, retries });
        (!self.is_idle()).then(|| retries.wait(now))
    }

    /// Records the table's content.
    pub(super) fn record_table(&mut self, table: Option<&TableState>) {
        self.table.is_settled = self.is_right(table, &self.plan.ruleset);
        self.table.in_force = table.map(|table| table.ruleset.clone()).unwrap_or_default();
        if self.table.is_settled {
            self.refused = None;
        }
        self.table.is_made_here =
            table.is_some_and(|table| self.table.is_made_here || (self.table.is_settled && table.is_ours));
        let is_foreign = self.table.is_settled && table.is_some_and(|table| !table.is_ours);
        if is_foreign && !self.table.is_foreign {
            let line = Line::warning("foreign-table-left").with("table", "inet airpods");
            self.log.write(line.with("hint", "the helper did not make it; a clamp replaces it"));
        }
        self.table.is_foreign = is_foreign;
    }

    /// Whether a table, or none, is as wanted. While nothing is to be clamped, a foreign table is
    /// as wanted, too. Foreign means that this process did not make it, and that it is not what a
    /// helper makes.
    pub(super) fn is_right(&self, table: Option<&TableState>, wanted: &Ruleset) -> bool {
        TableState::is_exactly(table, wanted) || (wanted.is_empty() && self.is_foreign_table(table))
    }

    fn is_foreign_table(&self, table: Option<&TableState>) -> bool {
        !self.table.is_made_here && table.is_some_and(|table| !table.is_ours)
    }

    /// Applies a ruleset, and fails with [`KernelError::ReadBack`] if the table that is read back
    /// differs.
    pub(super) fn apply_verified(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError> {
        if wanted.is_empty() {
            let table = self.kernel.read_table()?;
            if self.is_right(table.as_ref(), wanted) {
                return Ok(Applied { before: table.clone(), after: table });
            }
        }
        let applied = self.kernel.apply(wanted)?;
        let is_so = TableState::is_exactly(applied.after.as_ref(), wanted);
        if is_so { Ok(applied) } else { Err(KernelError::ReadBack) }
    }

    /// Restores the table after a failed change. A refused change has not touched it; one that
    /// could not be read back may have been made. This never removes a foreign table.
    pub(super) fn undo(&mut self, error: &KernelError) {
        if error.is_refusal() {
            return;
        }
        let wanted = self.plan.ruleset.clone();
        let table = self.kernel.read_table();
        let undone = table.and_then(|table| {
            let is_foreign = wanted.is_empty() && table.as_ref().is_some_and(|table| !table.is_ours);
            if is_foreign || TableState::is_exactly(table.as_ref(), &wanted) {
                Ok(())
            } else {
                self.kernel.apply(&wanted).map(drop)
            }
        });
        if let Err(error) = undone {
            self.table.is_settled = false;
            self.log.write(Line::error("undo-failed").with("cause", error));
        }
    }
}
