//! The daemon: it serves the bus, follows the kernel, and knows when to leave.

pub mod manager;
mod pace;
mod pulse;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use sd_notify::NotifyState;
use zbus::{Address, Connection};
use zruntime::{AsyncIo, Shared, SharedRuntime};

use airpods_dbus::names;

use crate::authority::Authority;
use crate::bus::{self, BusError, Service};
use crate::keeper::{Keeper, VERSION};
use crate::kernel::{Kernel, KernelError, Watch};
use crate::log::{Line, Log};
use crate::state::Places;
use manager::ServiceManager;
use pace::Pace;
use pulse::Pulse;

/// How long calls that are being answered may take to be over when the helper leaves.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long a call that the bus has delivered already may take to be read.
const LAST_CALLS: Duration = Duration::from_millis(50);

/// How long a helper that the service manager starts waits for the bus, which comes late in a boot.
const BUS_PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks for the bus meanwhile.
const BUS_LOOKS: Duration = Duration::from_millis(100);

/// What the daemon is made of.
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
    Watch(#[source] KernelError),
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
        let mut stop = pin!(stop);
        let mut keeper = Keeper::new(kernel, places, log.clone());
        let watch = watch(&mut keeper, &log)?;
        if manager.is_there() {
            // It starts no second helper, so the rules need not wait for the name: in a boot the network comes up before the bus.
            keeper.tend(&[], Instant::now());
            tell(&*manager, &[NotifyState::Ready], &log);
        }
        let service = Service::new(keeper, log.clone(), runtime.clone());
        let joined = join(bus, &service, manager.is_there(), &runtime, &log);
        let stopped = async {
            stop.as_mut().await;
            Ok(None)
        };
        let Some(connection) = or(stopped, async { joined.await.map(Some) }).await? else {
            log.write(Line::info("stopping").with("cause", "asked to"));
            service.keeper().stop();
            return Ok(Ending::Stopped);
        };
        let present = Present { service, connection, runtime, log, manager };
        let look_again = present.begin(authority).await?;
        let ending = present.stay(watch, look_again, patience, stop).await?;
        present.leave(ending).await;
        Ok(ending)
    }
}

/// The daemon while it is on the bus.
struct Present {
    service: Arc<Service>,
    connection: Connection,
    runtime: SharedRuntime,
    log: Log,
    manager: Box<dyn ServiceManager>,
}

impl Present {
    /// Takes the name. Returns after how long the kernel is to be looked at again.
    async fn begin(
        &self,
        authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
    ) -> Result<Option<Duration>, DaemonError> {
        bus::take_name(&self.connection, &self.service, authority).await?;
        // Without a service manager only now: a second helper, which does not get the name, has not touched the first one's
        // table.
        let look_again = self.service.keeper().tend(&[], Instant::now());
        self.service.announce(&self.connection).await;
        self.log.write(Line::info("started").with("version", VERSION).with("name", names::BUS_NAME));
        if !self.manager.is_there() {
            tell(&*self.manager, &[NotifyState::Ready], &self.log);
        }
        Ok(look_again)
    }

