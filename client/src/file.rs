//! Files on paths that others can change: read with a limit, and written complete or not at all, and never over what
//! somebody else has written meanwhile.
//!
//! [`open`] is the one place where a file is opened that anybody but this program may have made, [`Lock`] the one way to wait
//! for others, and [`make_folder`] the one way to make folders. Root never makes anything in a folder of another user: it would
//! lock that user out, and that user could put something else in its place.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{Gid, Uid, fchown, geteuid};
use tempfile::TempPath;
use time::OffsetDateTime;

/// The mode of a file that was not there before. A configuration may hold keys of other services in its `env`.
const NEW_FILE: u32 = 0o600;

/// The mode of a file that others may read, less what the umask takes away.
const PUBLIC: u32 = 0o644;

/// The mode of folders of ours.
const FOLDER: u32 = 0o700;

/// Makes a folder that only this user can enter, and those above it.
///
/// # Errors
/// Whatever keeps it from being made. For root also [`ErrorKind::PermissionDenied`] in a folder of another user.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    refuse_other_users(path)?;
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Whether nobody but this user and root can change what is in a folder: it is theirs, and others may not write there, or not
/// replace what they do not own (the sticky bit, as of `/tmp`).
#[must_use]
pub fn is_safe_folder(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| {
        let own = found.uid() == geteuid().as_raw() || found.uid() == 0;
        found.is_dir() && own && (found.mode() & 0o022 == 0 || found.mode() & 0o1000 != 0)
    })
}

