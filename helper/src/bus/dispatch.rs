//! The way of a call from the inbox to its answer.
//!
//! What can be answered at once is answered before the next calls are looked at. Everything else has a place in a quota, and
//! a task of its own only while it has one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use airpods_dbus::{Error, ErrorKind};
use zbus::{Connection, Message, Variant};

use super::bounded_socket::{Arrival, Dropped, LONGEST_MESSAGE};
use super::call::{self, Answer, Meaning, Property};
use super::caller;
use super::quota::{self, Slot};
use super::reply::{ReplyTo, Standard};
use super::service::Service;
use crate::authority::Caller;
use crate::log::Line;
use crate::reconcile::VERSION;

/// See machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

/// A call that has no answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) to: ReplyTo,
    pub(super) meaning: Meaning,
}

impl Service {
    /// Answers what arrives, for as long as there is a bus. While the bus takes no answers, nothing more is looked at.
    pub(super) async fn dispatch(self: Arc<Self>, connection: Connection) -> Infallible {
        loop {
            let (arrivals, dropped) = self.inbox.take().await;
            for message in dropped {
                self.note_dropped(&message);
            }
            let answers: Vec<_> = arrivals.into_iter().filter_map(|call| self.take_in(&connection, call)).collect();
            // Without a bus there is nobody to answer; the daemon sees that by itself.
            drop(connection.send_all(&answers).await);
        }
    }

    fn note_dropped(&self, dropped: &Dropped) {
        let uid = dropped.sender.as_ref().and_then(|sender| self.callers.uid(sender));
        self.note(uid.map(|uid| self.people.behind(uid)), || {
            let line = Line::warning("message-dropped").with("uid", or_unknown(uid));
            line.with("sender", or_unknown(dropped.sender.as_ref())).with("cause", dropped.cause)
        });
    }

    /// What a call is answered at once, if it is.
    fn take_in(self: &Arc<Self>, connection: &Connection, arrival: Arrival) -> Option<Message> {
        let (to, meaning) = match arrival {
            Arrival::Call { message, cut } => (ReplyTo::of(&message.header())?, call::meaning(&message, cut)),
            Arrival::Unreadable(to) => {
                let error = ErrorKind::InvalidArgs.because("the message is malformed");
                (to, Meaning::Refused(Line::warning("message-malformed"), error))
            }
            Arrival::TooLong { to, length } => {
                let error = format!("the message has {length} bytes, and more than {LONGEST_MESSAGE} are not read");
                let line = Line::warning("message-too-long").with("bytes", length);
                (to, Meaning::Refused(line, ErrorKind::LimitsExceeded.because(error)))
            }
        };
        match meaning {
            Meaning::Answer(answer) => self.answer(&to, answer),
            // It has no effect, and nobody is to hear of it.
            Meaning::Status if !to.is_awaited() => None,
            meaning => self.admit(connection, Waiting { to, meaning }),
        }
    }

    /// Answers from what is constant, or in memory.
    fn answer(&self, to: &ReplyTo, answer: Answer) -> Option<Message> {
        match answer {
            Answer::Introspection(xml) => to.with(&xml),
            Answer::Nothing => to.with(&()),
            Answer::MachineId => match std::fs::read_to_string(MACHINE_ID) {
                Ok(id) => to.with(&id.trim()),
                Err(_) => to.standard(Standard::Failed, "the machine has no id"),
            },
            Answer::Property(property) => {
                self.touch();
                to.with(&self.property(property))
            }
            Answer::Properties => {
                self.touch();
                to.with(
                    &Property::ALL
                        .map(|property| (property.name(), self.property(property)))
                        .into_iter()
                        .collect::<std::collections::HashMap<_, _>>(),
                )
            }
            Answer::NoProperties => to.with(&std::collections::HashMap::<&str, Variant<'_>>::new()),
            Answer::Error(error, message) => to.standard(error, message),
            Answer::InvalidArgs(message) => to.error(&ErrorKind::InvalidArgs.because(message)),
        }
    }

    fn property(&self, property: Property) -> Variant<'static> {
        match property {
            Property::Clamps => Variant::from(self.reconciler().properties(Instant::now()).clamps),
            Property::Auto => Variant::from(self.reconciler().properties(Instant::now()).auto),
            Property::Version => Variant::from(VERSION),
        }
    }

