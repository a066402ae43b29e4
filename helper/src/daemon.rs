//! The daemon: it serves the bus, reacts to kernel events, and decides when to leave.

use std::env;
use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use sd_notify::NotifyState;
use zbus::{Address, Connection};
use zruntime::lock::OnceCell;
use zruntime::{AsyncIo, Event, Shared};

use airpods_dbus::names;

use crate::authority::Authority;
use crate::backoff::{self, Backoff};
use crate::bus::{self, Service};
use crate::failure::{Exit, Failure};
use crate::kernel::{self, Events, KernelError};
use crate::log::Line;
use crate::reconcile::VERSION;

/// Time limit for open calls when the helper leaves.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long the helper still reads calls that the bus delivered before it released the name.
const LAST_CALLS: Duration = Duration::from_millis(50);

/// How long a helper under a service manager waits for the bus, which starts late in a boot.
const BUS_TIMEOUT: Duration = Duration::from_secs(60);
/// The interval between attempts to reach the bus.
const BUS_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The helper reports readiness after this time even if the rules are not in force: a boot waits
/// for it.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The service manager that may have started the helper: systemd, or another one with the same
/// environment and protocol (`sd_notify(3)`).
pub struct ServiceManager {
    /// Whether there is one. On a stop it removes the runtime folder and runs
    /// [`crate::after_stop`], which removes the table. It starts the next helper only when this one
    /// is gone.
    pub is_there: bool,
    /// The time without [`NotifyState::Watchdog`] after which it considers the helper hung; `None`
    /// if it has no watchdog.
    pub watchdog: Option<Duration>,
    /// Sends it a notification; does nothing without one.
    pub notify: Box<dyn Fn(NotifyState<'_>) -> io::Result<()> + Send + Sync>,
}

impl ServiceManager {
    /// The one of this process' environment.
    #[must_use]
    pub fn of_environment() -> Self {
        Self {
            // systemd sets it for `RuntimeDirectory=` of the unit (systemd.exec(5)).
            is_there: env::var_os("RUNTIME_DIRECTORY").is_some(),
            watchdog: sd_notify::watchdog_enabled(),
            notify: Box::new(|state| sd_notify::notify(&[state])),
        }
    }
}

/// Reason for a normal exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A signal asked it to stop.
    Stopped,
    /// The idle timeout has passed.
    Unused,
}

/// The running daemon.
pub struct Daemon {
    service: Arc<Service>,
    /// How long to stay without clamps and calls.
    idle_timeout: Duration,
    service_manager: ServiceManager,
    /// Set once it owns the bus name.
    connection: OnceCell<Connection>,
    /// Notified after each look at the kernel, when there may be a signal to send.
    reconcile_done: Event,
}

/// The kernel's events, and the descriptor that is readable when there are some. `None` if the
/// kernel has no `nf_tables`.
type Subscription = Option<(Box<dyn Events>, AsyncIo<OwnedFd, Shared>)>;

impl Daemon {
    /// A daemon that has not looked at the kernel yet.
    #[must_use]
    pub fn new(service: Arc<Service>, idle_timeout: Duration, service_manager: ServiceManager) -> Self {
        Self { service, idle_timeout, service_manager, connection: OnceCell::new(), reconcile_done: Event::new() }
    }