/// Refuses to make a path if this is root and the folder that it would begin in is another user's.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`]
pub fn refuse_other_users(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        // The kernel keeps everybody else from it.
        return Ok(());
    }
    let absolute = std::path::absolute(path)?;
    let existing = absolute.ancestors().find_map(|folder| Some((folder, fs::metadata(folder).ok()?)));
    match existing {
        Some((folder, found)) if found.uid() != 0 => {
            let (folder, uid) = (folder.display(), found.uid());
            Err(io::Error::new(
                ErrorKind::PermissionDenied,
                format!(
                    "`{folder}` belongs to another user ({uid}), and this is root: run the command as that user, or with `sudo -H`"
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Writes a new file, which only this user can read.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`], or whatever keeps it from being written.
pub fn create(path: &Path, text: &str) -> io::Result<()> {
    make_folder(folder(path))?;
    refuse_other_users(folder(path))?;
    let file = beside(path, text, NEW_FILE)?;
    file.persist_noclobber(path).map(drop).map_err(|failed| failed.error)
}

/// Writes a file in one step in place of whatever is there. A private one is its owner's alone, whatever was there.
///
/// # Errors
/// An error of writing; the former content is unchanged then.
pub fn put(path: &Path, text: &str, private: bool) -> io::Result<()> {
    refuse_other_users(folder(path))?;
    // Where somebody exports to is theirs to share.
    fs::create_dir_all(folder(path))?;
    let file = beside(path, text, if private { NEW_FILE } else { PUBLIC })?;
    file.persist(path).map(drop).map_err(|failed| failed.error)
}

/// Writes a file in one step, whether it is there or not. One that is there keeps its mode and, as far as this user
/// may give files away, its owner; where the path is a symbolic link, the file it leads to is written.
///
/// # Errors
/// An error of writing; the old file is unchanged then.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            make_folder(folder(path))?;
            refuse_other_users(folder(path))?;
            path.to_owned()
        }
        Err(cause) => return Err(cause),
    };
    let old = fs::metadata(&target).ok();
    let file = beside(&target, text, old.as_ref().map_or(NEW_FILE, |old| old.mode() & 0o777))?;
    if let Some(old) = old {
        // An error is ignored: a user who may not give files away had to own the old file to change it at all.
        let _ = fchown(file.as_file(), Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())));
        file.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
    }
    file.persist(&target).map(drop).map_err(|failed| failed.error)
}

/// Copies a file to one beside it whose name has the time (UTC), and says which.
///
/// # Errors
/// An error of writing the file.
pub fn back_up(path: &Path) -> io::Result<PathBuf> {
    let text = read(path, Links::Followed, Owner::Any)?;
    let found = fs::metadata(path)?;
    let mut attempt = 0;
    loop {
        let backup = backup_name(path, OffsetDateTime::now_utc(), attempt);
        match File::options().write(true).create_new(true).mode(NEW_FILE).open(&backup) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                // As the file itself: a backup that root makes is its owner's, too.
                let _ = fchown(&file, Some(Uid::from_raw(found.uid())), Some(Gid::from_raw(found.gid())));
                file.set_permissions(Permissions::from_mode(found.mode() & 0o777))?;
                file.sync_all()?;
                return Ok(backup);
            }
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
            Err(cause) => return Err(cause),
        }
    }
}

/// `config.toml.20261125T221500Z.bak`; a further one of the same second has a number.
fn backup_name(path: &Path, now: OffsetDateTime, attempt: u32) -> PathBuf {
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = now.to_hms();
    let number = if attempt == 0 { String::new() } else { format!("-{attempt}") };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{year}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z{number}.bak"));
    path.with_file_name(name)
}

/// A file beside another for a person to edit, which only this user can read. It goes when its value is dropped.
///
/// # Errors
/// An error of writing the file.
pub fn draft(path: &Path, text: &str) -> io::Result<TempPath> {
    make_folder(folder(path))?;
    let mut file = tempfile::Builder::new().prefix("draft-").suffix(".toml").tempfile_in(folder(path))?;
    file.write_all(text.as_bytes())?;
    Ok(file.into_temp_path())
}

/// A temporary file in the same folder, so that it can take the other's place in one step.
fn beside(path: &Path, text: &str, mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".config-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder(path))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// The folder of a file; a bare name lies in the current one.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The largest file that is read, in bytes: a configuration of some thousand services is smaller.
const LARGEST: u64 = 4 << 20;

/// Whether the path may end in a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It may: people keep their configuration elsewhere and link to it.
    Followed,
    /// It may not: nobody makes such a link but to trick.
    Refused,
}

/// Whose the file has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Anybody's whose files this user may read.
    Any,
    /// This user's, and nobody else may read or change it.
    Alone,
}

/// Opens a plain file for reading. The kind of file is checked before it is opened: opening a pipe can wait for ever,
/// and opening a device can have side effects.
///
/// # Errors
/// Those of the system; [`ErrorKind::InvalidData`] for what is no plain file or too large, [`ErrorKind::PermissionDenied`] for a
/// file that should be this user's alone and is not.
pub fn open(path: &Path, links: Links, owner: Owner) -> io::Result<File> {
    let flags = if links == Links::Refused { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    checked(&OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | flags).bits()).open(path)?, owner)
}

/// The same for a path below a folder that stands for the root of a file system, such as a container's: absolute links and `..`
/// stay within it.
///
/// # Errors
/// As [`open`].
pub fn open_in_root(root: &Path, path: &Path) -> io::Result<File> {
    let root = OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits()).open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    checked(&File::from(openat2(&root, path, how)?), Owner::Any)
}

/// Reads a text.
///
/// # Errors
/// As [`open`]; [`ErrorKind::InvalidData`] also for what is not UTF-8.
pub fn read(path: &Path, links: Links, owner: Owner) -> io::Result<String> {
    text(open(path, links, owner)?)
}

/// The text of an open file.
///
/// # Errors
/// As [`read`].
pub fn text(file: File) -> io::Result<String> {
    let mut text = String::new();
    // It may have grown since.
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Opens what a descriptor stands for, if it is what it should be.
fn checked(found: &File, owner: Owner) -> io::Result<File> {
    let metadata = found.metadata()?;
    if metadata.is_symlink() {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is a symbolic link"));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is no plain file"));
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it is larger than {LARGEST} bytes")));
    }
    if owner == Owner::Alone && metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if owner == Owner::Alone && metadata.mode() & 0o077 != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "others may read or change it"));
    }
    // The very file that was looked at, whatever is under its name by now (proc(5), `/proc/pid/fd`).
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(again)
}

/// How long another command may take. One that changes a file takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps other commands of ours from changing a file, until it is dropped.
///
/// The lock is a file of its own beside it, which only its owner can open: anybody who may read the folder could lock that, and
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
                // The previous holder has removed this lock file: the next command would make another one.
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

#[cfg(test)]
mod tests;
