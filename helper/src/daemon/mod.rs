//! The daemon: it serves the bus, reacts to kernel events, and decides when to leave.

pub mod systemd;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use sd_notify::NotifyState;
use zbus::{Address, Connection};
use zruntime::lock::OnceCell;
use zruntime::{AsyncIo, Event, Shared, SharedRuntime};

use airpods_dbus::names;

use crate::authority::Authority;
use crate::backoff::{self, Backoff};
use crate::bus::{self, Service};
use crate::failure::{Exit, Failure};
use crate::kernel::{self, Events, Kernel, KernelError};
use crate::log::{Line, Log};
use crate::reconcile::{Reconciler, VERSION};
use crate::state::StateDirs;
use systemd::{Readiness, Ready, ServiceManager, Watchdog};

/// Time limit for open calls when the helper leaves.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long the helper still reads calls that the bus delivered before it released the name.
const LAST_CALLS: Duration = Duration::from_millis(50);

/// How long a helper under a service manager waits for the bus, which starts late in a boot.
const BUS_TIMEOUT: Duration = Duration::from_secs(60);
/// The interval between attempts to reach the bus.
const BUS_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The parts of the daemon.
pub struct Daemon {
    /// The async runtime.
    pub runtime: SharedRuntime,
    /// The kernel.
    pub kernel: Box<dyn Kernel>,
    /// The folders of the state files.
    pub state_dirs: StateDirs,
    /// The log.
    pub log: Log,
    /// How long to stay without clamps and calls.
    pub idle_timeout: Duration,
    /// The service manager.
    pub service_manager: Box<dyn ServiceManager>,
}

/// Reason for a normal exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A signal asked it to stop.
    Stopped,
    /// The idle timeout has passed.
    Unused,
}

impl Daemon {
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
        let Self { runtime, kernel, state_dirs, log, idle_timeout, service_manager } = self;
        let mut reconciler = Reconciler::new(kernel, state_dirs, log.clone());
        let kernel_events = KernelEvents::of(&mut reconciler, &runtime, &log)?;
        let service = Service::new(reconciler, log.clone(), runtime.clone());
        let (connection, reconcile_done) = (OnceCell::new(), Event::new());
        let running = Running { service, connection, reconcile_done, runtime, log, service_manager };
        // `or` polls its first argument first. So under a service manager the rules are applied
        // before the helper looks for the bus.
        let followed = async { running.follow(kernel_events).await.map(|never| match never {}) };
        let ended = or(followed, running.serve(bus, authority, idle_timeout, stop)).await;
        if let Ok(reason) = ended {
            running.leave(reason).await;
        }
        running.service.log_withheld();
        ended
    }
}

/// The running daemon.
struct Running {
    service: Arc<Service>,
    /// Set once it owns the bus name.
    connection: OnceCell<Connection>,
    /// Notified after each look at the kernel, when there may be a signal to send.
    reconcile_done: Event,
    runtime: SharedRuntime,
    log: Log,
    service_manager: Box<dyn ServiceManager>,
}

