//! Reads and writes files on paths that other users and programs can change. Reads have a size
//! limit, writes are atomic. [`Lock`] keeps two commands of airpods from overwriting each other's
//! changes.
//!
//! Only [`open()`] opens files that another program may have made, and only [`Lock`] waits for
//! other commands. [`make_folder`] makes the private folders. Root never makes anything in a folder
//! of another user: it would lock that user out, and that user could replace it.

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

/// Mode of a new file: private, since a configuration may hold keys of other services in its `env`.
const NEW_FILE: u32 = 0o600;

/// Mode of a file that others may read, before the umask.
const PUBLIC: u32 = 0o644;

/// Mode of the folders that airpods makes.
const FOLDER: u32 = 0o700;

/// Makes a folder and its missing parents, which only this user can enter.
///
/// # Errors
/// The system's error. For root also [`ErrorKind::PermissionDenied`] in a folder of another user.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    refuse_other_users(path)?;
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Whether only this user and root can change the content of a folder. One of them owns it. Others
/// may not write there, or may not replace what they do not own (the sticky bit, as on `/tmp`).
#[must_use]
pub fn is_safe_folder(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| {
        let own = found.uid() == geteuid().as_raw() || found.uid() == 0;
        found.is_dir() && own && (found.mode() & 0o022 == 0 || found.mode() & 0o1000 != 0)
    })
}

/// Refuses to make a path if this is root and the nearest folder above it that exists belongs to
/// another user.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`]
pub fn refuse_other_users(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        // The kernel's own permission checks stop every other user.
        return Ok(());
    }
    let absolute = std::path::absolute(path)?;
    let existing = absolute.ancestors().find_map(|folder| Some((folder, fs::metadata(folder).ok()?)));
    match existing {
        Some((folder, found)) if found.uid() != 0 => {
            let why = of_other_user(&format!("`{}`", folder.display()), found.uid());
            let why = format!("{why}: run the command as that user, or with `sudo -H`");
            Err(io::Error::new(ErrorKind::PermissionDenied, why))
        }
        _ => Ok(()),
    }
}

fn of_other_user(path: &str, uid: u32) -> String {
    format!("{path} belongs to another user ({uid}), and this is root")
}

/// Writes a new file, which only this user can read.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`], or the system's error.
pub fn create(path: &Path, text: &str) -> io::Result<()> {
    make_folder(folder(path))?;
    refuse_other_users(folder(path))?;
    let file = temporary_beside(path, text, NEW_FILE)?;
    file.persist_noclobber(path).map(drop).map_err(|failed| failed.error)
}

/// Writes a file in one step and replaces any that is there. A private one gets mode 0600, whatever
/// the old file had.
///
/// # Errors
/// An error of writing; the former content is unchanged then.
pub fn put(path: &Path, text: &str, private: bool) -> io::Result<()> {
    refuse_other_users(folder(path))?;
    // Not [`make_folder`]: the user may share the folder of an export, so it gets the default mode.
    fs::create_dir_all(folder(path))?;
    let file = temporary_beside(path, text, if private { NEW_FILE } else { PUBLIC })?;
    file.persist(path).map(drop).map_err(|failed| failed.error)
}

/// Writes a file in one step, new or not. An existing file keeps its mode and, as far as this user
/// may give files away, its owner. If the path is a symbolic link, its target is written.
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
    let file = temporary_beside(&target, text, old.as_ref().map_or(NEW_FILE, |old| old.mode() & 0o777))?;
    if let Some(old) = old {
        // An error is ignored: only root may give files away (chown(2)), and any other user keeps
        // the new file.
        let _ = fchown(file.as_file(), Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())));
        file.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
    }
    file.persist(&target).map(drop).map_err(|failed| failed.error)
}

/// Copies a file to one beside it that has the time (UTC) in its name, and returns the path of the
/// copy.
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
                // The backup gets the owner and the mode of the original, even if root makes it.
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

/// `config.toml.20261125T221500Z.bak`; a second backup within the same second gets a number.
fn backup_name(path: &Path, now: OffsetDateTime, attempt: u32) -> PathBuf {
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = now.to_hms();
    let number = if attempt == 0 { String::new() } else { format!("-{attempt}") };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{year}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z{number}.bak"));
    path.with_file_name(name)
}

/// A draft beside `path` for the user to edit, which only this user can read. Dropping the value
/// removes the file.
///
/// # Errors
/// An error of writing the file.
pub fn draft(path: &Path, text: &str) -> io::Result<TempPath> {
    make_folder(folder(path))?;
    let mut file = tempfile::Builder::new().prefix("draft-").suffix(".toml").tempfile_in(folder(path))?;
    file.write_all(text.as_bytes())?;
    Ok(file.into_temp_path())
}

