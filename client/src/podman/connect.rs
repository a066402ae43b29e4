//! Connects to podman: through a socket that the user names, or else the user's or root's usual
//! socket. If that does not answer, airpods starts a `podman system service` for the time of the
//! command, with a private folder for its socket and its log.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use super::{PodmanError, Rest, Result};
use crate::file::{self, Links, Owner};
use crate::home::find;

/// The key that names a socket.
const KEY: &str = "runtime.podman_url";

/// The variable that names a socket for podman's own remote client.
const VARIABLE: &str = "CONTAINER_HOST";

/// How long podman may take to start: our own service until it listens, and a socket of systemd
/// until podman answers on it. It takes 40 ms, but many seconds on a loaded or emulated machine
/// whose storage podman sets up for the first time.
pub const STARTUP: Duration = Duration::from_secs(30);

/// How long our own service may take to end before it is killed.
const END: Duration = Duration::from_secs(5);

/// The socket to try before airpods starts its own service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketChoice {
    /// A socket that a key or a variable names.
    Named {
        /// The socket.
        socket: PathBuf,
        /// The key or variable.
        origin: &'static str,
    },
    /// The socket that systemd keeps for this user, or for root. If podman does not answer on it,
    /// airpods starts its own service.
    Usual {
        /// The socket.
        socket: PathBuf,
    },
}

impl SocketChoice {
    /// Chooses from the configuration, the environment and the user. `None` means that there is no
    /// socket to try.
    ///
    /// `configured` is the socket of `runtime.podman_url`, `container_host` is `$CONTAINER_HOST`,
    /// `runtime_dir` is `$XDG_RUNTIME_DIR`.
    pub fn choose(
        configured: Option<&Path>,
        container_host: Option<&str>,
        runtime_dir: Option<&Path>,
        root: bool,
    ) -> Result<Option<Self>> {
        if let Some(socket) = configured {
            return Ok(Some(Self::Named { socket: socket.into(), origin: KEY }));
        }
        if let Some(url) = container_host.filter(|url| !url.is_empty()) {
            let socket = url.strip_prefix("unix://").map(PathBuf::from).filter(|socket| socket.is_absolute());
            let unsupported = || PodmanError::UnsupportedUrl { url: url.into(), origin: VARIABLE };
            return socket.ok_or_else(unsupported).map(|socket| Some(Self::Named { socket, origin: VARIABLE }));
        }
        let folder = if root { Some(Path::new("/run")) } else { runtime_dir };
        Ok(folder.map(|folder| Self::Usual { socket: folder.join("podman/podman.sock") }))
    }
}

/// A connection to podman, with our own service if one was started.
#[derive(Debug)]
pub struct Connection {
    /// The podman.
    pub podman: Rest,
    /// Dropping it ends the service.
    _service: Option<Service>,
}

/// Connects to podman by the rules of [`SocketChoice`].
pub async fn connect(configured: Option<&Path>) -> Result<Connection> {
    let container_host = std::env::var(VARIABLE).ok();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let root = Uid::effective().is_root();
    let choice = SocketChoice::choose(configured, container_host.as_deref(), runtime_dir.as_deref(), root)?;
    match choice {
        Some(SocketChoice::Named { socket, origin }) => match answer(&socket).await {
            Ok(podman) => Ok(Connection { podman, _service: None }),
            Err(foreign @ PodmanError::ForeignListener { .. }) => Err(foreign),
            Err(error) => Err(PodmanError::NoAnswer { socket, origin, source: cause(error) }),
        },
        Some(SocketChoice::Usual { socket }) if is_socket(&socket) => match answer(&socket).await {
            Ok(podman) => Ok(Connection { podman, _service: None }),
            Err(_) => own(runtime_dir.as_deref()).await,
        },
        _ => own(runtime_dir.as_deref()).await,
    }
}

/// Whether the path is a socket.
fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Opens podman on a socket, if it answers in time.
async fn answer(socket: &Path) -> Result<Rest> {
    let late = || PodmanError::Timeout { what: "/_ping".into(), seconds: STARTUP.as_secs() };
    tokio::time::timeout(STARTUP, Rest::open(socket)).await.unwrap_or_else(|_| Err(late()))
}

