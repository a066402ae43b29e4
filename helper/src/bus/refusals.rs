//! Refusals of calls that have no place.
//!
//! The queue is separate from the reader, which never waits for it. Refusals go out at a bounded
//! rate, because a caller that is refused immediately sends the next call immediately. All other
//! calls queue behind that one in the single socket from the bus. Until its refusal a call is
//! unanswered, and the bus limits the unanswered calls of each connection. So a flood slows itself
//! down.
//!
//! Persons take turns, so one backlog does not delay the others. All callers that the bus has not
//! identified yet share one turn: only such a caller's further calls are ever refused, and only in
//! a flood. Each person's newest call is refused first, so their own backlog does not delay their
//! next call. Calls beyond the bounds get no answer from the helper; the bus answers them
//! (`NoReply`) when the helper ends.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use zbus::Message;
use zruntime::Event;

use super::call::ReplyTo;
use super::locked;
use super::person::Person;
use super::quota;

/// The interval between two batches of refusals, and the size of a batch: 100 refusals per second.
pub(super) const TURN: Duration = Duration::from_millis(100);
const IN_ONE_TURN: usize = 10;

/// Upper bound on the queued refusals of one person: about 10 s of them. Callers give up after
/// 25 s.
const PER_PERSON: usize = 1024;
/// Upper bound on the persons in the queue.
const PERSONS: usize = 1024;

/// The refusals that wait to be sent. The module has the rules.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Each person's refusals, the newest one last. The persons are in the order of their turns.
    /// `None` stands for all callers that the bus has not identified.
    backlogs: Mutex<VecDeque<(Option<Person>, VecDeque<ReplyTo>)>>,
    more: Event,
}

impl Refusals {
    /// Queues the refusal of a call, if it expects a reply. A full backlog loses its oldest call.
    pub(super) fn add(&self, person: Option<Person>, to: ReplyTo) {
        if to.serial.is_none() {
            return;
        }
        let mut backlogs = locked(&self.backlogs);
        if let Some((_, backlog)) = backlogs.iter_mut().find(|(other, _)| *other == person) {
            if backlog.len() == PER_PERSON {
                backlog.pop_front();
            }
            backlog.push_back(to);
        } else if backlogs.len() < PERSONS {
            backlogs.push_back((person, VecDeque::from([to])));
            self.more.notify(1);
        }
    }

    /// Waits until there are refusals to send.
    pub(super) async fn some(&self) {
        loop {
            // Listens before the check, so a notification in between is not lost.
            let more = self.more.listen();
            if !locked(&self.backlogs).is_empty() {
                return;
            }
            more.await;
        }
    }

    /// Takes the next batch of refusals.
    pub(super) fn turn(&self) -> Vec<Message> {
        let mut backlogs = locked(&self.backlogs);
        let next = std::iter::from_fn(|| {
            let (person, mut backlog) = backlogs.pop_front()?;
            let newest = backlog.pop_back()?;
            // Without its last entry a backlog is dropped, with the memory that a flood took.
            if !backlog.is_empty() {
                backlogs.push_back((person, backlog));
            }
            Some(newest)
        });
        next.take(IN_ONE_TURN).filter_map(|to| to.error(&quota::too_many())).collect()
    }
}

#[cfg(test)]
mod tests;
