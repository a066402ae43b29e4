//! Runs the steps of a plan, each as soon as the steps it waits for are done. A gate stands before
//! the first start of a container; steps that come before it are not held back.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OnceCell;

use super::act::{Actor, Done};
use super::progress::{Event, Progress};
use super::{Cancel, Interrupted, Outcome, Pace, StepError};
use crate::plan::{Action, Plan};
use crate::podman::Podman;

/// The outcome of running a plan's steps.
pub(super) struct Ran {
    /// The changes of the finished steps, in the order they finished.
    pub(super) done: Vec<(usize, Done)>,
    /// The output about the run.
    pub(super) outcome: Outcome,
    /// The first failure. Steps under way at that time were cancelled or waited for.
    pub(super) failure: Option<StepError>,
    /// The changes that a failed step could not undo.
    pub(super) left: Vec<String>,
    /// Whether Ctrl-C came.
    pub(super) interrupted: bool,
    /// The steps still under way when the second Ctrl-C came: they may still be done.
    pub(super) under_way: Vec<usize>,
}

/// Decides which step can begin.
struct Schedule<'a> {
    plan: &'a Plan,
    waiting: BTreeSet<usize>,
    finished: BTreeSet<usize>,
    running: usize,
    at_once: usize,
    pulling: usize,
    pulls: usize,
}

impl<'a> Schedule<'a> {
    fn new(plan: &'a Plan, pace: &Pace) -> Self {
        Self {
            plan,
            waiting: (0..plan.steps.len()).collect(),
            finished: BTreeSet::new(),
            running: 0,
            at_once: if pace.sequential { 1 } else { usize::MAX },
            pulling: 0,
            pulls: pace.pulls.max(1),
        }
    }

    /// Removes a step that can begin now from the waiting ones, if there is one.
    fn next(&mut self) -> Option<usize> {
        let plan = self.plan;
        if self.running >= self.at_once {
            return None;
        }
        let ready = |index: &usize| {
            let step = plan.steps.get(*index);
            step.is_some_and(|step| {
                let allowed = !matches!(step.action, Action::Pull(_)) || self.pulling < self.pulls;
                allowed && step.after.iter().all(|before| self.finished.contains(before))
            })
        };
        let index = self.waiting.iter().copied().find(|index| ready(index))?;
        self.waiting.remove(&index);
        self.running += 1;
        self.pulling += usize::from(self.is_pull(index));
        Some(index)
    }

    fn finish(&mut self, index: usize) {
        self.finished.insert(index);
        self.running -= 1;
        self.pulling -= usize::from(self.is_pull(index));
    }

    fn is_pull(&self, index: usize) -> bool {
        self.plan.steps.get(index).is_some_and(|step| matches!(step.action, Action::Pull(_)))
    }
}

/// Runs all steps. After a failure no new step begins. Steps that change podman's state are waited
/// for, because podman may still carry out a call that is cut off. `again` ends that wait.
pub(super) async fn run(
    podman: &impl Podman,
    plan: &Plan,
    pace: &Pace,
    progress: &dyn Progress,
    gate: &impl Gate,
    mut interrupt: Pin<&mut impl Future<Output = ()>>,
    mut again: Pin<&mut impl Future<Output = ()>>,
) -> Ran {
    let cancel = Rc::new(Cancel::default());
    let actor = Actor {
        podman,
        pace,
        progress,
        cancel: Rc::clone(&cancel),
        gate,
        passed: OnceCell::new(),
        network: RefCell::new(plan.network.clone()),
        outcome: RefCell::new(Outcome { warnings: plan.warnings.clone(), ..Outcome::default() }),
        left: RefCell::default(),
    };
    let mut schedule = Schedule::new(plan, pace);
    let mut interrupted = false;
    let mut running = FuturesUnordered::new();
    let (mut done, mut failure, mut open) = (Vec::new(), None, BTreeSet::new());
    let mut under_way = Vec::new();
    loop {
        while failure.is_none()
            && let Some(index) = schedule.next()
        {
            open.insert(index);
            running.push(one(&actor, plan, index, progress));
        }
        if running.is_empty() {
            break;
        }
        let next = if interrupted {
            match select(running.next(), again.as_mut()).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => {
                    under_way.extend(open);
                    break;
                }
            }
        } else {
            match select(running.next(), interrupt.as_mut()).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => {
                    interrupted = true;
                    failure = failure.or(Some(StepError::Interrupted));
                    cancel.set();
                    progress.event(&Event::Waiting { count: running.len() });
                    continue;
                }
            }
        };
        let Some((index, result)) = next else { break };
        schedule.finish(index);
        open.remove(&index);
        match result {
            Ok(what) => done.push((index, what)),
            Err(error) => {
                if error.outcome_unknown() {
                    done.push((index, Done::Unknown));
                }
                // A step that was cancelled because of the first failure is not a failure of its
                // own.
                if failure.is_none() {
                    failure = Some(error);
                }
                cancel.set();
            }
        }
    }
    drop(running);
    let (outcome, left) = (actor.outcome.into_inner(), actor.left.into_inner());
    Ran { done, outcome, failure, left, interrupted, under_way }
}

async fn one(
    actor: &Actor<'_, impl Podman, impl Gate>,
    plan: &Plan,
    index: usize,
    progress: &dyn Progress,
) -> (usize, Result<Done, StepError>) {
    let Some(step) = plan.steps.get(index) else { return (index, Ok(Done::Nothing)) };
    progress.event(&Event::Began { index, step });
    let start = Instant::now();
    let result = actor.act(index, step).await;
    match &result {
        Ok(done) => {
            progress.event(&Event::Finished { index, step, did: *done != Done::Nothing, took: start.elapsed() });
        }
        Err(_) => progress.event(&Event::Failed { index, step }),
    }
    (index, result)
}

/// Holds back every start of a container. It is asked once, when the first container could start.
#[allow(async_fn_in_trait, reason = "futures stay on the one thread of the client")]
pub trait Gate {
    /// Waits until it is known whether the user has to be asked.
    async fn is_needed(&self) -> bool;

    /// Asks the user and acts on the answer. No progress is shown meanwhile, so that the question
    /// stays readable.
    ///
    /// # Errors
    /// [`Interrupted`], after which no container starts.
    async fn settle(&self, interrupt: impl Future<Output = ()>) -> Result<(), Interrupted>;
}

/// A gate that is always open.
#[derive(Debug, Clone, Copy)]
pub struct Open;

impl Gate for Open {
    async fn is_needed(&self) -> bool {
        false
    }

    async fn settle(&self, _: impl Future<Output = ()>) -> Result<(), Interrupted> {
        Ok(())
    }
}

impl<P: Podman, G: Gate> Actor<'_, P, G> {
    /// Takes the first start through the gate; every other one waits for it.
    pub(super) async fn pass_gate(&self) -> Result<(), StepError> {
        self.passed.get_or_try_init(|| self.open_gate()).await.copied()
    }

    async fn open_gate(&self) -> Result<(), StepError> {
        // An earlier start was cancelled in the gate. `OnceCell` then lets the next one try, which
        // must not ask again.
        if self.cancel.is_set() {
            return Err(StepError::Interrupted);
        }
        if self.unless_cancelled(self.gate.is_needed()).await? {
            self.progress.event(&Event::Paused);
            let settled = self.gate.settle(self.cancel.cancelled()).await;
            self.progress.event(&Event::Resumed);
            settled.map_err(|Interrupted| StepError::Interrupted)?;
        }
        Ok(())
    }
}
