//! A whole throw-away machine: Debian with its own kernel, systemd and logind, in which the package
//! is installed.
//!
//! [`Machine::installed`] takes a second or two: the machine does not boot, but resumes from a
//! saved state. It is emulated (no KVM), so everything in it takes about ten times as long as
//! outside. Its only network is its own.

mod cache;
mod emulator;
pub mod inside;
mod package;
mod qmp;
mod session;
mod stock;
mod suite;
pub mod wire;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use emulator::supervisor;
pub use package::PACKAGE_FILES;
pub use session::{Login, Session};
pub use stock::IMAGE;
pub use suite::Suite;

use crate::error::{Doing, Error, Result};
use crate::place::{Place, tail};
use crate::programs::Program;
use crate::sandbox::people;
use cache::Step;
use emulator::{Emulator, Start};
use inside::Deadline;

/// Default time limit of a command. It ends a command that hangs, and is long enough for a slow one
/// in an emulated machine.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A running machine. Dropping it ends it and discards its writes; so does the end of the test's
/// process. If the test panics, the drop prints the console, the kernel's log and the journal.
#[derive(Debug)]
pub struct Machine {
    emulator: Emulator,
    root_user: User,
    /// The start time, in seconds since 1970. Earlier entries of the journal are the same in every
    /// test.
    since: u64,
}

impl Machine {
    /// A machine with the packages installed and not used yet.
    ///
    /// # Errors
    /// When it cannot be made or started; its console output is in the message.
    pub fn installed(suite: Suite) -> Result<Self> {
        Self::wake(&cache::at(Step::Installed, suite)?)
    }

    /// The same machine before the packages were installed.
    ///
    /// # Errors
    /// When it cannot be made or started.
    pub fn bare(suite: Suite) -> Result<Self> {
        Self::wake(&cache::at(Step::Booted, suite)?)
    }

    /// A machine on which alice can launch services. Her service manager runs though she is not
    /// logged in ([`Machine::as_lingering`]), and her podman has [`IMAGE`]. A network namespace
    /// called `neighbour` is the machine's router and name server.
    ///
    /// # Errors
    /// When it cannot be made or started; its console output is in the message.
    pub fn stocked(suite: Suite) -> Result<Self> {
        Self::wake(&cache::at(Step::Stocked, suite)?)
    }

    fn start(start: &Start) -> Result<Self> {
        let emulator = Emulator::start(start)?;
        let root_user = User {
            lab: Program::Lab.path()?,
            folder: emulator.folder().to_owned(),
            name: None,
            lingers: false,
            limit: TIMEOUT,
        };
        let since = now().as_secs();
        Ok(Self { emulator, root_user, since })
    }

    /// Resumes a saved machine and sets its clock.
    fn wake(start: &Start) -> Result<Self> {
        let machine = Self::start(start)?;
        let now = now();
        machine.sh(&format!("date --set=@{}.{:09}", now.as_secs(), now.subsec_nanos()))?;
        Ok(machine)
    }

    /// Starts a machine that was switched off.
    fn boot(start: &Start) -> Result<Self> {
        let machine = Self::start(start)?;
        machine.sh("true").map_err(|error| machine.explain(&error))?;
        Ok(machine)
    }

    /// Adds the machine's console output to an error.
    fn explain(&self, error: &Error) -> Error {
        Error::NotReady { what: error.to_string(), reason: self.emulator.output() }
    }

    /// Waits until the machine has finished booting, for up to `limit`.
    fn settle(&self, limit: Duration) -> Result<()> {
        // `degraded` counts as finished: the tests judge failed units.
        self.root_user.with_limit(limit).sh("systemctl is-system-running --wait || true; sync").map(drop)
    }

    fn save(&self, memory: &Path) -> Result<()> {
        self.emulator.save(memory)
    }

