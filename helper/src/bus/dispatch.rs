//! Takes calls from the inbox, and answers them or starts a task for them.
//!
//! A call that needs no waiting is answered before the next calls are processed. Any other call
//! needs a place in a quota, and has its own task only while it holds that place.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use airpods_dbus::{Error, ErrorKind};
use zbus::names::OwnedUniqueName;
use zbus::{Connection, Message, Variant, fdo};

use super::bounded_socket::{LONGEST_CALL, decode_message};
use super::call::{self, Answer, DecodedCall, Property, ReplyTo};
use super::caller::{self, Identity};
use super::inbox::{Admitted, Arrival, Content, IgnoredMessage, Waiting};
use super::quota::Slot;
use super::refusals::TURN;
use super::service::Service;
use crate::authority::Caller;
use crate::log::Line;
use crate::reconcile::VERSION;

/// The file with the machine's id, see machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

/// A decoded call that has no answer yet.
struct Call {
    to: ReplyTo,
    decoded: DecodedCall,
}

impl Service {
    /// Processes the inbox, for as long as the helper is on the bus. While the bus accepts no
    /// answers, this processes no more calls, and calls beyond their places are refused.
    pub(super) async fn dispatch(self: Arc<Self>, connection: Connection) -> Infallible {
        loop {
            let Waiting { arrivals, to_identify, ignored } = self.inbox.take().await;
            for message in ignored {
                self.log_ignored(&message);
            }
            for name in to_identify {
                let identify = Arc::clone(&self).identify(connection.clone(), name);
                self.runtime.spawn("find out who calls", identify).detach();
            }
            let (mut answers, mut slots) = (Vec::new(), Vec::new());
            for Admitted { from, arrival, slot } in arrivals {
                let call = call_of(arrival).await;
                answers.extend(self.begin(&connection, from, call));
                slots.push(slot);
            }
            // Sending fails only if the connection is lost, which the daemon notices itself.
            drop(connection.send_all(&answers).await);
            let is_called = !slots.is_empty();
            // Only now: a place is taken until the bus has the answer, so a slow reader cannot get
            // more.
            drop(slots);
            if is_called {
                self.restart_idle_timer();
            }
        }
    }

    /// Sends refusals of calls without a place at a bounded rate, for as long as the helper is on
    /// the bus.
    pub(super) async fn refuse_in_turn(self: Arc<Self>, connection: Connection) -> Infallible {
        loop {
            self.inbox.refusals.some().await;
            self.runtime.sleep(TURN).await;
            // As in `dispatch`: the daemon notices a lost connection itself.
            drop(connection.send_all(&self.inbox.refusals.turn()).await);
        }
    }

    fn log_ignored(&self, message: &IgnoredMessage) {
        let identity = message.sender.as_ref().and_then(|sender| self.inbox.callers.identity(sender));
        self.log_limited(identity.map(|identity| identity.person), || {
            let line = Line::warning(message.event).with("uid", or_unknown(identity.map(|identity| identity.uid)));
            line.with("sender", or_unknown(message.sender.as_ref())).with("cause", message.cause)
        });
    }

    /// Answers with a constant, or from memory.
    fn answer(&self, to: &ReplyTo, answer: Answer) -> Option<Message> {
        match answer {
            Answer::Introspection(xml) => to.with(&xml),
            Answer::Nothing => to.with(&()),
            Answer::MachineId => match std::fs::read_to_string(MACHINE_ID) {
                Ok(id) if is_machine_id(id.trim()) => to.with(&id.trim()),
                _ => to.standard(&fdo::Error::Failed("the machine has no id".to_owned())),
            },
            Answer::Property(property) => to.with(&self.property(property)),
            Answer::Properties(properties) => {
                let values = properties.iter().map(|property| (property.name(), self.property(*property)));
                to.with(&values.collect::<HashMap<_, _>>())
            }
            Answer::Error(error) => to.standard(&error),
        }
    }

