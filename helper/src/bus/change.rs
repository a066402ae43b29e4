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
use super::person::Person;
use super::quota::{Prompt, Slot};
use super::service::Service;
use crate::authority::{Action, Caller, Permit, PromptMode, Question, authorise};
use crate::clamp::Request;
use crate::log::Line;
use crate::reconcile::{LEAVING, not_kept};

/// How long a call waits for another prompt to end before it is refused.
const TURN: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Error>;

impl Service {
    /// Runs one mutating call, from the decision to the reply.
    pub(super) async fn change(
        self: Arc<Self>,
        connection: Connection,
        to: ReplyTo,
        mut requested: RequestedChange,
        slot: Slot,
    ) {
        let from = slot.from;
        let caller = Caller { name: to.caller.clone(), uid: from.uid };
        let outcome = self.decide(&connection, from.person, &caller, &mut requested).await;
        let line = || requested.line(from.uid, &caller.name, &outcome);
        if outcome == Ok(true) {
            // A line about a change is never withheld.
            self.log.write(line());
        } else {
            self.limited_log.write(Some(from.person), line);
        }
        self.keep_names();
        self.announce(&connection).await;
        let answer = match &outcome {
            Ok(is_changed) => to.with(is_changed),
            Err(error) => to.error(error),
        };
        self.finish(&connection, answer, slot).await;
    }

    /// Runs the steps up to the commit, and returns whether anything changed.
    async fn decide(
        &self,
        connection: &Connection,
        person: Person,
        caller: &Caller,
        requested: &mut RequestedChange,
    ) -> Result<bool> {
        let request = self.reconciler().narrowed(requested.request.clone()?)?;
        requested.action = Action::of(&request);
        if !self.reconciler().consider(&request)? {
            return Ok(false);
        }
        let kept_now = self.reconciler().affects_kept(&request);
        let question = Question::about(caller.clone(), request, kept_now, requested.interaction);
        // An open password prompt must not delay the end of the helper.
        let left = async {
            self.left().await;
            Err(ErrorKind::ShuttingDown.because(LEAVING))
        };
        let permit = or(self.permit(connection, person, &question), left).await?;
        let concerns_kept = self.reconciler().concerns_kept(permit.request());
        let disk = if concerns_kept { Some(self.disk.lock().await) } else { None };
        let text = match &disk {
            Some(locked) => self.reconciler().kept_after(&permit, locked)?,
            None => None,
        };
        let former = match text {
            Some(text) => unblock(move || text.write()).await.map_err(not_kept)?,
            None => None,
        };
        let is_written = former.is_some();
        // The re-check comes after the write, because a slow disk can take long enough for the
        // caller to leave.
        let connected = check_connected(&self.runtime, connection, &caller.name).await;
        let committed = connected.and_then(|()| self.reconciler().commit(permit));
        if committed.is_err()
            && let Some(former) = former
            && let Err(error) = unblock(move || former.write()).await
        {
            self.log.write(Line::error("undo-failed").with("cause", error));
        }
        Ok(committed? || is_written)
    }

    async fn permit(&self, connection: &Connection, person: Person, question: &Question) -> Result<Permit> {
        let starting = || ErrorKind::AuthUnavailable.because("the helper is still starting; call again in a moment");
        let authority = self.authority.get().ok_or_else(starting)?;
        let log = |line| self.limited_log.write(Some(person), || line);
        let judged = authorise(authority.as_ref(), question, PromptMode::Forbidden, log).await;
        if !question.needs_prompt(&judged) {
            return judged;
        }
        let _prompt = self.turn_to_prompt(person).await?;
        let left = async { Err(wait_until_left(&self.runtime, connection, &question.caller.name).await) };
        or(authorise(authority.as_ref(), question, PromptMode::Allowed, log), left).await
    }

    /// Waits briefly for another prompt to end. Without an authentication agent it ends at once.
    async fn turn_to_prompt(&self, person: Person) -> Result<Prompt> {
        let deadline = Instant::now() + TURN;
        loop {
            // Listens before the check, so a prompt that ends in between is not missed.
            let over = self.changes.prompt_over().listen();
            let opened = self.changes.open_prompt(person);
            if opened.is_ok() || self.runtime.timeout_at(deadline, over).await.is_err() {
                return opened;
            }
        }
    }
}

impl RequestedChange {
    /// The log line of a call: the caller, the request and the result.
    pub(super) fn line(&self, uid: u32, caller: &OwnedUniqueName, outcome: &Result<bool>) -> Line {
        let event = self.action.operation();
        let line = if outcome.is_ok() { Line::info(event) } else { Line::warning(event) };
        let line = line.with("uid", uid).with("sender", caller);
        let line = line.with("action", self.action.id()).with("link", &self.link);
        let options = self.request.iter().flat_map(Request::options);
        let line = options.fold(line, |line, (option, value)| line.with(option, value));
        match outcome {
            Ok(is_changed) => line.with("result", if *is_changed { "changed" } else { "unchanged" }),
            Err(error) => line.with("result", error.kind().short_name()).with("detail", error),
        }
    }
}
