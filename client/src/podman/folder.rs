//! The folder of a `podman system service` of our own: its socket and its log.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::file;

/// What every such folder's name begins with. The process id of the command follows.
const PREFIX: &str = "airpods-podman-";

/// The socket in it.
pub(super) const SOCKET: &str = "podman.sock";

/// A new folder that only this user can enter. What commands that were killed have left is removed first.
pub(super) fn private(runtime_dir: Option<&Path>) -> io::Result<PathBuf> {
    // In a folder of another user, such as `XDG_RUNTIME_DIR` after `su` or `sudo -E`, that user could put another socket in the
    // place of ours.
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

/// Whether this user may make folders there that stay theirs: the folder is theirs, or everybody's.
fn is_own(folder: &Path) -> bool {
    folder.metadata().is_ok_and(|found| found.uid() == Uid::effective().as_raw() || found.mode() & 0o1000 != 0)
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

    #[test]
    fn a_runtime_folder_in_which_others_can_change_things_is_not_used() {
        let theirs = tempfile::tempdir().unwrap();
        std::fs::set_permissions(theirs.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let made = private(Some(theirs.path())).unwrap();
        assert!(!made.starts_with(theirs.path()), "{}", made.display());
        std::fs::remove_dir(&made).unwrap();
        assert!(private(Some(&theirs.path().join("none"))).map(std::fs::remove_dir).is_ok());
    }
}