    /// Finds out who calls, and goes on from there.
    fn admit(self: &Arc<Self>, connection: &Connection, call: Waiting) -> Option<Message> {
        let name = call.to.caller.clone();
        if let Some(uid) = self.callers.uid(&name) {
            return self.begin(connection, Caller { name, uid }, call);
        }
        match self.unidentified.enter(&name, call) {
            Ok(false) => None,
            Ok(true) => {
                let (service, connection) = (Arc::clone(self), connection.clone());
                self.runtime.spawn("find out who calls", service.identify(connection)).detach();
                None
            }
            Err(call) => self.refuse(None, call, &quota::too_many()),
        }
    }

    /// Asks the bus about callers until none waits to be asked about.
    async fn identify(self: Arc<Self>, connection: Connection) {
        while let Some(name) = self.unidentified.next() {
            let uid = caller::uid(&self.runtime, &connection, &name).await;
            if let Ok(uid) = uid {
                self.callers.remember(&name, uid);
            }
            let calls = self.unidentified.leave(&name);
            let answers: Vec<_> = calls
                .into_iter()
                .filter_map(|call| match &uid {
                    Ok(uid) => self.begin(&connection, Caller { name: name.clone(), uid: *uid }, call),
                    Err(error) => self.refuse(None, call, error),
                })
                .collect();
            drop(connection.send_all(&answers).await);
            self.touch();
        }
    }

    /// Gives a call a place and a task, or an answer at once.
    fn begin(self: &Arc<Self>, connection: &Connection, caller: Caller, call: Waiting) -> Option<Message> {
        let person = self.people.behind(caller.uid);
        let quota = match call.meaning {
            Meaning::Status | Meaning::Answer(_) => &self.reads,
            Meaning::Change(_) | Meaning::Refused(..) => &self.changes,
        };
        let slot = match quota.enter(person) {
            Ok(slot) => slot,
            Err(error) => return self.refuse(Some(caller.uid), call, &error),
        };
        let (service, connection) = (Arc::clone(self), connection.clone());
        match call.meaning {
            Meaning::Answer(answer) => return self.answer(&call.to, answer),
            Meaning::Refused(line, error) => {
                let call = Waiting { to: call.to, meaning: Meaning::Refused(line, error.clone()) };
                return self.refuse(Some(caller.uid), call, &error);
            }
            Meaning::Status => {
                self.runtime.spawn("GetStatus", service.status(connection, call.to, slot)).detach();
            }
            Meaning::Change(wanted) => {
                let change = service.change(connection, person, caller, call.to, wanted, slot);
                self.runtime.spawn("change", change).detach();
            }
        }
        None
    }

    /// Answers a call that is refused before anything is looked at. Reads have no line in the log.
    fn refuse(&self, uid: Option<u32>, call: Waiting, error: &Error) -> Option<Message> {
        let line = match call.meaning {
            Meaning::Answer(_) | Meaning::Status => None,
            Meaning::Change(wanted) => Some(wanted.line(uid, &call.to.caller, &Err(error.clone()))),
            Meaning::Refused(line, _) => {
                let line = line.with("uid", or_unknown(uid)).with("sender", &call.to.caller);
                Some(line.with("result", error.kind().short_name()))
            }
        };
        if let Some(line) = line {
            self.note(uid.map(|uid| self.people.behind(uid)), || line);
        }
        call.to.error(error)
    }

    /// Everything there is to know. Never prompts. The call keeps its place until the bus has taken the answer.
    async fn status(self: Arc<Self>, connection: Connection, to: ReplyTo, slot: Slot) {
        self.touch();
        let read = || self.reconciler().status(Instant::now());
        let answer = match self.snapshots.next(read, |until| self.rest(until)).await {
            Ok(status) => to.with(&*status),
            Err(error) => to.error(&error),
        };
        self.finish(&connection, answer, slot).await;
    }

    /// Sends an answer and gives the place back.
    pub(super) async fn finish(&self, connection: &Connection, answer: Option<Message>, slot: Slot) {
        if let Some(answer) = answer {
            // A caller who has left needs none.
            drop(connection.send(&answer).await);
        }
        drop(slot);
        self.touch();
    }

    /// Waits until then, or until the helper leaves: whoever has called by then is to have an answer.
    async fn rest(&self, until: Instant) {
        let leaving = self.leaving.listen();
        if !self.reconciler().is_leaving() {
            // Either way there is no more to wait for.
            let _ = self.runtime.timeout_at(until, leaving).await;
        }
    }
}

/// What is known, or that it is not.
pub(super) fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}
