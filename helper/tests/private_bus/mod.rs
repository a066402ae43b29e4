//! A bus of the test's own, with the helper on it: real bus daemon, shipped bus policy, recording authority,
//! simulated kernel.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use airpods_dbus::{Error, ErrorKind, HelperProxy, LinkKind, LinkName};
use airpods_helper::authority::recording::Recording;
use airpods_helper::authority::{Authority, Polkit};
use airpods_helper::daemon::manager::ServiceManager;
use airpods_helper::daemon::{Daemon, DaemonError, Ending};
use airpods_helper::kernel::simulated::Simulated;
use airpods_helper::kernel::{Kernel, Link};
use airpods_helper::log::{Line, Log};
use airpods_helper::state::Places;
use sd_notify::NotifyState;
use tempfile::TempDir;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::proxy::CacheProperties;
use zruntime::{Event, SharedRuntime};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A `dbus-daemon` with the policy of a system bus and the helper's own, killed when dropped or when the test dies.
pub struct PrivateBus {
    daemon: Child,
    folder: TempDir,
}

impl PrivateBus {
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let config = folder.path().join("bus.conf");
        fs::write(&config, config_text(&folder)).unwrap();
        let mut daemon = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--print-address"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            // It complains about a user and limits that a test need not have.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("unix:path="), "dbus-daemon did not start: {address}");
        Self { daemon, folder }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    pub fn connect(&self) -> Connection {
        zruntime::block_on(Builder::address(self.address().as_str()).method_timeout(PATIENCE).build()).unwrap()
    }

    /// A program of the bus's own family, run as another user.
    pub fn program_as(&self, uid: u32, program: &str, arguments: &[&str]) -> (bool, String) {
        use std::os::unix::process::CommandExt;
        let address = self.address();
        let arguments = arguments.iter().map(|argument| argument.replace("ADDRESS", &address));
        let output = Command::new(program).args(arguments).uid(uid).gid(uid).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (output.status.success(), text)
    }

    /// Stops the bus daemon, as a restart of the bus would.
    pub fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        // It may have been stopped already.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn config_text(folder: &TempDir) -> String {
    let shipped = repository().join("dbus/org.airpods.Helper1.conf");
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
  </policy>
  <policy user="root">
    <allow own="org.freedesktop.PolicyKit1"/>
  </policy>
  <include>{}</include>
</busconfig>
"#,
        folder.path().join("bus").display(),
        shipped.display()
    )
}

/// The repository's root.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The helper, running in a thread of the test.
pub struct Helper {
    pub bus: PrivateBus,
    pub kernel: Simulated,
    pub authority: Recording,
    pub log: Log,
    pub places: Places,
    pub manager: Manager,
    stop: Arc<Event>,
    thread: Option<JoinHandle<Result<Ending, DaemonError>>>,
    _folder: TempDir,
}

/// What a test may choose about its helper.
pub struct Choice {
    pub authority: Recording,
    /// Asks polkit on the private bus, in the place of the recording authority.
    pub asks_polkit: bool,
    pub links: Vec<Link>,
    pub patience: Duration,
    pub state: Option<&'static str>,
    pub manager: Manager,
    /// What the helper sees of the simulated kernel.
    pub view: Box<dyn FnOnce(Simulated) -> Box<dyn Kernel>>,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            authority: Recording::saying_yes(),
            asks_polkit: false,
            links: vec![wireguard("wg0"), wireguard("wg1"), link("eth0", ""), link("br0", "bridge")],
            patience: Duration::from_secs(600),
            state: None,
            manager: Manager::default(),
            view: Box::new(|kernel| Box::new(kernel)),
        }
    }
}

impl Helper {
    pub fn start() -> Self {
        Self::with(Choice::default())
    }

    pub fn asking(authority: Recording) -> Self {
        Self::with(Choice { authority, ..Choice::default() })
    }

    pub fn with(choice: Choice) -> Self {
        Self::on(PrivateBus::start(), choice)
    }

    pub fn on(bus: PrivateBus, choice: Choice) -> Self {
        let folder = TempDir::new().unwrap();
        let places = Places { runtime: folder.path().join("run"), persistent: folder.path().join("lib") };
        fs::create_dir(&places.runtime).unwrap();
        fs::create_dir(&places.persistent).unwrap();
        if let Some(text) = choice.state {
            fs::write(places.runtime.join(airpods_helper::state::FILE), text).unwrap();
        }
        let (kernel, log) = (Simulated::with_links(choice.links), Log::in_memory());
        let recording = (!choice.asks_polkit).then(|| choice.authority.clone());
        let manager = choice.manager;
        let daemon =
            Parts { log: log.clone(), places: places.clone(), patience: choice.patience, manager: manager.clone() };
        let (stop, thread) = run(&bus, (choice.view)(kernel.clone()), recording, daemon);
        let thread = Some(thread);
        let authority = choice.authority;
        let helper = Self { bus, kernel, authority, log, places, manager, stop, thread, _folder: folder };
        helper
            .wait_until("the helper has its name", || helper.log.lines().iter().any(|line| line.event() == "started"));
        helper
    }

