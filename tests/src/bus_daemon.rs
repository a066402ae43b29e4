//! The two programs that are a system bus: `dbus-daemon`, and `dbus-broker`, which Fedora and Arch
//! have.
//!
//! They differ in the messages that they let through. dbus-daemon parses every message to its end,
//! cuts unknown header fields, and turns away a user without an account. dbus-broker looks at no
//! body, passes unknown header fields on, and serves any uid.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;

use crate::background::Background;
use crate::error::{Doing, Result};
use crate::programs;
use crate::wait::TIMEOUT;

/// Which program is the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusDaemon {
    /// `dbus-daemon`, the reference.
    #[default]
    DbusDaemon,
    /// `dbus-broker`, behind its `dbus-broker-launch`.
    DbusBroker,
}

/// Makes two tests of each function, one for each bus, in the modules `dbus_daemon` and
/// `dbus_broker`.
///
/// ```text
/// on_both_buses! {
///     fn the_helper_answers(bus: BusDaemon) { … }
/// }
/// ```
#[macro_export]
macro_rules! on_both_buses {
    ($(fn $claim:ident($bus:ident: BusDaemon) $body:block)*) => {
        $(fn $claim($bus: $crate::BusDaemon) $body)*
        mod dbus_daemon {
            $(#[test] fn $claim() { super::$claim($crate::BusDaemon::DbusDaemon) })*
        }
        mod dbus_broker {
            $(#[test] fn $claim() { super::$claim($crate::BusDaemon::DbusBroker) })*
        }
    };
}

/// A bus that runs until it is dropped.
#[derive(Debug)]
pub struct RunningBus {
    daemon: Background,
    _journal: Option<Journal>,
}

impl BusDaemon {
    /// Starts a bus on this machine. The configuration must name the same address as `socket`.
    /// Returns when the bus answers. dbus-broker gets its own mounts, with its program and a
    /// journal.
    ///
    /// # Errors
    /// If the bus does not come up.
    pub fn start(self, config: &Path, socket: &Path, log: &Path) -> Result<RunningBus> {
        // The bus ends with the test, even if the test is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match self {
            Self::DbusDaemon => {
                command.args(["dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--config-file"]).arg(config);
                RunningBus::reference(&mut command, socket, log)
            }
            Self::DbusBroker => {
                let journal = socket.with_extension("journal");
                command.args(["unshare", "--mount", "--propagation", "private", "sh", "-euc"]);
                command.arg(format!("{OWN_MOUNTS}; {ON_SOCKET} --config-file \"$3\""));
                // The launcher is a client of the bus itself.
                command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()));
                command.arg("sh").arg(&journal).arg(programs::unpacked("dbus-broker")?.join("usr/bin")).arg(config);
                RunningBus::broker(&mut command, socket, &journal, log)
            }
        }
    }
}

/// `$1` is the journal's stand-in, `$2` the folder with the programs of dbus-broker.
const OWN_MOUNTS: &str = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal; : > /run/systemd/journal/socket; \
     mount --bind \"$1\" /run/systemd/journal/socket; mount -t overlay -o \"lowerdir=$2:/usr/bin\" overlay /usr/bin";

/// The launcher expects its listening socket as descriptor 3, as systemd passes it
/// (`sd_listen_fds(3)`). Here the socket arrives as standard input.
pub(crate) const ON_SOCKET: &str =
    "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec dbus-broker-launch --scope system";

impl RunningBus {
    /// Keeps dbus-daemon from doing anything until [`Self::go_on`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn stand_still(&self) -> Result<()> {
        self.daemon.signal(Signal::SIGSTOP)
    }

    /// Ends [`Self::stand_still`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn go_on(&self) -> Result<()> {
        self.daemon.signal(Signal::SIGCONT)
    }

    /// Starts dbus-daemon by this command.
    pub(crate) fn reference(command: &mut Command, socket: &Path, log: &Path) -> Result<Self> {
        let mut daemon = Background::start(command, log)?;
        daemon.until("dbus-daemon", TIMEOUT, || UnixStream::connect(socket).is_ok())?;
        Ok(Self { daemon, _journal: None })
    }

    /// Starts dbus-broker by this command, which ends in [`ON_SOCKET`]. `journal` is the path of
    /// the journal's socket.
    pub(crate) fn broker(command: &mut Command, socket: &Path, journal: &Path, log: &Path) -> Result<Self> {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket)
            .and_then(|listener| fs::set_permissions(socket, Permissions::from_mode(0o666)).map(|()| listener))
            .doing(|| format!("listen on `{}`", socket.display()))?;
        let journal = Journal::start(journal, log)?;
        let mut daemon = Background::start_with(command, OwnedFd::from(listener), log)?;
        // A successful connect proves nothing, because connections wait in the socket until the
        // broker takes them. Wait for its log message instead.
        daemon.until("dbus-broker", TIMEOUT, || journal.has_logged("Ready"))?;
        Ok(Self { daemon, _journal: Some(journal) })
    }
}

/// A stand-in for journald's socket, which dbus-broker does not start without. It writes the
/// datagrams that it receives to a log.
#[derive(Debug)]
struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    log: PathBuf,
}

impl Journal {
    fn start(path: &Path, log: &Path) -> Result<Self> {
        let doing = || format!("stand in for the journal at `{}`", path.display());
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).doing(doing)?;
        let reader = socket.try_clone().doing(doing)?;
        let mut file = File::options().create(true).append(true).open(log).doing(doing)?;
        thread::spawn(move || {
            let mut datagram = vec![0; 64 * 1024];
            // A receive returns 0 bytes once the socket is shut down.
            while let Ok(length @ 1..) = reader.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                let messages = text.lines().filter_map(|line| line.strip_prefix("MESSAGE="));
                let _ = messages.into_iter().try_for_each(|message| writeln!(file, "journal: {message}"));
            }
        });
        Ok(Self { socket, path: path.to_owned(), log: log.to_owned() })
    }

    fn has_logged(&self, message: &str) -> bool {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().any(|line| line.strip_prefix("journal: ") == Some(message))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = fs::remove_file(&self.path);
    }
}
