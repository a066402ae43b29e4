//! The folder of a `podman system service` of our own: its socket and its log.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// What every such folder's name begins with. The process id of the command follows.
const PREFIX: &str = "airpods-podman-";

/// The socket in it.
pub(super) const SOCKET: &str = "podman.sock";

/// A new folder that only this user can enter. What commands that were killed have left is removed first.
pub(super) fn private(runtime_dir: Option<&Path>) -> io::Result<PathBuf> {
    let parent = match runtime_dir {
        Some(folder) if folder.is_dir() => folder.to_path_buf(),
        _ => std::env::temp_dir(),
    };
    sweep(&parent);
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

/// Removes folders of commands that were killed. What cannot be removed harms nobody.
fn sweep(parent: &Path) {
    let folders = std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in folders.filter(|folder| is_left_over(folder)) {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Whether it is this user's, its command is gone, and nobody listens on its socket. The process alone would not do: one of
/// another process namespace is not seen. A podman that was told to end, as its command died, has removed the socket.
fn is_left_over(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
    let gone =
        pid.and_then(|pid| pid.parse::<u32>().ok()).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    let ours =
        || folder.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == Uid::effective().as_raw());
    let deaf = || {
        let answer = UnixStream::connect(folder.join(SOCKET));
        answer.is_err_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
    };
    gone && ours() && deaf()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A folder as of a command with this process id, and whoever listens in it.
    fn folder(parent: &Path, pid: u32) -> (PathBuf, UnixListener) {
        let folder = parent.join(format!("{PREFIX}{pid}-0"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("log"), "").unwrap();
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        (folder, listener)
    }

    /// A process id that nobody has.
    fn gone() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn what_a_killed_command_left_is_removed_by_the_next_and_nothing_else_is() {
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
}
