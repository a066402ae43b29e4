//! A private bus with the helper on it: a real bus daemon, the shipped bus policy, a recording
//! authority and a simulated kernel.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

mod daemon;
mod systemd;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use airpods_dbus::{Error, ErrorKind, HelperProxy, LinkKind, LinkName};
use airpods_helper::authority::{Authority, Polkit};
use airpods_helper::bus::Service;
use airpods_helper::daemon::{Daemon, ExitReason};
use airpods_helper::doubles::{LinesKept, Recording, Simulated};
use airpods_helper::failure::Failure;
use airpods_helper::kernel::{Kernel, Link, Routes};
use airpods_helper::log::{Line, Log};
use airpods_helper::reconcile::Reconciler;
use airpods_helper::state::StateDirs;
use airpods_lab::BusDaemon;
use tempfile::TempDir;
use zbus::proxy::CacheProperties;
use zbus::{Address, Connection};
use zruntime::{Event, SharedRuntime};

pub use daemon::PrivateBus;
pub use systemd::Manager;

/// Time limit for every wait of a test.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Ordinary users on every Debian system. The bus daemon rejects users that the system does not
/// know.
pub const DAEMON: u32 = 1;
pub const NOBODY: u32 = 65534;

/// The repository's root.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The helper, running in a thread of the test process.
pub struct Helper {
    pub bus: PrivateBus,
    pub kernel: Simulated,
    pub authority: Recording,
    pub lines: LinesKept,
    log: Log,
    pub state_dirs: StateDirs,
    pub manager: Manager,
    stop: Arc<Event>,
    thread: Option<JoinHandle<Result<ExitReason, Failure>>>,
    _folder: TempDir,
}

/// The settings that a test may choose for its helper.
pub struct Setup {
    pub bus: BusDaemon,
    pub authority: Recording,
    /// Whether the helper asks polkit on the private bus instead of the recording authority.
    pub asks_polkit: bool,
    pub links: Vec<Link>,
    pub idle_timeout: Duration,
    pub state: Option<&'static str>,
    pub manager: Manager,
    /// Wraps the simulated kernel for the helper.
    pub view: Box<dyn FnOnce(Simulated) -> Box<dyn Kernel>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            bus: BusDaemon::default(),
            authority: Recording::allowing(),
            asks_polkit: false,
            links: vec![wireguard("wg0"), wireguard("wg1"), link("eth0", ""), link("br0", "bridge")],
            idle_timeout: Duration::from_secs(600),
            state: None,
            manager: Manager::default(),
            view: Box::new(|kernel| Box::new(kernel)),
        }
    }
}

impl Helper {
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    pub fn asking(authority: Recording) -> Self {
        Self::with(Setup { authority, ..Setup::default() })
    }

    pub fn with(setup: Setup) -> Self {
        Self::on(PrivateBus::start_of(setup.bus), setup)
    }

    pub fn on(bus: PrivateBus, setup: Setup) -> Self {
        let folder = TempDir::new().unwrap();
        let state_dirs = StateDirs { runtime: folder.path().join("run"), persistent: folder.path().join("lib") };
        fs::create_dir(&state_dirs.runtime).unwrap();
        fs::create_dir(&state_dirs.persistent).unwrap();
        if let Some(text) = setup.state {
            fs::write(state_dirs.runtime.join(airpods_helper::state::FILE), text).unwrap();
        }
        let (kernel, (log, lines)) = (Simulated::with_links(setup.links), LinesKept::log());
        let recording = (!setup.asks_polkit).then(|| setup.authority.clone());
        let manager = setup.manager;
        let daemon = Parts {
            log: log.clone(),
            state_dirs: state_dirs.clone(),
            idle_timeout: setup.idle_timeout,
            manager: manager.clone(),
        };
        let (stop, thread) = run(&bus, (setup.view)(kernel.clone()), recording, daemon);
        let thread = Some(thread);
        let authority = setup.authority;
        let helper = Self { bus, kernel, authority, lines, log, state_dirs, manager, stop, thread, _folder: folder };
        helper
            .wait_until("the helper has its name", || helper.lines.all().iter().any(|line| line.event() == "started"));
        helper
    }