    /// Reboots the machine with `systemctl reboot`, and waits until it runs again.
    ///
    /// # Errors
    /// When it does not come up; its console output is in the message.
    pub fn reboot(&self) -> Result<()> {
        const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
        let before = self.sh(BOOT_ID)?;
        // An error here proves nothing, because the machine may go down before it answers. It is
        // reported only if the machine does not come back.
        let order = self.root_user.with_limit(Duration::from_secs(30)).sh("systemctl reboot --no-block");
        let deadline = Deadline::after(TIMEOUT);
        // A command sent while the machine goes down gets no answer, so each try has its own time
        // limit.
        while self.root_user.with_limit(Duration::from_secs(10)).sh(BOOT_ID).unwrap_or(before.clone()) == before {
            if deadline.passed() {
                let what = order.map_or_else(|error| error.to_string(), |_| "the machine after its reboot".into());
                return Err(Error::NotReady { what, reason: self.emulator.output() });
            }
            std::thread::sleep(Duration::from_millis(200));
            inside::forget_claims(self.emulator.folder());
        }
        // Retry: a port may still mistake the end of an earlier caller for that of a later one.
        while let Err(error) = self.settle(TIMEOUT / 4) {
            if deadline.passed() {
                return Err(self.explain(&error));
            }
        }
        Ok(())
    }

    /// The machine's root user.
    #[must_use]
    pub fn root_user(&self) -> &User {
        &self.root_user
    }

    /// A user of the machine without a login session, as root runs commands for them.
    #[must_use]
    pub fn as_user(&self, name: &str) -> User {
        self.root_user.as_user(name)
    }

    /// A user whose service manager runs though they are not logged in (`loginctl enable-linger`),
    /// with its environment.
    #[must_use]
    pub fn as_lingering(&self, name: &str) -> User {
        User { lingers: true, ..self.as_user(name) }
    }

    /// Writes a file inside, making its folder, readable by everybody.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, inside: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let mut write = self.command("sh");
        write.args(["-euc", "mkdir -p \"$(dirname \"$1\")\"; cat > \"$1\"", "sh", inside]);
        let mut child =
            write.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().doing(|| "enter the machine".into())?;
        if let Some(mut stdin) = child.stdin.take() {
            // If the command ended early, its own error is reported below.
            let _ = stdin.write_all(content.as_ref());
        }
        let output = child.wait_with_output().doing(|| "wait for the machine".into())?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = tail(&String::from_utf8_lossy(&output.stderr));
        Err(Error::Command { line: format!("cat > {inside}"), status: output.status, stderr })
    }

    /// The kernel's log with its blocked tasks, which explain a machine that does not answer.
    fn kernel(&self) -> String {
        self.output_or_error("echo w > /proc/sysrq-trigger; dmesg | tail --lines 120")
    }

    /// The journal since the machine was started, or the reason why it cannot be read.
    #[must_use]
    pub fn journal(&self) -> String {
        self.output_or_error(&format!(
            "journalctl --no-pager --lines 150 --output short-monotonic --since @{}",
            self.since
        ))
    }

    /// The output of a shell line, or its error. The limit is short, because the machine may answer
    /// nothing.
    fn output_or_error(&self, line: &str) -> String {
        self.root_user.with_limit(Duration::from_secs(20)).sh(line).unwrap_or_else(|error| error.to_string())
    }
}

impl Place for Machine {
    fn command(&self, program: &str) -> Command {
        self.root_user.command(program)
    }

    fn link_target(&self) -> String {
        self.root_user.link_target()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}--- kernel\n{}", self.emulator.output(), self.kernel());
            eprintln!("--- journal\n{}", self.journal());
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A user of a machine.
#[derive(Clone, Debug)]
pub struct User {
    lab: PathBuf,
    folder: PathBuf,
    name: Option<String>,
    lingers: bool,
    limit: Duration,
}

impl User {
    /// Another user of the same machine.
    #[must_use]
    pub fn as_user(&self, name: &str) -> Self {
        Self { name: Some(name.to_owned()).filter(|name| name != "root"), lingers: false, ..self.clone() }
    }

    /// The same user with another time limit for commands. The default is 10 minutes.
    fn with_limit(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }
}

impl Place for User {
    fn command(&self, program: &str) -> Command {
        let user = self.name.as_deref().unwrap_or("root");
        let mut command = Command::new(&self.lab);
        command
            .arg("machine-enter")
            .arg("--folder")
            .arg(&self.folder)
            .args(["--limit", &self.limit.as_secs().to_string()])
            .args(self.name.iter().flat_map(|name| ["--user", name]))
            .args(["--", program])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", people::home(user))
            .env("USER", user)
            .env("LOGNAME", user)
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb");
        if self.lingers
            && let Some(person) = people::person(user)
        {
            let folder = format!("/run/user/{}", person.uid);
            command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={folder}/bus")).env("XDG_RUNTIME_DIR", folder);
        }
        command
    }

    fn link_target(&self) -> String {
        "1".into()
    }
}
