//! The daemon: it serves the bus, follows the kernel, and knows when to leave.

pub mod manager;
mod pace;

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use sd_notify::NotifyState;
use zbus::Connection;
use zbus::connection::Builder;
use zruntime::{AsyncIo, SharedRuntime};

use airpods_dbus::names;

use crate::authority::Authority;
use crate::bus::{self, BusError, Service};
use crate::keeper::{Keeper, VERSION};
use crate::kernel::{Kernel, KernelError, Watch};
use crate::log::{Line, Log};
use crate::state::Places;
use manager::ServiceManager;
use pace::Pace;

/// How long calls that are being answered may take to be over when the helper leaves.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long a call that the bus has delivered already may take to be read.
const LAST_CALLS: Duration = Duration::from_millis(50);

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
    /// `bus` says where the bus is, `authority` is made once it is reached, and `stop` completes when the daemon is
    /// asked to stop.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn run(
        self,
        bus: Builder<'_>,
        authority: impl FnOnce(&Connection) -> Box<dyn Authority>,
        stop: impl Future<Output = ()>,
    ) -> Result<Ending, DaemonError> {
        let Self { runtime, kernel, places, log, patience, manager } = self;
        let mut keeper = Keeper::new(kernel, places, log.clone());
        let watch = watch(&mut keeper, &log)?;
        let service = Service::new(keeper, log.clone(), runtime.clone());
        let connection = bus::join(bus, &service, authority).await?;
        // Only now: a second helper, which does not get the name, has not touched the first one's table.
        let look_again = service.keeper().tend(&[], Instant::now());
        service.announce(&connection).await;
        log.write(Line::info("started").with("version", VERSION).with("name", names::BUS_NAME));
        tell(&*manager, &[NotifyState::Ready], &log);

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
        let followed = async { Err(follow(&service, &connection, &runtime, watch, look_again).await) };
        let ending = or(stopped, or(lost, or(followed, unused))).await?;

        service.leave();
        log.write(Line::info("stopping").with("cause", if ending == Ending::Stopped { "asked to" } else { "unused" }));
        if !manager.is_there() {
            service.keeper().withdraw();
        }
        tell(&*manager, &[NotifyState::Stopping], &log);
        step_down(&service, &connection, &runtime, &log).await;
        service.keeper().stop();
        Ok(ending)
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
async fn follow(
    service: &Service,
    connection: &Connection,
    runtime: &SharedRuntime,
    watch: Option<Box<dyn Watch>>,
    mut look_again: Option<Duration>,
) -> DaemonError {
    let Some(mut watch) = watch else { return std::future::pending().await };
    let watched = watch.as_fd().try_clone_to_owned().and_then(|descriptor| AsyncIo::new(runtime, descriptor));
    let watched = match watched {
        Ok(watched) => watched,
        Err(error) => return DaemonError::Wait(error),
    };
    let mut pace = Pace::default();
    loop {
        let due = async {
            match look_again {
                Some(wait) => runtime.sleep(wait).await,
                None => std::future::pending().await,
            }
            Ok(true)
        };
        let is_due = match or(async { watched.readable().await.map(|()| false) }, due).await {
            Ok(is_due) => is_due,
            Err(error) => return DaemonError::Wait(error),
        };
        let events = match watch.drain() {
            Ok(events) => events,
            Err(error) => return DaemonError::Watch(error),
        };
        if events.is_empty() && !is_due {
            continue;
        }
        look_again = service.keeper().tend(&events, Instant::now());
        service.announce(connection).await;
        runtime.sleep(pace.pause(Instant::now())).await;
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
    // Who is still being asked for a password then is not waited for.
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
