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
use super::call::{self, DecodedCall, ReplyTo, RequestedChange};
use super::caller;
use super::inbox::{Arrival, Waiting};
use super::person::Identity;
use super::quota::Slot;
use super::refusals::TURN;
use super::service::Service;
use crate::log::Line;
use crate::reconcile::VERSION;

/// The file with the machine's id, see machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

impl Service {
    /// Processes the inbox, for as long as the helper is on the bus. While the bus accepts no
    /// answers, this processes no more calls, and calls beyond their places are refused.
    pub(super) async fn dispatch(self: Arc<Self>, connection: Connection) -> Infallible {
        loop {
            let Waiting { calls, to_identify } = self.inbox.take().await;
            for caller in to_identify {
                let identify = Arc::clone(&self).identify(connection.clone(), caller);
                self.runtime.spawn("find out who calls", identify).detach();
            }
            let (mut answers, mut slots) = (Vec::new(), Vec::new());
            for (arrival, slot) in calls {
                answers.extend(self.begin(&connection, slot.from, arrival).await);
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

    /// Asks the bus who a caller is, then admits or refuses the calls that are held for it.
    async fn identify(self: Arc<Self>, connection: Connection, caller: OwnedUniqueName) {
        match caller::uid(&self.runtime, &connection, &caller).await {
            Ok(uid) => self.inbox.identify(&caller, uid),
            Err(error) => {
                let line = || Line::warning("caller-unknown").with("sender", &caller).with("cause", &error);
                self.limited_log.write(None, line);
                let held = self.inbox.give_up(&caller);
                let answers: Vec<_> = held.iter().filter_map(|arrival| arrival.to.error(&error)).collect();
                drop(connection.send_all(&answers).await);
            }
        }
        self.restart_idle_timer();
    }

    /// Answers a call at once, or gives it a place in a quota and a task.
    async fn begin(self: &Arc<Self>, connection: &Connection, from: Identity, arrival: Arrival) -> Option<Message> {
        let Arrival { to, message } = arrival;
        let refuse = |line: Line, error: Error| {
            let line = line.with("uid", from.uid).with("sender", &to.caller);
            self.limited_log.write(Some(from.person), || line.with("result", error.kind().short_name()));
            to.error(&error)
        };
        let message = match message {
            Ok(bytes) => decode_message(0, bytes).await,
            Err(length) => {
                let error = format!("the call has {length} bytes; at most {LONGEST_CALL} are read");
                let line = Line::warning("message-too-long").with("bytes", length);
                return refuse(line, ErrorKind::LimitsExceeded.because(error));
            }
        };
        let Ok(message) = message else {
            let error = ErrorKind::InvalidArgs.because("the message is malformed");
            return refuse(Line::warning("message-malformed"), error);
        };
        match call::decode(&message) {
            Err(error) => to.standard(&error),
            Ok(DecodedCall::Introspect(xml)) => to.with(&xml),
            Ok(DecodedCall::Ping) => to.with(&()),
            Ok(DecodedCall::MachineId) => match std::fs::read_to_string(MACHINE_ID) {
                Ok(id) if is_machine_id(id.trim()) => to.with(&id.trim()),
                _ => to.standard(&fdo::Error::Failed("the machine has no id".to_owned())),
            },
            Ok(DecodedCall::Property(property)) => to.with(&self.property(property)),
            Ok(DecodedCall::Properties(properties)) => {
                let values = properties.iter().map(|property| (*property, self.property(property)));
                to.with(&values.collect::<HashMap<_, _>>())
            }
            // A read that expects no reply has no effect.
            Ok(DecodedCall::Status) if to.serial.is_none() => None,
            Ok(DecodedCall::Status) => self.begin_status(connection, from, to),
            Ok(DecodedCall::Change(requested)) => self.begin_change(connection, from, to, requested),
        }
    }

    fn begin_status(self: &Arc<Self>, connection: &Connection, from: Identity, to: ReplyTo) -> Option<Message> {
        match self.reads.enter(from) {
            Ok(slot) => {
                let status = Arc::clone(self).status(connection.clone(), to, slot);
                self.runtime.spawn("GetStatus", status).detach();
                None
            }
            Err(error) => to.error(&error),
        }
    }

    fn begin_change(
        self: &Arc<Self>,
        connection: &Connection,
        from: Identity,
        to: ReplyTo,
        requested: RequestedChange,
    ) -> Option<Message> {
        match self.changes.enter(from) {
            Ok(slot) => {
                let change = Arc::clone(self).change(connection.clone(), to, requested, slot);
                self.runtime.spawn("change", change).detach();
                None
            }
            Err(error) => {
                let answer = to.error(&error);
                self.limited_log.write(Some(from.person), || requested.line(from.uid, &to.caller, &Err(error)));
                answer
            }
        }
    }

    fn property(&self, property: &str) -> Variant<'static> {
        match property {
            "Clamps" => Variant::from(self.reconciler().properties(Instant::now()).clamps),
            "Auto" => Variant::from(self.reconciler().properties(Instant::now()).auto),
            _ => Variant::from(VERSION),
        }
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
        // A timeout is the normal case.
        let _ = self.runtime.timeout_at(until, self.left()).await;
    }
}

/// Whether a text is a machine's id: during a first boot the file says `uninitialized`.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