/// The I/O error behind a failed connection.
fn cause(error: PodmanError) -> io::Error {
    match error {
        PodmanError::Connection(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        PodmanError::Timeout { .. } => io::ErrorKind::TimedOut.into(),
        other => io::Error::other(other),
    }
}

/// Starts a service of our own and connects to it.
async fn own(runtime_dir: Option<&Path>) -> Result<Connection> {
    let mut service = Service::start(runtime_dir)?;
    let podman = service.ready().await?;
    Ok(Connection { podman, _service: Some(service) })
}

/// A running `podman system service`. Dropping it ends the process and removes its folder.
#[derive(Debug)]
struct Service {
    child: Child,
    folder: PathBuf,
}

impl Service {
    fn start(runtime_dir: Option<&Path>) -> Result<Self> {
        let failed = |error: io::Error| PodmanError::ServiceFailed { reason: error.to_string() };
        let folder = private(runtime_dir).map_err(failed)?;
        let child = File::create(folder.join("log")).and_then(|log| spawn(&folder, log));
        match child {
            Ok(child) => Ok(Self { child, folder }),
            Err(error) => {
                // Best effort: the folder holds only the log, and the error of starting is the one
                // to report.
                let _ = std::fs::remove_dir_all(&folder);
                Err(if error.kind() == io::ErrorKind::NotFound { PodmanError::Missing } else { failed(error) })
            }
        }
    }

    async fn ready(&mut self) -> Result<Rest> {
        let socket = self.folder.join(SOCKET);
        let start = Instant::now();
        loop {
            if is_socket(&socket)
                && let Ok(podman) = answer(&socket).await
            {
                return Ok(podman);
            }
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || start.elapsed() > STARTUP {
                let log = file::read(&self.folder.join("log"), Links::Refused, Owner::Any).unwrap_or_default();
                let last = log.lines().rev().find(|line| !line.trim().is_empty());
                let reason = last.unwrap_or("it did not listen in time").trim().to_owned();
                return Err(PodmanError::ServiceFailed { reason });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // `kill` can fail only if the process has already ended.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > END {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts the service in its own process group. Ctrl-C then ends the command, and not the podman
/// that it still needs to tidy up. `setpriv` makes the kernel end the service if this
/// process is killed.
fn spawn(folder: &Path, log: File) -> io::Result<Child> {
    let podman = find("podman").ok_or(io::ErrorKind::NotFound)?;
    let mut command = match find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(podman);
            command
        }
        None => Command::new(podman),
    };
    command
        .args(["system", "service", "--time=0"])
        .arg(format!("unix://{}", folder.join(SOCKET).display()))
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// The beginning of the name of every such folder; the process id of the command follows.
const PREFIX: &str = "airpods-podman-";

/// The socket within the folder.
const SOCKET: &str = "podman.sock";

/// Creates a folder that only this user can enter. Folders left by killed commands are removed
/// first.
fn private(runtime_dir: Option<&Path>) -> io::Result<PathBuf> {
    // In a folder of another user, such as `XDG_RUNTIME_DIR` after `su` or `sudo -E`, that user
    // could replace our socket.
    let temporary = std::env::temp_dir();
    let candidates = [runtime_dir, Some(temporary.as_path()), Some(Path::new("/tmp"))];
    let parent = candidates.into_iter().flatten().find(|folder| file::is_safe_folder(folder) && is_own(folder));
    let parent = parent.ok_or_else(|| io::Error::other("no folder for temporary files is safe from other users"))?;
    sweep(parent);
    let stem = format!("{PREFIX}{}", std::process::id());
    for attempt in 0..100 {
        let folder = parent.join(format!("{stem}-{attempt}"));
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(folder),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether folders that this user creates there are safe from others: this user owns it, or it has
/// the sticky bit.
fn is_own(folder: &Path) -> bool {
    folder.metadata().is_ok_and(|found| found.uid() == Uid::effective().as_raw() || found.mode() & 0o1000 != 0)
}

/// Removes the folders of killed commands. A folder that cannot be removed does no harm.
fn sweep(parent: &Path) {
    let folders = std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in folders.filter(|folder| is_left_over(folder)) {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Whether the folder is this user's, its command is gone, and no process listens on its socket.
/// The missing process alone proves nothing: it may be in another pid namespace. If the service
/// ended after its command died, it removed the socket.
fn is_left_over(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
    let gone =
        pid.and_then(|pid| pid.parse::<u32>().ok()).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    let ours =
        || folder.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == Uid::effective().as_raw());
    let unconnectable = || {
        let answer = UnixStream::connect(folder.join(SOCKET));
        answer.is_err_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
    };
    gone && ours() && unconnectable()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixListener;

    use super::*;

    fn named(socket: &str, origin: &'static str) -> SocketChoice {
        SocketChoice::Named { socket: socket.into(), origin }
    }

    #[test]
    fn a_configured_socket_comes_before_the_environments_and_that_before_the_usual() {
        let (configured, host) = (Some(Path::new("/a.sock")), Some("unix:///b.sock"));
        let runtime = Some(Path::new("/run/user/7"));
        let choose = |configured, host, root| SocketChoice::choose(configured, host, runtime, root).unwrap();
        assert_eq!(choose(configured, host, false), Some(named("/a.sock", KEY)));
        assert_eq!(choose(None, host, false), Some(named("/b.sock", VARIABLE)));
        let usual = |socket: &str| Some(SocketChoice::Usual { socket: socket.into() });
        assert_eq!(choose(None, Some(""), false), usual("/run/user/7/podman/podman.sock"));
        assert_eq!(choose(None, None, true), usual("/run/podman/podman.sock"));
        assert_eq!(SocketChoice::choose(None, None, None, false).unwrap(), None);
    }

    #[test]
    fn an_address_that_is_no_local_socket_is_refused() {
        for url in ["ssh://host/run/podman.sock", "tcp://127.0.0.1:1", "unix://relative.sock"] {
            let refused = SocketChoice::choose(None, Some(url), None, false).unwrap_err();
            assert!(matches!(refused, PodmanError::UnsupportedUrl { origin: VARIABLE, .. }), "{url}");
        }
    }

    #[tokio::test]
    async fn a_named_socket_that_does_not_answer_is_not_replaced_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("podman.sock");
        let refused = connect(Some(&socket)).await.unwrap_err();
        assert!(matches!(refused, PodmanError::NoAnswer { origin: KEY, .. }), "{refused}");
    }

    /// The folder of a command with this process id, with a listener on its socket.
    fn folder(parent: &Path, pid: u32) -> (PathBuf, UnixListener) {
        let folder = parent.join(format!("{PREFIX}{pid}-0"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("log"), "").unwrap();
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        (folder, listener)
    }

    /// The id of a process that has ended.
    fn gone() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn the_next_command_removes_only_the_remains_of_a_killed_one() {
        let parent = tempfile::tempdir().unwrap();
        let (left, listener) = folder(parent.path(), gone());
        drop(listener);
        let (ended, listener) = folder(parent.path(), gone());
        drop(listener);
        std::fs::remove_file(ended.join(SOCKET)).unwrap();
        let (served, _listener) = folder(parent.path(), gone());
        let (running, listener) = folder(parent.path(), 1);
        drop(listener);
        let foreign = parent.path().join("airpods-podman");
        std::fs::create_dir(&foreign).unwrap();
        let new = private(Some(parent.path())).unwrap();
        assert!(!left.exists() && !ended.exists());
        assert!(served.exists() && running.exists() && foreign.exists() && new.exists());
    }

    #[test]
    fn a_runtime_folder_that_others_can_write_is_not_used() {
        let theirs = tempfile::tempdir().unwrap();
        std::fs::set_permissions(theirs.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let made = private(Some(theirs.path())).unwrap();
        assert!(!made.starts_with(theirs.path()), "{}", made.display());
        std::fs::remove_dir(&made).unwrap();
        assert!(private(Some(&theirs.path().join("none"))).map(std::fs::remove_dir).is_ok());
    }
}
