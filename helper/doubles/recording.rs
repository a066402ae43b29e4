//! An authority for tests: it gives scripted answers and records the questions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use zruntime::{Event, SharedRuntime};

use crate::authority::{Action, Authority, Denial, PromptMode, Question};

/// A question, as it would be sent to polkit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedQuestion {
    /// The subject's kind.
    pub subject_kind: String,
    /// The subject's details as text.
    pub subject_details: Vec<(String, String)>,
    /// The action's identifier in polkit.
    pub action_id: &'static str,
    /// The details.
    pub details: Vec<(&'static str, String)>,
    /// `flags` of `CheckAuthorization`.
    pub flags: u32,
}

/// Gives scripted answers and records the questions. Clones share both.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<(Duration, Result<(), Denial>)>,
    otherwise: Option<(Duration, Result<(), Denial>)>,
    needs_password: bool,
    asked: Vec<RecordedQuestion>,
    cancelled: usize,
    /// Set for an authority that blocks; notified by [`Recording::release`].
    blocked: Option<Arc<Event>>,
}

impl Recording {
    /// An authority that allows everything.
    #[must_use]
    pub fn allowing() -> Self {
        Self::answering(Ok(()))
    }

    /// An authority that always gives this answer.
    #[must_use]
    pub fn answering(answer: Result<(), Denial>) -> Self {
        Self::answering_after(Duration::ZERO, answer)
    }

    /// An authority that always gives this answer, after a delay.
    #[must_use]
    pub fn answering_after(delay: Duration, answer: Result<(), Denial>) -> Self {
        let recording = Self::default();
        recording.script().otherwise = Some((delay, answer));
        recording
    }

    /// An authority that allows everything, but only after a call of [`release`](Self::release).
    #[must_use]
    pub fn blocking() -> Self {
        let recording = Self::allowing();
        recording.script().blocked = Some(Arc::default());
        recording
    }

    /// Answers the questions that are blocked now.
    pub fn release(&self) {
        if let Some(blocked) = &self.script().blocked {
            blocked.notify(usize::MAX);
        }
    }

    /// An authority that needs a password. Once it may prompt, it gives this answer after the
    /// delay.
    #[must_use]
    pub fn prompting(delay: Duration, answer: Result<(), Denial>) -> Self {
        Self::answering_after(delay, answer).at_a_prompt()
    }

    /// The same authority, but it needs a password: without a prompt it answers with a challenge.
    #[must_use]
    pub fn at_a_prompt(self) -> Self {
        self.script().needs_password = true;
        self
    }

    /// Queues the answer to the next question, which is given without a delay.
    pub fn next(&self, answer: Result<(), Denial>) {
        self.script().answers.push_back((Duration::ZERO, answer));
    }

    /// The questions asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<RecordedQuestion> {
        self.script().asked.clone()
    }

    /// The number of questions that allowed a prompt.
    #[must_use]
    pub fn prompts(&self) -> usize {
        self.script().asked.iter().filter(|asked| asked.flags == 1).count()
    }

    /// The number of questions that were dropped before their answer.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.script().cancelled
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authority for Recording {
    async fn ask(&self, question: &Question, mode: PromptMode) -> Result<(), Denial> {
        let (blocked, delay, answer) = {
            let mut script = self.script();
            script.asked.push(RecordedQuestion::of(question, mode));
            let at_once = |denial| (Duration::ZERO, Err(denial));
            let challenge =
                (script.needs_password && mode == PromptMode::Forbidden).then(|| at_once(Denial::Challenge));
            let is_blocked = script.answers.is_empty() && challenge.is_none();
            // This listens before the lock is released: a test that sees the question may call
            // `release` at once.
            let blocked = script.blocked.as_ref().filter(|_| is_blocked).map(|blocked| blocked.listen());
            let otherwise = challenge.or_else(|| script.otherwise.clone());
            let (delay, answer) = script.answers.pop_front().or(otherwise).unwrap_or_else(|| at_once(Denial::No));
            (blocked, delay, answer)
        };
        if let Some(blocked) = blocked {
            let mut open = Open(self, true);
            blocked.await;
            open.1 = false;
        }
        if !delay.is_zero() {
            let mut open = Open(self, true);
            if let Ok(runtime) = SharedRuntime::current() {
                runtime.sleep(delay).await;
            }
            open.1 = false;
        }
        answer
    }
}

/// Counts a question that is dropped before its answer: `true` while it is open.
struct Open<'a>(&'a Recording, bool);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.script().cancelled += 1;
        }
    }
}

impl RecordedQuestion {
    fn of(question: &Question, mode: PromptMode) -> Self {
        let (kind, details) = question.subject();
        let subject_details = details.into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
        Self {
            subject_kind: kind.to_owned(),
            subject_details: subject_details.collect(),
            action_id: Action::of(&question.request).id(),
            details: question.details(),
            flags: u32::from(mode == PromptMode::Allowed),
        }
    }
}
