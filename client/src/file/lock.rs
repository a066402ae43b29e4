//! One at a time, among the commands of a user.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::{folder, make_folder, refuse_other_users};

/// How long another command may take. One that changes a file takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps other commands of ours from changing a file, until it is dropped.
///
/// What is locked is a file of its own beside it, which only its owner can open: whoever may read the folder could lock that, and
/// keep it locked for ever.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _held: Flock<File>,
}

impl Lock {
    /// Waits for the turn to change `file`. Its folder is made if there is none.
    ///
    /// # Errors
    /// The folder cannot be made or the lock not be opened; [`ErrorKind::TimedOut`] when another command does not end.
    pub fn of(file: &Path) -> io::Result<Self> {
        make_folder(folder(file))?;
        if !file.exists() {
            refuse_other_users(folder(file))?;
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(file.file_name().unwrap_or_default());
        name.push(".lock");
        let path = folder(file).join(name);
        let begun = Instant::now();
        loop {
            let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
            match Flock::lock(options.open(&path)?, FlockArg::LockExclusiveNonblock) {
                // Whoever held it before has removed it: the next to come would make another.
                Ok(held) if !is_at(&held, &path) => {}
                Ok(held) => return Ok(Self { path, _held: held }),
                Err((_, Errno::EWOULDBLOCK)) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let told = format!("another command holds `{}`", path.display());
                    return Err(io::Error::new(ErrorKind::TimedOut, told));
                }
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held. If it stays, it is an empty file that the next one takes.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether an open file is still under its name.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    file.metadata().ok().map(place) == path.symlink_metadata().ok().map(place)
}
