//! The daemon: it serves the bus, follows the kernel, and knows when to leave.

pub mod systemd;

use std::convert::Infallible;
use std::future::pending;
use std::io;
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
use crate::bus::{self, BusError, Service};
use crate::kernel::{self, Events, Kernel, KernelError};
use crate::log::{Line, Log};
use crate::reconcile::{Reconciler, VERSION};
use crate::state::Places;
use systemd::{Readiness, Ready, ServiceManager, Watchdog};

/// How long calls that are being answered may take to be over when the helper leaves.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long a call that the bus has delivered already may take to be read.
const LAST_CALLS: Duration = Duration::from_millis(50);

/// How long a helper that the service manager starts waits for the bus, which comes late in a boot.
const BUS_PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks for the bus meanwhile.
const BUS_LOOKS: Duration = Duration::from_millis(100);

/// The parts of the daemon.
pub struct Daemon {
    /// The runtime that runs it.
    pub runtime: SharedRuntime,
    /// The kernel.
    pub kernel: Box<dyn Kernel>,
    /// Where state lives.
    pub places: Places,
    /// Where log lines go.
    pub log: Log,
    /// How long to stay while nobody has use for it.
    pub patience: Duration,
    /// The service manager.
    pub manager: Box<dyn ServiceManager>,
}

/// Why a daemon ends that has nothing to complain about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to stop.
    Stopped,
    /// Nobody had use for it.
    Unused,
}

/// Why a daemon ends that would rather not.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It is not on the bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus has gone away.
    #[error("the connection to the bus is lost")]
    BusLost,
    /// The kernel cannot be watched any more.
    #[error("cannot watch the kernel: {0}")]
    Events(#[source] KernelError),
    /// The runtime cannot wait for the kernel.
    #[error("cannot wait for the kernel: {0}")]
    Wait(#[source] io::Error),
}

impl Daemon {
    /// Runs until it is asked to stop, is no longer needed, or cannot go on.
    ///
    /// `bus` is where the bus is, `authority` is made once it is reached, and `stop` completes when the daemon is
    /// asked to stop.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn run(
        self,
        bus: &Address,
        authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
        stop: impl Future<Output = ()>,
    ) -> Result<Ending, DaemonError> {
        let Self { runtime, kernel, places, log, patience, manager } = self;
        let mut reconciler = Reconciler::new(kernel, places, log.clone());
        let watched = KernelEvents::of(&mut reconciler, &runtime, &log)?;
        let service = Service::new(reconciler, log.clone(), runtime.clone());
        let (connection, looked) = (OnceCell::new(), Event::new());
        let present = Present { service, connection, looked, runtime, log, manager };
        // In this order: the rules are made before the bus is looked for.
        let followed = async { present.follow(watched).await.map(|never| match never {}) };
        let ending = or(followed, present.live(bus, authority, patience, stop)).await?;
        present.leave(ending).await;
        Ok(ending)
    }
}

/// The daemon at work.
struct Present {
    service: Arc<Service>,
    /// Set once it has the name.
    connection: OnceCell<Connection>,
    /// Notified when the kernel has been looked at, and there may be news to announce.
    looked: Event,
    runtime: SharedRuntime,
    log: Log,
    manager: Box<dyn ServiceManager>,
}