impl Running {
    /// Joins the bus and serves it, until there is a reason to leave.
    async fn serve(
        &self,
        bus: &Address,
        authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
        idle_timeout: Duration,
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
        if !self.service_manager.is_there() {
            // Applies the rules before the first answer to a caller. The loop in `follow` starts
            // now and does what is left.
            self.service.reconciler().reconcile(&[], Instant::now());
        }
        let connection = self.connection.get_or_init(|| async { connection }).await;
        self.service.announce(connection).await;
        self.log.write(Line::info("started").with("version", VERSION).with("name", names::BUS_NAME));
        let stopped = async {
            stop.await;
            Ok(ExitReason::Stopped)
        };
        let unused = async {
            self.service.unused_for(idle_timeout).await;
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
        let begun = Instant::now();
        let deadline = if self.service_manager.is_there() { begun + BUS_TIMEOUT } else { begun };
        let mut has_waited = false;
        loop {
            // Each attempt has a time limit: before the bus runs, systemd may hold its listening
            // socket and answer nothing.
            let reached = or(bus::reach(bus, &self.service), async {
                self.runtime.sleep_until(begun + BUS_TIMEOUT).await;
                Err(bus::unreachable("it does not answer"))
            });
            match reached.await {
                Err(failure) if failure.exit == Exit::ForeignBus => return Err(failure),
                Err(error) if Instant::now() + BUS_RETRY_INTERVAL < deadline => {
                    if !has_waited {
                        self.log.write(Line::info("waiting-for-bus").with("cause", error));
                    }
                    has_waited = true;
                }
                reached => return reached,
            }
            self.runtime.sleep(BUS_RETRY_INTERVAL).await;
        }
    }

    /// Applies the desired rules now and after every kernel event. Returns only with an error.
    ///
    /// Under a service manager this starts without the bus: in a boot the network and its VPNs come
    /// up first. A service manager starts no second helper. Elsewhere it starts when the name
    /// is owned: a second helper does not get the name, and must not touch the first helper's
    /// table.
    ///
    /// This loop also feeds the watchdog, after each look at the kernel. A netlink call that does
    /// not return or a runtime that does not run stops that. A call that waits for a password does
    /// not.
    async fn follow(&self, mut kernel_events: KernelEvents) -> Result<Infallible, Failure> {
        if !self.service_manager.is_there() {
            self.connection.wait().await;
        }
        let now = Instant::now();
        let (mut readiness, mut watchdog) = (Readiness::new(now), Watchdog::new(self.service_manager.watchdog(), now));
        let mut event_backoff = Backoff::new(backoff::EVENTS);
        let mut events = Vec::new();
        loop {
            let retry_after = self.service.reconciler().reconcile(&events, Instant::now());
            self.service.keep_names();
            self.notify_ready(&mut readiness);
            // Signals are sent by another task, so a bus that does not read cannot block this loop.
            self.reconcile_done.notify(usize::MAX);
            if watchdog.is_due(Instant::now()) {
                self.notify(&[NotifyState::Watchdog]);
            }
            event_backoff.hit(Instant::now());
            self.runtime.sleep(event_backoff.wait(Instant::now())).await;
            let now = Instant::now();
            let waits = [retry_after, watchdog.wait(now), readiness.wait(now)];
            events = kernel_events.next(waits.into_iter().flatten().min()).await?;
        }
    }

    fn notify_ready(&self, readiness: &mut Readiness) {
        let is_in_force = self.service.reconciler().is_in_force();
        match readiness.due_report(is_in_force, Instant::now()) {
            None => return,
            Some(Ready::WithRules) => {}
            Some(Ready::WithoutRules) => {
                let line = Line::warning("ready-without-rules");
                self.log.write(
                    line.with("hint", "they are tried again; `rules-refused` or `kernel-not-read` above has the cause"),
                );
            }
        }
        self.notify(&[NotifyState::Ready]);
    }

    /// Notifies the service manager, if there is one.
    fn notify(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = self.service_manager.notify(states) {
            self.log.write(Line::warning("service-manager-not-told").with("cause", error));
        }
    }

    /// Leaves the bus in order. Without a service manager it also removes the table; a service
    /// manager runs [`crate::after_stop`] for that.
    async fn leave(&self, reason: ExitReason) {
        self.service.leave();
        let cause = if reason == ExitReason::Stopped { "asked to" } else { "unused" };
        self.log.write(Line::info("stopping").with("cause", cause));
        // Without a service manager, a helper without the name has not touched the table, which may
        // be another helper's.
        let Some(connection) = self.connection.get() else { return };
        if !self.service_manager.is_there() {
            self.service.reconciler().withdraw();
        }
        self.notify(&[NotifyState::Stopping]);
        step_down(&self.service, connection, &self.runtime, &self.log).await;
    }
}

/// The source of kernel events. `subscription` is `None` if the kernel has no `nf_tables`.
struct KernelEvents {
    subscription: Option<(Box<dyn Events>, AsyncIo<OwnedFd, Shared>)>,
    runtime: SharedRuntime,
}

impl KernelEvents {
    /// Subscribes to kernel events. Without `nf_tables` the helper runs without events: every call
    /// reports what is missing.
    fn of(reconciler: &mut Reconciler, runtime: &SharedRuntime, log: &Log) -> Result<Self, Failure> {
        let subscription = match reconciler.events() {
            Ok(subscription) => {
                let descriptor = subscription.as_fd().try_clone_to_owned();
                let descriptor = descriptor.and_then(|descriptor| AsyncIo::new(runtime, descriptor));
                Some((subscription, descriptor.map_err(cannot_wait)?))
            }
            Err(cause @ KernelError::Unsupported { .. }) => {
                log.write(Line::error("kernel-unsupported").with("cause", cause));
                None
            }
            Err(cause) => return Err(cause.into()),
        };
        Ok(Self { subscription, runtime: runtime.clone() })
    }

    /// Waits for events. Returns an empty list after `wait`.
    async fn next(&mut self, wait: Option<Duration>) -> Result<Vec<kernel::Event>, Failure> {
        let until = wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            let readable = async {
                match &self.subscription {
                    Some((_, descriptor)) => descriptor.readable().await.map(|()| false),
                    None => pending().await,
                }
            };
            let due = async {
                match until {
                    Some(until) => self.runtime.sleep_until(until).await,
                    None => pending().await,
                }
                Ok(true)
            };
            let is_due = or(readable, due).await.map_err(cannot_wait)?;
            let drained = self.subscription.as_mut().map(|(subscription, _)| subscription.drain());
            let events = drained.transpose()?.unwrap_or_default();
            if is_due || !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

fn cannot_wait(error: impl Display) -> Failure {
    Exit::Kernel.because(format!("cannot wait for the kernel: {error}"))
}

/// Leaves the bus without losing a call. The service manager knows that the helper is stopping, and
/// starts a new one for later calls. Calls that the bus delivered before it took the name back are
/// still answered.
async fn step_down(service: &Service, connection: &Connection, runtime: &SharedRuntime, log: &Log) {
    if let Err(error) = connection.release_name(names::BUS_NAME).await {
        log.write(Line::warning("name-not-released").with("cause", error));
    }
    let last = async {
        runtime.sleep(LAST_CALLS).await;
        service.calls_over().await;
    };
    // A call that is still open after this time limit gets no answer.
    or(last, async {
        runtime.sleep(LAST_ANSWERS).await;
    })
    .await;
}