    fn property(&self, property: Property) -> Variant<'static> {
        match property {
            Property::Clamps => Variant::from(self.reconciler().properties(Instant::now()).clamps),
            Property::Auto => Variant::from(self.reconciler().properties(Instant::now()).auto),
            Property::Version => Variant::from(VERSION),
        }
    }

    /// Asks the bus who a caller is, then admits or refuses the calls that it has queued meanwhile.
    async fn identify(self: Arc<Self>, connection: Connection, name: OwnedUniqueName) {
        match caller::uid(&self.runtime, &connection, &name).await {
            Ok(uid) => self.inbox.identify(&name, uid),
            Err(error) => {
                for arrival in self.inbox.give_up(&name) {
                    let answer = self.refuse(None, call_of(arrival).await, &error);
                    drop(connection.send_all(&answer.into_iter().collect::<Vec<_>>()).await);
                }
            }
        }
        self.restart_idle_timer();
    }

    /// Answers a call at once, or gives it a place in a quota and a task.
    fn begin(self: &Arc<Self>, connection: &Connection, from: Identity, call: Call) -> Option<Message> {
        let quota = match call.decoded {
            DecodedCall::Answer(answer) => return self.answer(&call.to, answer),
            // A read that expects no reply has no effect.
            DecodedCall::Status if call.to.serial.is_none() => return None,
            DecodedCall::Refused(_, ref error) => {
                let error = error.clone();
                return self.refuse(Some(from), call, &error);
            }
            DecodedCall::Status => &self.reads,
            DecodedCall::Change(_) => &self.changes,
        };
        let slot = match quota.enter(from.person) {
            Ok(slot) => slot,
            Err(error) => return self.refuse(Some(from), call, &error),
        };
        let (service, connection) = (Arc::clone(self), connection.clone());
        if let DecodedCall::Change(requested) = call.decoded {
            let caller = Caller { name: call.to.caller.clone(), uid: from.uid };
            let change = service.change(connection, from.person, caller, call.to, requested, slot);
            self.runtime.spawn("change", change).detach();
        } else {
            self.runtime.spawn("GetStatus", service.status(connection, call.to, slot)).detach();
        }
        None
    }

    /// Answers a call that is refused before it is executed. Reads have no line in the log.
    fn refuse(&self, from: Option<Identity>, call: Call, error: &Error) -> Option<Message> {
        let uid = from.map(|from| from.uid);
        let line = match call.decoded {
            DecodedCall::Answer(_) | DecodedCall::Status => None,
            DecodedCall::Change(requested) => Some(requested.line(uid, &call.to.caller, &Err(error.clone()))),
            DecodedCall::Refused(line, _) => {
                let line = line.with("uid", or_unknown(uid)).with("sender", &call.to.caller);
                Some(line.with("result", error.kind().short_name()))
            }
        };
        if let Some(line) = line {
            self.log_limited(from.map(|from| from.person), || line);
        }
        call.to.error(error)
    }

    /// Answers `GetStatus`. Never prompts. The call keeps its place until the bus has taken the
    /// answer.
    async fn status(self: Arc<Self>, connection: Connection, to: ReplyTo, slot: Slot) {
        let read = || self.reconciler().status(Instant::now());
        let answer = match self.snapshots.next(read, |until| self.cooldown(until)).await {
            Ok(status) => to.with(&*status),
            Err(error) => to.error(&error),
        };
        self.finish(&connection, answer, slot).await;
    }

    /// Sends an answer and then releases the place.
    pub(super) async fn finish(&self, connection: &Connection, answer: Option<Message>, slot: Slot) {
        if let Some(answer) = answer {
            // If the connection is lost, the caller gets no answer anyway.
            drop(connection.send(&answer).await);
        }
        drop(slot);
        self.restart_idle_timer();
    }

    /// Waits until then, or until the helper leaves, so that earlier callers still get an answer.
    async fn cooldown(&self, until: Instant) {
        let leaving = self.leaving.listen();
        if !self.reconciler().is_leaving() {
            // A timeout is the normal case.
            let _ = self.runtime.timeout_at(until, leaving).await;
        }
    }
}

/// Whether a text is a machine's id: during a first boot the file says `uninitialized`.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Decodes a call that has arrived.
async fn call_of(Arrival { to, content }: Arrival) -> Call {
    let decoded = match content {
        Content::Call(bytes) => {
            if let Ok(message) = decode_message(0, bytes).await {
                call::decode(&message)
            } else {
                let error = ErrorKind::InvalidArgs.because("the message is malformed");
                DecodedCall::Refused(Line::warning("message-malformed"), error)
            }
        }
        Content::TooLong(length) => {
            let error = format!("the call has {length} bytes; at most {LONGEST_CALL} are read");
            let line = Line::warning("message-too-long").with("bytes", length);
            DecodedCall::Refused(line, ErrorKind::LimitsExceeded.because(error))
        }
    };
    Call { to, decoded }
}

/// The value as text, or `unknown`.
pub(super) fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}