impl Present {
    /// Joins the bus, and serves until there is a reason to leave.
    async fn live(
        &self,
        bus: &Address,
        authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
        patience: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<Ending, DaemonError> {
        let mut stop = pin!(stop);
        let stopped = async {
            stop.as_mut().await;
            Ok(None)
        };
        let Some(connection) = or(stopped, async { self.join(bus).await.map(Some) }).await? else {
            return Ok(Ending::Stopped);
        };
        // Calls that arrive once the bus has given the name are answered: nothing stops the helper halfway.
        bus::take_name(&connection, &self.service, authority).await?;
        if !self.manager.is_there() {
            // This precedes the first answer to anybody. The loop, which begins now, sees any work that is left.
            self.service.reconciler().tend(&[], Instant::now());
        }
        let connection = self.connection.get_or_init(|| async { connection }).await;
        self.service.announce(connection).await;
        self.log.write(Line::info("started").with("version", VERSION).with("name", names::BUS_NAME));
        let stopped = async {
            stop.await;
            Ok(Ending::Stopped)
        };
        let unused = async {
            self.service.unused_for(patience).await;
            Ok(Ending::Unused)
        };
        let lost = async {
            connection.closed().await;
            Err(DaemonError::BusLost)
        };
        let announced = async {
            loop {
                let looked = self.looked.listen();
                self.service.announce(connection).await;
                looked.await;
            }
        };
        or(stopped, or(lost, or(announced, unused))).await
    }

    /// Reaches the bus. Under a service manager it may take its time to come up.
    async fn join(&self, bus: &Address) -> Result<Connection, BusError> {
        let begun = Instant::now();
        let deadline = if self.manager.is_there() { begun + BUS_PATIENCE } else { begun };
        let mut has_waited = false;
        loop {
            // The listener may be systemd itself, until it has started the bus.
            let reached = or(bus::reach(bus, &self.service), async {
                self.runtime.sleep_until(begun + BUS_PATIENCE).await;
                Err(BusError::Unreachable(io::Error::from(io::ErrorKind::TimedOut).into()))
            });
            match reached.await {
                Err(error) if Instant::now() + BUS_LOOKS < deadline => {
                    if !has_waited {
                        self.log.write(Line::info("waiting-for-bus").with("cause", error));
                    }
                    has_waited = true;
                }
                reached => return reached,
            }
            self.runtime.sleep(BUS_LOOKS).await;
        }
    }

    /// Makes the kernel hold what it ought to, at once and whenever something happens there. Completes only if that is
    /// impossible.
    ///
    /// Under a service manager, which starts no second helper, that needs no bus: in a boot the network comes up first, and VPNs
    /// with it. Elsewhere it begins with the name: a second helper, which does not get it, does not touch the first one's table.
    ///
    /// The sign of life is given from here, after the kernel has been looked at: a netlink call that does not return, a runtime
    /// that does not run and a signal that cannot be sent end it, while a call that waits for a password does not.
    async fn follow(&self, mut watched: KernelEvents) -> Result<Infallible, DaemonError> {
        if !self.manager.is_there() {
            self.connection.wait().await;
        }
        let now = Instant::now();
        let (mut readiness, mut watchdog) = (Readiness::new(now), Watchdog::new(self.manager.watchdog(), now));
        let mut pace = Backoff::new(backoff::EVENTS);
        let mut events = Vec::new();
        loop {
            let look_again = self.service.reconciler().tend(&events, Instant::now());
            self.service.keep_names();
            self.tell_ready(&mut readiness);
            // A bus that does not read holds nobody up here.
            self.looked.notify(usize::MAX);
            if watchdog.beats(Instant::now()) {
                self.tell(&[NotifyState::Watchdog]);
            }
            pace.hit(Instant::now());
            self.runtime.sleep(pace.wait(Instant::now())).await;
            let now = Instant::now();
            let waits = [look_again, watchdog.wait(now), readiness.wait(now)];
            events = watched.next(waits.into_iter().flatten().min()).await?;
        }
    }

    fn tell_ready(&self, readiness: &mut Readiness) {
        let is_in_force = self.service.reconciler().is_in_force();
        match readiness.news(is_in_force, Instant::now()) {
            None => return,
            Some(Ready::WithRules) => {}
            Some(Ready::WithoutRules) => {
                let line = Line::warning("ready-without-rules");
                self.log.write(
                    line.with("hint", "they are tried again; `rules-refused` or `kernel-not-read` above has the cause"),
                );
            }
        }
        self.tell(&[NotifyState::Ready]);
    }

    /// Tells the service manager, if there is one.
    fn tell(&self, news: &[NotifyState<'_>]) {
        if let Err(error) = self.manager.tell(news) {
            self.log.write(Line::warning("service-manager-not-told").with("cause", error));
        }
    }

    /// Leaves the bus as a helper that ends should, and without a service manager the kernel, too; a service manager runs
    /// [`crate::after_stop`].
    async fn leave(&self, ending: Ending) {
        self.service.leave();
        let cause = if ending == Ending::Stopped { "asked to" } else { "unused" };
        self.log.write(Line::info("stopping").with("cause", cause));
        // Without the name it has not touched the table where there is no service manager; it may be another helper's.
        let Some(connection) = self.connection.get() else { return };
        if !self.manager.is_there() {
            self.service.reconciler().withdraw();
        }
        self.tell(&[NotifyState::Stopping]);
        step_down(&self.service, connection, &self.runtime, &self.log).await;
    }
}

/// The source of kernel events. There is none if the kernel cannot be watched.
struct KernelEvents {
    watch: Option<(Box<dyn Events>, AsyncIo<OwnedFd, Shared>)>,
    runtime: SharedRuntime,
}

impl KernelEvents {
    /// Begins to watch. A kernel without `nf_tables` can be served without being watched: every call says what is missing.
    fn of(reconciler: &mut Reconciler, runtime: &SharedRuntime, log: &Log) -> Result<Self, DaemonError> {
        let watch = match reconciler.events() {
            Ok(watch) => {
                let descriptor = watch.as_fd().try_clone_to_owned();
                let descriptor = descriptor.and_then(|descriptor| AsyncIo::new(runtime, descriptor));
                Some((watch, descriptor.map_err(DaemonError::Wait)?))
            }
            Err(cause @ KernelError::Unsupported { .. }) => {
                log.write(Line::error("kernel-unsupported").with("cause", cause));
                None
            }
            Err(cause) => return Err(DaemonError::Events(cause)),
        };
        Ok(Self { watch, runtime: runtime.clone() })
    }

    /// The next events. There may be none once it has taken `wait`.
    async fn next(&mut self, wait: Option<Duration>) -> Result<Vec<kernel::Event>, DaemonError> {
        let until = wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            let readable = async {
                match &self.watch {
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
            let is_due = or(readable, due).await.map_err(DaemonError::Wait)?;
            let drained = self.watch.as_mut().map(|(watch, _)| watch.drain());
            let events = drained.transpose().map_err(DaemonError::Events)?.unwrap_or_default();
            if is_due || !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// Leaves the bus without losing a call: the service manager has been told, so that it starts a new helper for whoever
/// calls from now on; what the bus delivered before it took the name back is still answered.
async fn step_down(service: &Service, connection: &Connection, runtime: &SharedRuntime, log: &Log) {
    if let Err(error) = connection.release_name(names::BUS_NAME).await {
        log.write(Line::warning("name-not-released").with("cause", error));
    }
    let last = async {
        runtime.sleep(LAST_CALLS).await;
        service.calls_over().await;
    };
    // Nobody is waited for who does not answer.
    or(last, async {
        runtime.sleep(LAST_ANSWERS).await;
    })
    .await;
}