    /// Serves until there is a reason to leave.
    async fn stay(
        &self,
        watch: Option<Box<dyn Watch>>,
        look_again: Option<Duration>,
        patience: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<Ending, DaemonError> {
        let Self { service, connection, runtime, log, manager } = self;
        let stopped = async {
            stop.await;
            Ok(Ending::Stopped)
        };
        let unused = async {
            service.unused_for(patience).await;
            Ok(Ending::Unused)
        };
        let lost = async {
            connection.closed().await;
            Err(DaemonError::BusLost)
        };
        let refused = async { match service.refuse(connection).await {} };
        let pulse = Pulse::new(manager.watchdog(), Instant::now());
        let alive = || tell(&**manager, &[NotifyState::Watchdog], log);
        let followed = async { Err(follow(service, connection, runtime, watch, look_again, pulse, alive).await) };
        or(stopped, or(lost, or(followed, or(refused, unused)))).await
    }

    /// Leaves the bus and the kernel as a helper that ends should.
    async fn leave(&self, ending: Ending) {
        let Self { service, connection, runtime, log, manager } = self;
        service.leave();
        log.write(Line::info("stopping").with("cause", if ending == Ending::Stopped { "asked to" } else { "unused" }));
        if !manager.is_there() {
            service.keeper().withdraw();
        }
        tell(&**manager, &[NotifyState::Stopping], log);
        step_down(service, connection, runtime, log).await;
        service.keeper().stop();
    }
}

/// Reaches the bus. With `patience` it may take its time to come up.
async fn join(
    bus: &Address,
    service: &Arc<Service>,
    patience: bool,
    runtime: &SharedRuntime,
    log: &Log,
) -> Result<Connection, BusError> {
    if !patience {
        return bus::reach(bus, service).await;
    }
    let deadline = Instant::now() + BUS_PATIENCE;
    let mut has_waited = false;
    loop {
        // What listens there may be the service manager, until it has started the bus.
        let reached = runtime.timeout_at(deadline, bus::reach(bus, service)).await;
        match reached
            .unwrap_or_else(|_| Err(BusError::Unreachable(zbus::Error::from(io::Error::from(io::ErrorKind::TimedOut)))))
        {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() + BUS_LOOKS >= deadline => return Err(error),
            Err(error) if !has_waited => {
                log.write(Line::info("waiting-for-bus").with("cause", error));
                has_waited = true;
            }
            Err(_) => {}
        }
        runtime.sleep(BUS_LOOKS).await;
    }
}

/// A kernel without `nf_tables` can be served without being watched: every call says what is missing.
fn watch(keeper: &mut Keeper, log: &Log) -> Result<Option<Box<dyn Watch>>, DaemonError> {
    match keeper.watch() {
        Ok(watch) => Ok(Some(watch)),
        Err(cause @ KernelError::Unsupported { .. }) => {
            log.write(Line::error("kernel-unsupported").with("cause", cause));
            Ok(None)
        }
        Err(cause) => Err(DaemonError::Watch(cause)),
    }
}

/// Makes the kernel hold what it ought to, whenever something happens there. Completes only if that is impossible.
///
/// The sign of life is given from here, after the kernel has been looked at: a netlink call that does not return, a runtime
/// that does not run and a signal that cannot be sent end it, while a call that waits for a password does not.
async fn follow(
    service: &Service,
    connection: &Connection,
    runtime: &SharedRuntime,
    watch: Option<Box<dyn Watch>>,
    mut look_again: Option<Duration>,
    mut pulse: Pulse,
    alive: impl Fn(),
) -> DaemonError {
    let mut watched = match watch.map(|watch| Watched::new(watch, runtime)).transpose() {
        Ok(watched) => watched,
        Err(error) => return DaemonError::Wait(error),
    };
    let mut pace = Pace::default();
    loop {
        let wait = look_again.into_iter().chain(pulse.wait(Instant::now())).min();
        let due = async {
            match wait {
                Some(wait) => runtime.sleep(wait).await,
                None => std::future::pending().await,
            }
            Ok(true)
        };
        let is_due = match or(async { readable(watched.as_ref()).await.map(|()| false) }, due).await {
            Ok(is_due) => is_due,
            Err(error) => return DaemonError::Wait(error),
        };
        let events = match watched.as_mut().map_or_else(|| Ok(Vec::new()), |watched| watched.watch.drain()) {
            Ok(events) => events,
            Err(error) => return DaemonError::Watch(error),
        };
        if events.is_empty() && !is_due {
            continue;
        }
        look_again = service.keeper().tend(&events, Instant::now());
        service.announce(connection).await;
        if pulse.beats(Instant::now()) {
            alive();
        }
        runtime.sleep(pace.pause(Instant::now())).await;
    }
}

/// A watch whose descriptor the runtime waits for.
struct Watched {
    watch: Box<dyn Watch>,
    descriptor: AsyncIo<OwnedFd, Shared>,
}

impl Watched {
    fn new(watch: Box<dyn Watch>, runtime: &SharedRuntime) -> io::Result<Self> {
        let descriptor = AsyncIo::new(runtime, watch.as_fd().try_clone_to_owned()?)?;
        Ok(Self { watch, descriptor })
    }
}

/// Completes when there are events; never for a kernel that cannot be watched.
async fn readable(watched: Option<&Watched>) -> io::Result<()> {
    match watched {
        Some(watched) => watched.descriptor.readable().await.map(drop),
        None => std::future::pending().await,
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

/// Tells the service manager, if there is one.
fn tell(manager: &dyn ServiceManager, news: &[NotifyState<'_>], log: &Log) {
    if let Err(error) = manager.tell(news) {
        log.write(Line::warning("service-manager-not-told").with("cause", error));
    }
}
