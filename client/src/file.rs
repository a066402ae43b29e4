//! Files on paths that others can change: read with a limit, and written complete or not at all, and never over what
//! somebody else has written meanwhile.
//!
//! [`open`] is the one place where a file is opened that anybody but this program may have made, [`Lock`] the one way to wait
//! for others, and [`make_folder`] the one way to make folders. Root never makes anything in a folder of another user: it would
//! lock that user out, and that user could put something else in its place.

mod lock;
mod open;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, fchown, geteuid};
use tempfile::TempPath;
use time::OffsetDateTime;

pub use lock::Lock;
pub use open::{Links, Owner, open, open_in_root, read, text};

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
        // Whoever may not give it away made it for themselves, and would have to own it to change it at all.
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

#[cfg(test)]
mod tests;