    /// Runs until it is asked to stop, is unused for too long, or fails.
    ///
    /// `bus` is the address of the bus. `authority` is called once the bus is reached. `stop`
    /// completes when the daemon has to stop.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn run(
        self,
        bus: &Address,
        authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
        stop: impl Future<Output = ()>,
    ) -> Result<ExitReason, Failure> {
        // `or` polls its first argument first. So under a service manager the rules are applied
        // before the helper looks for the bus.
        let ended = or(self.follow(), self.serve(bus, authority, stop)).await;
        if let Ok(reason) = ended {
            self.leave(reason).await;
        }
        self.service.log_withheld();
        ended
    }

    /// Joins the bus and serves it, until there is a reason to leave.
    async fn serve(
        &self,
        bus: &Address,
        authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
        stop: impl Future<Output = ()>,
    ) -> Result<ExitReason, Failure> {
        let mut stop = pin!(stop);
        let stopped = async {
            stop.as_mut().await;
            Ok(None)
        };
        let Some(connection) = or(stopped, async { self.join(bus).await.map(Some) }).await? else {
            return Ok(ExitReason::Stopped);
        };
        // From here `stop` is not polled until the name is owned and announced: calls that arrive
        // with the name are answered.
        bus::take_name(&connection, &self.service, authority).await?;
        if !self.service_manager.is_there {
            // Applies the rules before the first answer to a caller. The loop in `follow` starts
            // now and does what is left.
            self.service.reconciler().reconcile(&[], Instant::now());
        }
        let connection = self.connection.get_or_init(|| async { connection }).await;
        self.service.announce(connection).await;
        self.service.log.write(Line::info("started").with("version", VERSION).with("name", names::BUS_NAME));
        let stopped = async {
            stop.await;
            Ok(ExitReason::Stopped)
        };
        let unused = async {
            self.service.unused_for(self.idle_timeout).await;
            Ok(ExitReason::Unused)
        };
        let lost = async {
            connection.closed().await;
            Err(Exit::BusLost.because("the connection to the bus is lost"))
        };
        let announced = async {
            loop {
                let reconcile_done = self.reconcile_done.listen();
                self.service.announce(connection).await;
                reconcile_done.await;
            }
        };
        or(stopped, or(lost, or(announced, unused))).await
    }

    /// Connects to the bus. Under a service manager it waits for a bus that is not up yet.
    async fn join(&self, bus: &Address) -> Result<Connection, Failure> {
        let deadline = Instant::now() + BUS_TIMEOUT;
        let mut has_waited = false;
        loop {
            // Each attempt has a time limit: before the bus runs, systemd may hold its listening
            // socket and answer nothing.
            let reached = self.service.runtime.timeout_at(deadline, bus::reach(bus, &self.service)).await;
            let may_wait = self.service_manager.is_there && Instant::now() < deadline;
            match reached {
                Ok(Err(failure)) if may_wait && failure.exit == Exit::NoBus => {
                    if !has_waited {
                        self.service.log.write(Line::info("waiting-for-bus").with("cause", failure));
                    }
                    has_waited = true;
                }
                Ok(reached) => return reached,
                Err(_) => return Err(bus::unreachable("it does not answer")),
            }
            self.service.runtime.sleep(BUS_RETRY_INTERVAL).await;
        }
    }

    /// Applies the desired rules now and after every kernel event. Returns only with an error.
    ///
    /// Under a service manager this starts without the bus: in a boot the network and its VPNs come
    /// up first. A service manager starts no second helper. Elsewhere it starts when the name
    /// is owned: a second helper does not get the name, and must not touch the first helper's
    /// table.
    ///
    /// This loop also feeds the watchdog, between two looks at the kernel. A netlink call that does
    /// not return or a runtime that does not run stops that. A call that waits for a password does
    /// not.
    async fn follow(&self) -> Result<ExitReason, Failure> {
        let mut subscription = self.subscribe()?;
        if !self.service_manager.is_there {
            self.connection.wait().await;
        }
        // Twice per timeout, as `sd_watchdog_enabled(3)` advises.
        let watchdog_interval = self.service_manager.watchdog.map(|timeout| timeout / 2);
        let mut next_sign = Instant::now();
        let mut ready_by = Some(Instant::now() + READY_WITHIN);
        let mut event_backoff = Backoff::new(backoff::EVENTS);
        let mut events = Vec::new();
        loop {
            let retry_after = self.service.reconciler().reconcile(&events, Instant::now());
            self.service.keep_names();
            ready_by = ready_by.filter(|by| !self.report_readiness(*by));
            // Signals are sent by another task, so a bus that does not read cannot block this loop.
            self.reconcile_done.notify(usize::MAX);
            if let Some(interval) = watchdog_interval.filter(|_| Instant::now() >= next_sign) {
                self.notify(NotifyState::Watchdog);
                next_sign = Instant::now() + interval;
            }
            event_backoff.hit(Instant::now());
            self.service.runtime.sleep(event_backoff.wait(Instant::now())).await;
            let until_ready = ready_by.map(|by| by.saturating_duration_since(Instant::now()));
            let until_sign = watchdog_interval.map(|_| next_sign.saturating_duration_since(Instant::now()));
            let wait = [retry_after, until_sign, until_ready].into_iter().flatten().min();
            events = self.next_events(&mut subscription, wait.unwrap_or(Duration::MAX)).await?;
        }
    }

    /// Reports readiness as soon as the rules are in force, or at the moment `by`. Returns whether
    /// it did.
    fn report_readiness(&self, by: Instant) -> bool {
        if !self.service.reconciler().is_in_force() {
            if Instant::now() < by {
                return false;
            }
            let hint = "they are tried again; `rules-refused` or `kernel-not-read` above has the cause";
            self.service.log.write(Line::warning("ready-without-rules").with("hint", hint));
        }
        self.notify(NotifyState::Ready);
        true
    }

    /// Notifies the service manager, if there is one.
    fn notify(&self, state: NotifyState<'_>) {
        if let Err(error) = (self.service_manager.notify)(state) {
            self.service.log.write(Line::warning("service-manager-not-told").with("cause", error));
        }
    }

    /// Subscribes to kernel events. Without `nf_tables` the helper runs without events: every call
    /// reports what is missing.
    fn subscribe(&self) -> Result<Subscription, Failure> {
        let events = match self.service.reconciler().events() {
            Err(cause @ KernelError::Unsupported { .. }) => {
                self.service.log.write(Line::error("kernel-unsupported").with("cause", cause));
                return Ok(None);
            }
            events => events?,
        };
        let descriptor = events.as_fd().try_clone_to_owned().map_err(cannot_wait)?;
        Ok(Some((events, AsyncIo::new(&self.service.runtime, descriptor).map_err(cannot_wait)?)))
    }

    /// Waits for events. Returns an empty list after `wait`.
    async fn next_events(&self, of: &mut Subscription, wait: Duration) -> Result<Vec<kernel::Event>, Failure> {
        let Some((events, descriptor)) = of else {
            self.service.runtime.sleep(wait).await;
            return Ok(Vec::new());
        };
        let arrived = async {
            loop {
                descriptor.readable().await.map_err(cannot_wait)?;
                let arrived = events.drain()?;
                if !arrived.is_empty() {
                    return Ok(arrived);
                }
            }
        };
        self.service.runtime.timeout(wait, arrived).await.unwrap_or_else(|_| Ok(Vec::new()))
    }

    /// Leaves the bus in order, without losing a call. The service manager knows that the helper is
    /// stopping, and starts a new one for later calls. Calls that the bus delivered before it took
    /// the name back are still answered. Without a service manager it also removes the table; a
    /// service manager runs [`crate::after_stop`] for that.
    async fn leave(&self, reason: ExitReason) {
        self.service.leave();
        let cause = if reason == ExitReason::Stopped { "asked to" } else { "unused" };
        self.service.log.write(Line::info("stopping").with("cause", cause));
        // Without a service manager, a helper without the name has not touched the table, which may
        // be another helper's.
        let Some(connection) = self.connection.get() else { return };
        if !self.service_manager.is_there {
            self.service.reconciler().withdraw();
        }
        self.notify(NotifyState::Stopping);
        if let Err(error) = connection.release_name(names::BUS_NAME).await {
            self.service.log.write(Line::warning("name-not-released").with("cause", error));
        }
        let last_calls = async {
            self.service.runtime.sleep(LAST_CALLS).await;
            self.service.calls_over().await;
        };
        // A call that is still open after this time limit gets no answer.
        let _ = self.service.runtime.timeout(LAST_ANSWERS, last_calls).await;
    }
}

fn cannot_wait(error: impl Display) -> Failure {
    Exit::Kernel.because(format!("cannot wait for the kernel: {error}"))
}
