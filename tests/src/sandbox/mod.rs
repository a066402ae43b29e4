//! A whole throw-away host.
//!
//! [`Sandbox::new`] takes about 50 ms. It has the host's programs, seen through an overlay, the
//! users of [`people::PEOPLE`], and no network but `lo`. Nothing runs in it until a test starts it.

mod bus;
mod cgroup;
mod firewalld;
mod install;
pub mod people;
mod podman;
mod root;
pub mod stage;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

pub use install::HelperFiles;

use crate::background::Background;
use crate::bus_daemon::RunningBus;
use crate::error::{Doing, Error, Result};
use crate::place::{Network, Place};
use crate::programs::Program;

/// A throw-away host. Dropping it kills everything inside and waits until mounts, namespaces and
/// control groups are gone. Killing the process that holds it has the same effect a moment later.
/// If the test panics, the drop prints the logs.
#[derive(Debug)]
pub struct Sandbox {
    supervisor: Child,
    root_user: User,
    bus: Mutex<Option<RunningBus>>,
    polkit: Mutex<Option<Background>>,
}

impl Sandbox {
    /// A fresh host. Needs root.
    ///
    /// # Errors
    /// When the laboratory's program is not built, or the kernel refuses one of the steps.
    pub fn new() -> Result<Self> {
        let lab = Program::Lab.path()?;
        let mut supervisor = Command::new(&lab)
            .arg("supervisor")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| format!("start `{}`", lab.display()))?;
        let mut line = String::new();
        if let Some(out) = supervisor.stdout.take() {
            BufReader::new(out).read_line(&mut line).doing(|| "hear from the supervisor".into())?;
        }
        let init = line.trim().strip_prefix(stage::READY).and_then(|pid| pid.trim().parse().ok());
        let Some(init) = init else {
            let _ = supervisor.wait();
            return Err(Error::NotReady { what: "the sandbox".into(), reason: line.trim().into() });
        };
        let root_user = User { init, lab, netns: None, name: None };
        Ok(Self { supervisor, root_user, bus: Mutex::default(), polkit: Mutex::default() })
    }

    /// Process 1 of the sandbox, seen from outside.
    #[must_use]
    pub fn init(&self) -> u32 {
        self.root_user.init
    }

    /// The sandbox's root folder, as a path that works from outside: `/proc/PID/root`. The kernel
    /// resolves absolute symbolic links below it on the host, so name the real file (`/run`, not
    /// `/var/run`).
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.root_user.root()
    }

    /// The path from outside of a path inside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root_user.root().join(inside.trim_start_matches('/'))
    }

    /// The sandbox's root user in its own network.
    #[must_use]
    pub fn root_user(&self) -> &User {
        &self.root_user
    }

    /// A user of the sandbox: one of [`people::PEOPLE`], `airpods-helper`, or a system user.
    #[must_use]
    pub fn as_user(&self, name: &str) -> User {
        self.root_user.as_user(name)
    }

    /// Makes a further network namespace inside (the VPN server, the internet) with `lo` up.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_netns(&self, name: &str) -> Result<User> {
        self.sh(&format!("ip netns add {name}"))?;
        let user = User { netns: Some(name.to_owned()), ..self.root_user.clone() };
        user.sh(stage::NETWORK_SETUP)?;
        Ok(user)
    }

    /// Writes a file inside, making its folder, readable by everybody.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, inside: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(inside);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).doing(|| format!("make `{}`", folder.display()))?;
        }
        fs::write(&path, content).doing(|| format!("write `{}`", path.display()))
    }

    /// Reads a text file of the sandbox.
    ///
    /// # Errors
    /// When it is not there or is no text.
    pub fn read_file(&self, inside: &str) -> Result<String> {
        let path = self.path(inside);
        fs::read_to_string(&path).doing(|| format!("read `{}`", path.display()))
    }

    /// The path from outside of a log inside. Pass it to [`Background::start`], and
    /// [`Sandbox::logs`] includes it.
    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.path(root::LOGS).join(format!("{name}.log"))
    }

    /// The output of the bus, polkitd, the helper and the servers. If the bus started the helper,
    /// the helper's standard error is in the bus's log.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut logs: Vec<PathBuf> =
            fs::read_dir(self.path(root::LOGS)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        logs.sort();
        logs.iter().fold(String::new(), |text, log| {
            let content = fs::read_to_string(log).unwrap_or_default();
            let name = log.file_name().unwrap_or_default().to_string_lossy();
            if content.is_empty() { text } else { format!("{text}--- {name}\n{}\n", content.trim_end()) }
        })
    }
}

impl Place for Sandbox {
    fn command(&self, program: &str) -> Command {
        self.root_user.command(program)
    }

    fn link_target(&self) -> String {
        self.root_user.link_target()
    }
}

impl Network for Sandbox {
    fn namespace(&self) -> PathBuf {
        self.root_user.namespace()
    }
}

impl Network for User {
    fn namespace(&self) -> PathBuf {
        match &self.netns {
            None => format!("/proc/{}/ns/net", self.init).into(),
            Some(name) => self.root().join("run/netns").join(name),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// A user of a sandbox in one of its network namespaces.
///
/// A command's process id outside is that of `airpods-lab enter`, which passes SIGTERM, SIGINT and
/// SIGHUP on. [`std::process::Child::kill`] ends both, unless the command has changed its user by
/// itself as daemons do.
#[derive(Clone, Debug)]
pub struct User {
    init: u32,
    lab: PathBuf,
    netns: Option<String>,
    name: Option<String>,
}

impl User {
    /// Another user in the same network namespace.
    #[must_use]
    pub fn as_user(&self, name: &str) -> Self {
        Self { name: Some(name.to_owned()).filter(|name| name != "root"), ..self.clone() }
    }

    fn root(&self) -> PathBuf {
        Path::new("/proc").join(self.init.to_string()).join("root")
    }
}

impl Place for User {
    fn command(&self, program: &str) -> Command {
        let user = self.name.as_deref().unwrap_or("root");
        let mut command = Command::new(&self.lab);
        command
            .args(["enter", "--init", &self.init.to_string()])
            .args(self.netns.iter().flat_map(|name| ["--netns", name]))
            .args(self.name.iter().flat_map(|name| ["--user", name]))
            .args(["--", program])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", people::home(user))
            .env("USER", user)
            .env("LOGNAME", user)
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb");
        if let Some(person) = people::person(user) {
            command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", person.uid));
        }
        command
    }

    fn link_target(&self) -> String {
        // Namespaces made with `ip netns add` have a name; process 1 stands for the sandbox's own.
        self.netns.clone().unwrap_or_else(|| "1".into())
    }
}