    /// Calls as this process' user, without allowing interaction.
    pub fn client(&self) -> Client {
        Client::on(self.bus.connect())
    }

    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(Instant::now() < deadline && !ended, "not in time: {what}\n{}", self.log_text());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The names of the links that the rules name.
    pub fn clamped(&self) -> Vec<String> {
        let table = self.kernel.table().unwrap_or_default();
        table.route.iter().chain(table.fixed.keys()).map(ToString::to_string).collect()
    }

    /// The lines of mutating calls.
    pub fn audit(&self) -> Vec<Line> {
        self.log
            .lines()
            .into_iter()
            .filter(|line| line.field("action").is_some() && line.field("result").is_some())
            .collect()
    }

    pub fn log_text(&self) -> String {
        self.log.lines().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits for it to end by itself.
    pub fn wait_for_end(&mut self) -> Result<Ending, DaemonError> {
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() {
            assert!(Instant::now() < deadline, "it does not end\n{}", self.log_text());
            thread::sleep(Duration::from_millis(2));
        }
        self.thread.take().unwrap().join().unwrap()
    }

    /// Stops it as SIGTERM would.
    pub fn stop(&mut self) -> Result<Ending, DaemonError> {
        self.stop.notify(1);
        self.wait_for_end()
    }

    /// Runs another one beside it, to its end.
    pub fn run_another(&self) -> Result<Ending, DaemonError> {
        let daemon = Parts { manager: Manager { is_there: false, ..Manager::default() }, ..self.parts() };
        let (_stop, thread) = run(&self.bus, Box::new(self.kernel.clone()), Some(self.authority.clone()), daemon);
        thread.join().unwrap()
    }

    fn parts(&self) -> Parts {
        let (log, places, manager) = (self.log.clone(), self.places.clone(), self.manager.clone());
        Parts { log, places, patience: Duration::from_secs(600), manager }
    }

    /// Starts it again on the same kernel and state.
    pub fn start_again(&mut self) {
        let count = || self.log.lines().iter().filter(|line| line.event() == "started").count();
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
            // A helper that panicked has failed its test already.
            drop(thread.join());
        }
    }
}

/// What a daemon is made of, beside its kernel and its runtime.
struct Parts {
    log: Log,
    places: Places,
    patience: Duration,
    manager: Manager,
}

fn run(
    bus: &PrivateBus,
    kernel: Box<dyn Kernel>,
    recording: Option<Recording>,
    parts: Parts,
) -> (Arc<Event>, JoinHandle<Result<Ending, DaemonError>>) {
    let stop = Arc::new(Event::new());
    let (address, asked) = (bus.address(), Arc::clone(&stop));
    let Parts { log, places, patience, manager } = parts;
    let thread = thread::spawn(move || {
        let asked = asked.listen();
        zruntime::block_on(async move {
            let runtime = SharedRuntime::current().unwrap();
            let manager = Box::new(manager);
            let daemon = Daemon { runtime: runtime.clone(), kernel, places, log, patience, manager };
            let authority = |connection: &Connection| -> Box<dyn Authority> {
                match recording {
                    Some(recording) => Box::new(recording),
                    None => Box::new(Polkit::over(connection.clone(), runtime)),
                }
            };
            daemon.run(|| Builder::address(address.as_str()), authority, asked).await
        })
    });
    (stop, thread)
}

/// A service manager that remembers what it was told. Clones share that.
#[derive(Clone)]
pub struct Manager {
    pub is_there: bool,
    pub watchdog: Option<Duration>,
    pub told: Arc<Mutex<Vec<String>>>,
}

impl Default for Manager {
    fn default() -> Self {
        Self { is_there: true, watchdog: None, told: Arc::default() }
    }
}

impl Manager {
    /// How often it was told this.
    pub fn times_told(&self, what: &NotifyState<'_>) -> usize {
        self.told.lock().unwrap().iter().filter(|told| **told == what.to_string()).count()
    }
}

impl ServiceManager for Manager {
    fn is_there(&self) -> bool {
        self.is_there
    }

    fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    fn tell(&self, news: &[NotifyState<'_>]) -> io::Result<()> {
        self.told.lock().unwrap().extend(news.iter().map(ToString::to_string));
        Ok(())
    }
}

/// A caller.
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

pub fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

pub fn link(text: &str, info_kind: &str) -> Link {
    let kind = LinkKind { info_kind: info_kind.to_owned(), tun_type: None, hardware: 1 };
    Link { name: name(text), kind, mtu: 1420, up: true, carries_route: true }
}

pub fn wireguard(text: &str) -> Link {
    link(text, "wireguard")
}