    /// Moves logging to a separate thread, as in the program, and blocks that thread. It goes on
    /// when the returned sender is dropped, or after a minute: a failing test reads the lines.
    pub fn stop_journal(&self) -> mpsc::Sender<()> {
        self.log.write_in_the_background().unwrap();
        let (release, released) = mpsc::channel();
        let (lines, (holds, held)) = (self.lines.clone(), mpsc::channel());
        thread::spawn(move || {
            let _lines = lines.hold();
            holds.send(()).unwrap();
            let _ = released.recv_timeout(Duration::from_secs(60));
        });
        held.recv().unwrap();
        release
    }

    /// A client with this process's user.
    pub fn client(&self) -> Client {
        Client::on(self.bus.connect())
    }

    /// A client with another user.
    pub fn client_of(&self, uid: u32) -> Client {
        Client::on(self.bus.connect_as(uid))
    }

    /// Waits until a password prompt is open.
    pub fn wait_for_prompt(&self) {
        self.wait_until("the prompt is open", || self.authority.prompts() == 1);
    }

    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !is_so() {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(Instant::now() < deadline && !ended, "not in time: {what}\n{}", self.log_text());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The links that the rules name.
    pub fn clamped(&self) -> Vec<String> {
        let table = self.kernel.table().unwrap_or_default();
        table.route.iter().chain(table.fixed.keys()).map(ToString::to_string).collect()
    }

    /// The log lines of mutating calls.
    pub fn audit(&self) -> Vec<Line> {
        self.lines
            .all()
            .into_iter()
            .filter(|line| line.field("action").is_some() && line.field("result").is_some())
            .collect()
    }

    pub fn log_text(&self) -> String {
        self.lines.all().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits until the helper ends by itself.
    pub fn wait_for_end(&mut self) -> Result<ExitReason, Failure> {
        let deadline = Instant::now() + TIMEOUT;
        while self.is_running() {
            assert!(Instant::now() < deadline, "it does not end\n{}", self.log_text());
            thread::sleep(Duration::from_millis(2));
        }
        self.thread.take().unwrap().join().unwrap()
    }

    /// Stops the helper as SIGTERM would.
    pub fn stop(&mut self) -> Result<ExitReason, Failure> {
        self.stop.notify(1);
        self.wait_for_end()
    }

    /// Runs a second helper beside this one, until it ends.
    pub fn run_another(&self) -> Result<ExitReason, Failure> {
        let daemon = Parts { manager: Manager { is_there: false, ..Manager::default() }, ..self.parts() };
        let (_stop, thread) = run(&self.bus, Box::new(self.kernel.clone()), Some(self.authority.clone()), daemon);
        thread.join().unwrap()
    }

    fn parts(&self) -> Parts {
        let (log, state_dirs, manager) = (self.log.clone(), self.state_dirs.clone(), self.manager.clone());
        Parts { log, state_dirs, idle_timeout: Duration::from_secs(600), manager }
    }

    /// Starts the helper again with the same kernel and state.
    pub fn start_again(&mut self) {
        let count = || self.lines.all().iter().filter(|line| line.event() == "started").count();
        let before = count();
        let kernel = Box::new(self.kernel.clone());
        let (stop, thread) = run(&self.bus, kernel, Some(self.authority.clone()), self.parts());
        self.stop = stop;
        self.thread = Some(thread);
        self.wait_until("it has started again", || count() > before);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stop.notify(1);
        if let Some(thread) = self.thread.take() {
            // A panic of the helper has failed the test already.
            drop(thread.join());
        }
    }
}

/// The parts of a daemon, except its kernel and its runtime.
struct Parts {
    log: Log,
    state_dirs: StateDirs,
    idle_timeout: Duration,
    manager: Manager,
}

fn run(
    bus: &PrivateBus,
    kernel: Box<dyn Kernel>,
    recording: Option<Recording>,
    parts: Parts,
) -> (Arc<Event>, JoinHandle<Result<ExitReason, Failure>>) {
    let stop = Arc::new(Event::new());
    let (address, asked) = (bus.address(), Arc::clone(&stop));
    let Parts { log, state_dirs, idle_timeout, manager } = parts;
    let thread = thread::spawn(move || {
        let asked = asked.listen();
        zruntime::block_on(async move {
            let runtime = SharedRuntime::current().unwrap();
            let reconciler = Reconciler::new(kernel, state_dirs, log.clone());
            let service = Service::new(reconciler, log, runtime.clone());
            let daemon = Daemon::new(service, idle_timeout, manager.into());
            let authority = |connection: &Connection| -> Box<dyn Authority> {
                match recording {
                    Some(recording) => Box::new(recording),
                    None => Box::new(Polkit::over(connection.clone(), runtime)),
                }
            };
            daemon.run(&Address::try_from(address.as_str()).unwrap(), authority, asked).await
        })
    });
    (stop, thread)
}

/// A client of the helper.
pub struct Client {
    pub connection: Connection,
    pub helper: HelperProxy<'static>,
}

impl Client {
    pub fn on(connection: Connection) -> Self {
        let helper = HelperProxy::builder(&connection).cache_properties(CacheProperties::No).build();
        Self { helper: zruntime::block_on(helper).unwrap(), connection }
    }

    pub fn on_link(&self, link: &str) -> Result<bool, Error> {
        self.on_with(link, airpods_dbus::ClampOptions::default())
    }

    pub fn on_with(&self, link: &str, options: airpods_dbus::ClampOptions) -> Result<bool, Error> {
        zruntime::block_on(self.helper.clamp_on(link, options.to_wire())).map_err(|error| ours(&error))
    }

    pub fn off(&self, link: &str) -> Result<bool, Error> {
        zruntime::block_on(self.helper.clamp_off(link)).map_err(|error| ours(&error))
    }

    /// The same, but the call allows a password prompt.
    pub fn on_asking(&self, link: &str) -> Result<bool, Error> {
        zruntime::block_on(self.helper.clamp_on_asking(link, HashMap::new())).map_err(|error| ours(&error))
    }

    pub fn reset(&self) -> Result<bool, Error> {
        zruntime::block_on(self.helper.reset()).map_err(|error| ours(&error))
    }

    pub fn status(&self) -> airpods_dbus::Status {
        zruntime::block_on(self.helper.get_status()).unwrap()
    }

    pub fn name(&self) -> String {
        self.connection.unique_name().unwrap().to_string()
    }
}

/// The contract's error inside a bus error; anything else fails the test.
#[track_caller]
pub fn ours(error: &zbus::Error) -> Error {
    Error::from_bus(error).unwrap_or_else(|| panic!("an error outside the contract: {error:?}"))
}

#[track_caller]
pub fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// The details of a question about a call without options.
pub fn details(interface: &str, operation: &str, kept_now: &str) -> Vec<(&'static str, String)> {
    let mut details = vec![("interface", interface.to_owned()), ("operation", operation.to_owned())];
    if operation == "clamp-on" {
        details.extend([("mtu", "route".to_owned()), ("persist", "no".to_owned())]);
    }
    details.push(("kept-now", kept_now.to_owned()));
    details
}

pub fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

pub fn link(text: &str, info_kind: &str) -> Link {
    let kind = LinkKind { info_kind: info_kind.to_owned(), tun_type: None, hardware: 1 };
    Link { name: name(text), kind, mtu: 1420, up: true, routes: Routes { any: true, mtu: None } }
}

pub fn wireguard(text: &str) -> Link {
    link(text, "wireguard")
}
