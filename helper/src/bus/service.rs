//! The state that every call shares, and when the helper may leave.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use airpods_dbus::names;
use zbus::names::BusName;
use zbus::{Connection, Variant};
use zruntime::lock::Mutex as Turn;
use zruntime::{Event, SharedRuntime, unblock};

use super::inbox::Inbox;
use super::log_limit::{Entry, LogLimit};
use super::person::Person;
use super::quota::Quota;
use super::snapshot::Snapshots;
use crate::authority::Authority;
use crate::log::{Line, Log};
use crate::reconcile::{Announcement, Reconciler};

/// The state that all calls share.
pub struct Service {
    reconciler: Mutex<Reconciler>,
    /// Set once the bus is reached, and before the name is taken.
    pub(super) authority: OnceLock<Box<dyn Authority>>,
    /// Changes and reads are limited separately, so neither can starve the other.
    pub(super) changes: Quota,
    pub(super) reads: Quota,
    pub(super) snapshots: Snapshots,
    pub(super) inbox: Arc<Inbox>,
    pub(super) log: Log,
    pub(super) runtime: SharedRuntime,
    log_limit: LogLimit,
    /// Signals are sent in turn, so that the last one sent is the last one true.
    announcing: Turn<()>,
    /// Held by whoever writes what is kept across reboots, until the memory says the same: no older text replaces a newer one.
    pub(super) disk: Turn<()>,
    last_call: Mutex<Instant>,
    /// Notified when a call is over.
    call_over: Event,
    /// Notified when the helper leaves.
    pub(super) leaving: Event,
}

impl Service {
    /// A service on top of a reconciler.
    #[must_use]
    pub fn new(reconciler: Reconciler, log: Log, runtime: SharedRuntime) -> Arc<Self> {
        Arc::new(Self {
            reconciler: Mutex::new(reconciler),
            authority: OnceLock::new(),
            changes: Quota::default(),
            reads: Quota::default(),
            snapshots: Snapshots::default(),
            inbox: Arc::default(),
            log,
            runtime,
            log_limit: LogLimit::default(),
            announcing: Turn::new(()),
            disk: Turn::new(()),
            last_call: Mutex::new(Instant::now()),
            call_over: Event::new(),
            leaving: Event::new(),
        })
    }

    /// Asks this authority from now on; the first one stays.
    pub(super) fn obey(&self, authority: Box<dyn Authority>) {
        drop(self.authority.set(authority));
    }

    /// The reconciler. Nobody waits for anything while holding it.
    pub fn reconciler(&self) -> MutexGuard<'_, Reconciler> {
        // The reconciler does not panic; should it all the same, its state is read back from the kernel anyway.
        self.reconciler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line about something without effect, unless its person has had very many.
    pub(super) fn note(&self, person: Option<Person>, line: impl FnOnce() -> Line) {
        match self.log_limit.enter(person, Instant::now()) {
            Entry::Whole => self.log.write(line()),
            Entry::After(withheld) => self.log.write(line().with("withheld-before", withheld)),
            Entry::Last => self.log.write(line().with("note", "more such lines of this user are withheld for a while")),
            Entry::Withheld => {}
        }
    }

    /// Sends the signals that are due.
    pub async fn announce(&self, connection: &Connection) {
        let _turn = self.announcing.lock().await;
        let news = self.reconciler().news(Instant::now());
        if let Some((before, now)) = news
            && let Err(error) = changed(connection, &before, &now).await
        {
            self.log.write(Line::warning("signal-not-sent").with("cause", error));
        }
    }

    /// Writes down the names that a kept auto has learnt, where a slow disk holds nobody up.
    pub fn keep_names(self: &Arc<Self>) {
        if !self.reconciler().are_names_due() {
            return;
        }
        let service = Arc::clone(self);
        let keep = async move {
            let _disk = service.disk.lock().await;
            let unkept = service.reconciler().unkept_names();
            if let Some(unkept) = unkept {
                let written = unblock(move || unkept.write()).await;
                service.reconciler().names_written(written);
            }
        };
        self.runtime.spawn("keep names", keep).detach();
    }

    /// Notes that somebody has use for the helper.
    pub(super) fn touch(&self) {
        *self.last_call.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.call_over();
    }

    /// Notes that calls have been answered.
    pub(super) fn call_over(&self) {
        self.call_over.notify(usize::MAX);
    }

    /// From now on nothing is changed for callers any more, and nobody is asked for a password.
    pub fn leave(&self) {
        self.reconciler().leave();
        self.leaving.notify(usize::MAX);
    }

    /// How many calls are in flight.
    fn in_flight(&self) -> usize {
        self.inbox.in_flight() + self.changes.in_flight() + self.reads.in_flight()
    }

    /// Completes when nothing has been asked for and nobody has called for this long, and leaves no way back: no call
    /// changes anything any more.
    pub async fn unused_for(&self, patience: Duration) {
        loop {
            let call_over = self.call_over.listen();
            let last = *self.last_call.lock().unwrap_or_else(PoisonError::into_inner);
            let is_unused = self.in_flight() == 0 && self.reconciler().is_idle();
            if !is_unused {
                call_over.await;
            } else if last.elapsed() >= patience {
                self.leave();
                return;
            } else {
                // Either way it is looked at again.
                let _ = self.runtime.timeout_at(last + patience, call_over).await;
            }
        }
    }

    /// Completes when no call is in flight.
    pub async fn calls_over(&self) {
        loop {
            let call_over = self.call_over.listen();
            if self.in_flight() == 0 {
                return;
            }
            call_over.await;
        }
    }
}

/// Sends `PropertiesChanged` with what differs.
async fn changed(connection: &Connection, before: &Announcement, now: &Announcement) -> zbus::Result<()> {
    let clamps = (before.clamps != now.clamps).then(|| ("Clamps", Variant::from(now.clamps.clone())));
    let auto = (before.auto != now.auto).then(|| ("Auto", Variant::from(now.auto)));
    let values: HashMap<&str, Variant<'_>> = clamps.into_iter().chain(auto).collect();
    let (everybody, none) = (None::<BusName<'_>>, &[] as &[&str]);
    let body = (names::INTERFACE, values, none);
    let interface = "org.freedesktop.DBus.Properties";
    connection.emit_signal(everybody, names::OBJECT_PATH, interface, "PropertiesChanged", &body).await
}
