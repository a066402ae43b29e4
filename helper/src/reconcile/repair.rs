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
    pub(super) condition: Condition,
    /// This process made it, or took it over as its own.
    is_made_here: bool,
}

/// The table, compared with the rules that are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// It has other rules, or is not known.
    #[default]
    Wrong,
    /// It has exactly the wanted rules.
    Right,
    /// Nothing is to be clamped, and it is a foreign table, which the helper leaves alone: this
    /// process did not make it, and it is not what a helper makes.
    Foreign,
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
            Err(error) => return self.record_failure(&error, now),
        };
        let plan = clamp::plan(&self.desired, &links);
        let was_lost = self.table.condition == Condition::Right
            && !self.plan.ruleset.is_empty()
            && !TableState::is_exactly(table.as_ref(), &self.plan.ruleset);
        if was_lost {
            self.record_loss(events, now);
        }
        let has_new_names = plan.known != self.desired.known;
        self.adopt(plan);
        let wait = self.apply_plan(table, was_lost, now);
        // Names are saved even if the plan has to wait or the kernel refuses it: they count as new
        // only once.
        if has_new_names || !self.is_saved {
            self.save(has_new_names);
        }
        wait
    }

    /// Records why the kernel could not be read, or refused the rules, and schedules another
    /// attempt. After a failed read the last known state stands, a refusal included.
    fn record_failure(&mut self, error: &KernelError, now: Instant) -> Option<Duration> {
        if error.is_refusal() {
            return self.record_refusal(error, now);
        }
        if !self.reads.is_on(now) {
            self.log.write(Line::error("kernel-not-read").with("cause", error).with("hint", "it is tried again"));
        }
        // Most likely another program changed the table in between, so this counts as a loss.
        if matches!(error, KernelError::ReadBack) {
            self.repairs.hit(now);
        }
        self.reads.hit(now);
        Some(self.reads.wait(now))
    }

    /// Records that the kernel refused the rules. The same rules are retried ever less often; new
    /// links make other rules, which are tried at once.
    fn record_refusal(&mut self, error: &KernelError, now: Instant) -> Option<Duration> {
        self.table.condition = Condition::Wrong;
        let (cause, ruleset) = (error.to_string(), self.plan.ruleset.clone());
        let before = self.refused.take().filter(|before| before.ruleset == ruleset);
        if before.as_ref().is_none_or(|before| before.cause != cause) {
            self.log.write(Line::error("rules-refused").with("cause", &cause));
        }
        let mut retries = before.map_or_else(|| Backoff::new(backoff::REFUSALS), |before| before.retries);
        retries.hit(now);
        self.refused = Some(Refused { ruleset, cause, retries });
        (!self.is_idle()).then(|| retries.wait(now))
    }

    /// Counts and logs a loss: another program has changed or removed the table.
    fn record_loss(&mut self, events: &[Event], now: Instant) {
        self.repairs.hit(now);
        let culprit = events.iter().find_map(|event| match event {
            Event::Rules { pid, program } if *pid != 0 => Some((pid.to_string(), program.clone())),
            _ => None,
        });
        let (pid, program) = culprit.unwrap_or_else(|| ("unknown".to_owned(), "unknown".to_owned()));
        let line = Line::warning("rules-removed").with("program", program).with("pid", pid);
        self.log.write(line.with("contested", self.repairs.is_on(now)));
    }

    /// Applies the planned rules, unless a back-off delays that.
    fn apply_plan(&mut self, table: Option<TableState>, was_lost: bool, now: Instant) -> Option<Duration> {
        self.record_table(table);
        if self.table.condition == Condition::Wrong {
            let wanted = self.plan.ruleset.clone();
            let refused = self.refused.as_ref().filter(|refused| refused.ruleset == wanted);
            let wait = refused.map(|refused| refused.retries.wait(now)).unwrap_or_default().max(self.repairs.wait(now));
            if !wait.is_zero() {
                return Some(wait);
            }
            match self.apply_verified(&wanted) {
                Ok(applied) => self.record_table(applied.after),
                Err(error) => return self.record_failure(&error, now),
            }
            let line = Line::info("rules-applied").with("links", wanted.route.len() + wanted.fixed.len());
            self.log.write(line.with("restored", was_lost));
        }
        self.repairs.until_calm(now)
    }

    /// Records the table's content.
    pub(super) fn record_table(&mut self, table: Option<TableState>) {
        let condition = self.judge(table.as_ref(), &self.plan.ruleset);
        if condition != Condition::Wrong {
            self.refused = None;
        }
        if condition == Condition::Foreign && self.table.condition != Condition::Foreign {
            let line = Line::warning("foreign-table-left").with("table", "inet airpods");
            self.log.write(line.with("hint", "the helper did not make it; a clamp replaces it"));
        }
        let is_made_here = table.is_some() && (self.table.is_made_here || condition == Condition::Right);
        self.table = Table { in_force: table.unwrap_or_default().ruleset, condition, is_made_here };
    }

    /// Compares a table, or none, with the wanted rules.
    pub(super) fn judge(&self, table: Option<&TableState>, wanted: &Ruleset) -> Condition {
        let is_foreign = !self.table.is_made_here && table.is_some_and(|table| !table.is_ours);
        match wanted.is_empty() {
            _ if TableState::is_exactly(table, wanted) => Condition::Right,
            true if is_foreign => Condition::Foreign,
            _ => Condition::Wrong,
        }
    }

    /// Applies a ruleset, and fails with [`KernelError::ReadBack`] if the table that is read back
    /// differs.
    pub(super) fn apply_verified(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError> {
        if wanted.is_empty() {
            let table = self.kernel.read_table()?;
            if self.judge(table.as_ref(), wanted) != Condition::Wrong {
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
        if wanted.is_empty() && matches!(self.kernel.read_table(), Ok(Some(table)) if !table.is_ours) {
            return;
        }
        if let Err(cause) = self.apply_verified(&wanted) {
            self.table.condition = Condition::Wrong;
            self.log.write(Line::error("undo-failed").with("cause", cause));
        }
    }
}
