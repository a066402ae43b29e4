//! The state that all calls share, and the decision when the helper may leave.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use airpods_dbus::names;
use zbus::names::BusName;
use zbus::{Connection, Variant};
use zruntime::lock::Mutex as AsyncMutex;
use zruntime::{Event, SharedRuntime, unblock};

use super::inbox::Inbox;
use super::locked;
use super::log_limit::LimitedLog;
use super::quota::Quota;
use super::snapshot::Snapshots;
use crate::authority::Authority;
use crate::log::{Line, Log};
use crate::reconcile::{Properties, Reconciler};

/// The state that all calls share.
pub struct Service {
    reconciler: Mutex<Reconciler>,
    /// Set after the connection to the bus, and before the request for the name.
    pub(super) authority: OnceLock<Box<dyn Authority>>,
    /// Changes and reads are limited separately, so neither can starve the other.
    pub(super) changes: Quota,
    pub(super) reads: Quota,
    pub(super) snapshots: Snapshots,
    pub(super) inbox: Arc<Inbox>,
    pub(crate) log: Log,
    /// The log for lines about something without effect.
    pub(super) limited_log: Arc<LimitedLog>,
    pub(crate) runtime: SharedRuntime,
    /// The properties of the last signal. Held while a signal is computed and sent, so that the
    /// last one has the latest values.
    announced: AsyncMutex<Properties>,
    /// Held while the persistent file is written, until memory agrees with it. So no older text
    /// replaces a newer one. It is set once a failure to write names has been logged.
    pub(super) disk: AsyncMutex<bool>,
    last_call: Mutex<Instant>,
    /// Notified when a call has been answered.
    call_over: Event,
    /// Notified when the helper starts to leave.
    leaving: Event,
}

impl Service {
    /// A service on top of a reconciler.
    #[must_use]
    pub fn new(reconciler: Reconciler, log: Log, runtime: SharedRuntime) -> Arc<Self> {
        let limited_log = LimitedLog::new(log.clone(), runtime.clone());
        Arc::new(Self {
            reconciler: Mutex::new(reconciler),
            authority: OnceLock::new(),
            changes: Quota::default(),
            reads: Quota::default(),
            snapshots: Snapshots::default(),
            inbox: Arc::new(Inbox::new(Arc::clone(&limited_log))),
            log,
            limited_log,
            runtime,
            announced: AsyncMutex::default(),
            disk: AsyncMutex::new(false),
            last_call: Mutex::new(Instant::now()),
            call_over: Event::new(),
            leaving: Event::new(),
        })
    }

    /// Sets the authority. Only the first call has an effect.
    pub(super) fn set_authority(&self, authority: Box<dyn Authority>) {
        drop(self.authority.set(authority));
    }

    /// Locks the reconciler. Nothing awaits or blocks on another task while it holds the lock.
    pub fn reconciler(&self) -> MutexGuard<'_, Reconciler> {
        // The reconciler should not panic. If it does, the kernel's state is read back at the next
        // look anyway.
        locked(&self.reconciler)
    }

    /// Logs the numbers of lines withheld so far, at the end of the process.
    pub fn log_withheld(&self) {
        self.limited_log.end();
    }

    /// Sends the signal that is due, if any.
    pub async fn announce(&self, connection: &Connection) {
        let mut announced = self.announced.lock().await;
        let now = self.reconciler().properties(Instant::now());
        let before = std::mem::replace(&mut *announced, now.clone());
        if before != now
            && let Err(error) = changed(connection, &before, &now).await
        {
            self.log.write(Line::warning("signal-not-sent").with("cause", error));
        }
    }

    /// Starts a task that writes the names that a persistent auto has collected. It runs in the
    /// background, so that a slow disk blocks no call.
    pub fn keep_names(self: &Arc<Self>) {
        if !std::mem::take(&mut self.reconciler().are_names_due) {
            return;
        }
        let service = Arc::clone(self);
        let keep = async move {
            let mut is_loss_logged = service.disk.lock().await;
            let text = service.reconciler().kept_names(&is_loss_logged);
            let Some(text) = text else { return };
            let failure = unblock(move || text.write()).await.err();
            // A failed write is retried after the next look.
            service.reconciler().are_names_due |= failure.is_some();
            let was_logged = std::mem::replace(&mut *is_loss_logged, failure.is_some());
            if let Some(cause) = failure.filter(|_| !was_logged) {
                service.log.write(Line::warning("state-not-saved").with("cause", cause));
            }
        };
        self.runtime.spawn("keep names", keep).detach();
    }

    /// Restarts the idle timer, because a call of any kind is over. Also notifies those who wait
    /// for calls to end.
    pub(super) fn restart_idle_timer(&self) {
        *locked(&self.last_call) = Instant::now();
        self.call_over.notify(usize::MAX);
    }

    /// Makes all later changes fail and cancels open prompts.
    pub fn leave(&self) {
        self.reconciler().leave();
        self.leaving.notify(usize::MAX);
    }

    /// Completes when the helper leaves.
    pub(super) async fn left(&self) {
        let leaving = self.leaving.listen();
        if !self.reconciler().is_leaving() {
            leaving.await;
        }
    }

    /// The number of calls in flight.
    fn in_flight(&self) -> usize {
        self.inbox.in_flight() + self.changes.in_flight() + self.reads.in_flight()
    }

    /// Completes when nothing is clamped and no call has arrived for this long. It calls
    /// [`Self::leave`] first, so no call can change anything any more.
    pub async fn unused_for(&self, idle_timeout: Duration) {
        loop {
            let call_over = self.call_over.listen();
            let last = *locked(&self.last_call);
            let is_unused = self.in_flight() == 0 && self.reconciler().is_idle();
            if !is_unused {
                call_over.await;
            } else if last.elapsed() >= idle_timeout {
                self.leave();
                return;
            } else {
                // After a timeout and after a call the loop checks again.
                let _ = self.runtime.timeout_at(last + idle_timeout, call_over).await;
            }
        }
    }

    /// Waits until no call is in flight.
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

/// Sends `PropertiesChanged` with the changed properties.
async fn changed(connection: &Connection, before: &Properties, now: &Properties) -> zbus::Result<()> {
    let clamps = (before.clamps != now.clamps).then(|| ("Clamps", Variant::from(now.clamps.clone())));
    let auto = (before.auto != now.auto).then(|| ("Auto", Variant::from(now.auto)));
    let values: HashMap<&str, Variant<'_>> = clamps.into_iter().chain(auto).collect();
    let (everybody, none) = (None::<BusName<'_>>, &[] as &[&str]);
    let body = (names::INTERFACE, values, none);
    let interface = "org.freedesktop.DBus.Properties";
    connection.emit_signal(everybody, names::OBJECT_PATH, interface, "PropertiesChanged", &body).await
}