/// A temporary file in the same folder, so that a rename puts it in place in one step.
fn temporary_beside(path: &Path, text: &str, mode: u32) -> io::Result<tempfile::NamedTempFile> {
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

/// Upper bound on the size of a file that is read, in bytes: a configuration of some thousand
/// services is smaller.
const LARGEST: u64 = 4 << 20;

/// Whether the path may end in a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It may: people keep their configuration elsewhere and link to it.
    Followed,
    /// It may not: airpods makes no link there, so one would be an attack.
    Refused,
}

/// The owner that the file must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Any owner: this user only has to be able to read it.
    Any,
    /// Any owner, but for root only root: the environment of another user, as after `su` or
    /// `sudo -E`, must not choose what root does.
    NotOthersForRoot,
    /// This user, and nobody else may read or change it.
    Alone,
}

/// Opens a plain file for reading. The kind of file is checked before it is opened: opening a pipe
/// can wait for ever, and opening a device can have side effects.
///
/// # Errors
/// Those of the system. [`ErrorKind::InvalidData`] if it is no plain file or too large.
/// [`ErrorKind::PermissionDenied`] if its owner or mode is not as wanted.
pub fn open(path: &Path, links: Links, owner: Owner) -> io::Result<File> {
    let flags = if links == Links::Refused { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    checked(&OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | flags).bits()).open(path)?, owner)
}

/// As [`open()`], for a path below a folder that acts as the root of a file system, such as a
/// container's. Absolute links and `..` stay within it.
///
/// # Errors
/// As [`open()`].
pub fn open_in_root(root: &Path, path: &Path) -> io::Result<File> {
    let root = OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits()).open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    checked(&File::from(openat2(&root, path, how)?), Owner::Any)
}

/// Reads a text file.
///
/// # Errors
/// As [`open()`]; [`ErrorKind::InvalidData`] also for what is not UTF-8.
pub fn read(path: &Path, links: Links, owner: Owner) -> io::Result<String> {
    text(open(path, links, owner)?)
}

/// The text of an open file.
///
/// # Errors
/// As [`read`].
pub fn text(file: File) -> io::Result<String> {
    let mut text = String::new();
    // The file may have grown since its size was checked.
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Opens the file behind an `O_PATH` descriptor for reading, if its kind, size and owner are as
/// wanted.
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
    if owner == Owner::NotOthersForRoot && geteuid().is_root() && metadata.uid() != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, of_other_user("it", metadata.uid())));
    }
    if owner == Owner::Alone && metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if owner == Owner::Alone && metadata.mode() & 0o077 != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "others may read or change it"));
    }
    // Opens the file that was checked, even if its name leads to another one by now (proc(5),
    // `/proc/pid/fd`).
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(again)
}

/// Time to wait for the lock. A command that changes a file holds it for milliseconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Keeps other airpods commands from changing a file, until it is dropped.
///
/// The lock is a file of its own beside it, which only its owner can open. Anybody who may read the
/// folder could lock the folder itself, and keep it locked for ever.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _held: Flock<File>,
}

impl Lock {
    /// Waits for the lock of `file`, and makes its folder if that is missing.
    ///
    /// # Errors
    /// The folder cannot be made or the lock not be opened; [`ErrorKind::TimedOut`] if another
    /// command keeps the lock.
    pub fn of(file: &Path) -> io::Result<Self> {
        let path = Self::path(file)?;
        let begun = Instant::now();
        loop {
            if let Some(lock) = Self::attempt(&path)? {
                return Ok(lock);
            }
            if begun.elapsed() >= TIMEOUT {
                let held = format!("another command holds `{}`", path.display());
                return Err(io::Error::new(ErrorKind::TimedOut, held));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Takes the lock of `file` without waiting; `None` if another command holds it.
    ///
    /// # Errors
    /// The folder cannot be made or the lock not be opened.
    pub fn at_once(file: &Path) -> io::Result<Option<Self>> {
        Self::attempt(&Self::path(file)?)
    }

    /// The path of the lock, in a folder that exists. `file` itself may be missing.
    fn path(file: &Path) -> io::Result<PathBuf> {
        make_folder(folder(file))?;
        if !file.exists() {
            refuse_other_users(folder(file))?;
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(file.file_name().unwrap_or_default());
        name.push(".lock");
        Ok(folder(file).join(name))
    }

    fn attempt(path: &Path) -> io::Result<Option<Self>> {
        // A symbolic link in place of the lock file is not followed, and opening a FIFO there does
        // not block.
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        loop {
            match Flock::lock(options.open(path)?, FlockArg::LockExclusiveNonblock) {
                // The previous holder removed this lock file after we opened it. The next command
                // would make another one, and two would hold a lock.
                Ok(held) if !is_at(&held, path) => {}
                Ok(held) => return Ok(Some(Self { path: path.to_owned(), _held: held })),
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while the lock is held, so that a waiter sees it (`is_at`). If removing fails,
        // the next command locks the empty file.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the path still leads to this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    file.metadata().ok().map(place) == path.symlink_metadata().ok().map(place)
}

#[cfg(test)]
mod tests;
