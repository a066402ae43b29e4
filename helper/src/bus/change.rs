//! Runs a mutating call whose caller is known and that has a place in the quota.
//!
//! The steps, in this order: validate, nothing to do?, authorise, write the persistent file,
//! re-check, commit, audit log line, signal, reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use airpods_dbus::{Error, ErrorKind};
use futures_lite::future::or;
use zbus::Connection;
use zbus::names::OwnedUniqueName;
use zruntime::unblock;

use super::call::{ReplyTo, RequestedChange};
use super::caller::{check_connected, wait_until_left};
use super::dispatch::or_unknown;
use super::person::Person;
use super::quota::{Prompt, Slot};
use super::service::Service;
use crate::authority::{Action, Caller, Permit, PromptMode, Question, authorise};
use crate::log::Line;
use crate::reconcile::{LEAVING, Outcome, Persist};

/// How long a call waits for another prompt to end before it is refused.
const TURN: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Error>;

impl Service {
    /// Runs one mutating call, from the decision to the reply.
    pub(super) async fn change(
        self: Arc<Self>,
        connection: Connection,
        person: Person,
        caller: Caller,
        to: ReplyTo,
        mut requested: RequestedChange,
        slot: Slot,
    ) {
        let outcome = self.decide(&connection, person, &caller, &mut requested).await;
        self.account_for(person, &requested, &caller, &outcome);
        self.keep_names();
        self.announce(&connection).await;
        let answer = match &outcome {
            Ok(outcome) => to.with(&outcome.as_ref().is_some_and(|outcome| outcome.changed)),
            Err(error) => to.error(error),
        };
        self.finish(&connection, answer, slot).await;
    }

    /// Runs the steps up to the commit; `None` if there was nothing to do.
    async fn decide(
        &self,
        connection: &Connection,
        person: Person,
        caller: &Caller,
        requested: &mut RequestedChange,
    ) -> Result<Option<Outcome>> {
        let request = self.reconciler().narrowed(requested.request.clone()?)?;
        requested.action = Action::of(&request);
        if !self.reconciler().consider(&request)? {
            return Ok(None);
        }
        let kept_now = self.reconciler().affects_kept(&request);
        let question = Question::about(caller.clone(), request, kept_now, requested.interaction);
        let permit = or(self.permit(connection, person, &question), self.wait_for_leave()).await?;
        let mut disk = None;
        let pending = loop {
            let decision = self.reconciler().pending_persist(&permit, disk.is_some())?;
            match decision {
                Persist::Locked => disk = Some(self.disk.lock().await),
                Persist::Decided(pending) => break pending.map(Arc::new),
            }
        };
        if let Some(pending) = pending.clone() {
            unblock(move || pending.write()).await?;
        }
        // The re-check comes after the write, because a slow disk can take long enough for the
        // caller to leave.
        let connected = check_connected(&self.runtime, connection, &caller.name).await;
        let committed = connected.and_then(|()| self.reconciler().commit(permit));
        let is_written = pending.is_some();
        if committed.is_err()
            && let Some(pending) = pending
            && let Err(error) = unblock(move || pending.revert()).await
        {
            self.log.write(Line::error("undo-failed").with("cause", error));
        }
        let outcome = committed?;
        Ok(Some(Outcome { changed: outcome.changed || is_written, ..outcome }))
    }

    async fn permit(&self, connection: &Connection, person: Person, question: &Question) -> Result<Permit> {
        let starting = || ErrorKind::AuthUnavailable.because("the helper is still starting; call again in a moment");
        let authority = self.authority.get().ok_or_else(starting)?;
        let log = |line| self.log_limited(Some(person), || line);
        let judged = authorise(authority.as_ref(), question, PromptMode::Forbidden, log).await;
        if !question.needs_prompt(&judged) {
            return judged;
        }
        let _prompt = self.turn_to_prompt(person).await?;
        let left = async { Err(wait_until_left(&self.runtime, connection, &question.caller.name).await) };
        or(authorise(authority.as_ref(), question, PromptMode::Allowed, log), left).await
    }

    /// Completes when the helper leaves: an open password prompt must not delay that.
    async fn wait_for_leave(&self) -> Result<Permit> {
        let leaving = self.leaving.listen();
        if !self.reconciler().is_leaving() {
            leaving.await;
        }
        Err(ErrorKind::ShuttingDown.because(LEAVING))
    }

    /// Waits briefly for another prompt to end. Without an authentication agent it ends at once.
    async fn turn_to_prompt(&self, person: Person) -> Result<Prompt> {
        let deadline = Instant::now() + TURN;
        loop {
            // Listens before the check, so a prompt that ends in between is not missed.
            let over = self.changes.prompt_over().listen();
            if let Some(prompt) = self.changes.open_prompt(person) {
                return Ok(prompt);
            }
            if self.runtime.timeout_at(deadline, over).await.is_err() {
                return Err(ErrorKind::Busy.because(if self.changes.is_prompted(person) {
                    "you are being asked for a password already; answer that first"
                } else {
                    "too many users are being asked for a password; try again in a moment"
                }));
            }
        }
    }

    /// Writes the log line of a call. A line about a change is never withheld.
    fn account_for(
        &self,
        person: Person,
        requested: &RequestedChange,
        caller: &Caller,
        outcome: &Result<Option<Outcome>>,
    ) {
        let line = || requested.line(Some(caller.uid), &caller.name, outcome);
        if matches!(outcome, Ok(Some(Outcome { changed: true, .. }))) {
            self.log.write(line());
        } else {
            self.log_limited(Some(person), line);
        }
    }
}

impl RequestedChange {
    /// The log line of a call: the caller, the request and the result.
    pub(super) fn line(&self, uid: Option<u32>, caller: &OwnedUniqueName, outcome: &Result<Option<Outcome>>) -> Line {
        let line = match outcome {
            Ok(_) => Line::info(self.action.operation()),
            Err(_) => Line::warning(self.action.operation()),
        };
        let line = line.with("uid", or_unknown(uid)).with("sender", caller);
        let line = line.with("action", self.action.id()).with("link", &self.link);
        match outcome {
            Ok(Some(Outcome { changed: true, change })) => line.with("result", "changed").with("detail", change),
            Ok(_) => line.with("result", "unchanged"),
            Err(error) => line.with("result", error.kind().short_name()).with("detail", error),
        }
    }
}
