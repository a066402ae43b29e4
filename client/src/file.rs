//! Writing files for a person: complete or not at all, and never over what somebody else has written meanwhile.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, fchown};
use tempfile::TempPath;
use time::OffsetDateTime;

/// The mode of a file that was not there before, less what the umask takes away.
const NEW_FILE: u32 = 0o644;

/// The mode of a file that only its owner may read.
const PRIVATE: u32 = 0o600;

/// Keeps other commands of ours from changing the files of a folder, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _folder: Flock<File>,
}

impl Lock {
    /// Waits for the turn to change `file`. Its folder is made if there is none.
    ///
    /// # Errors
    /// The folder cannot be made or opened.
    pub fn of(file: &Path) -> io::Result<Self> {
        let folder = folder(file);
        fs::create_dir_all(folder)?;
        let locked = Flock::lock(File::open(folder)?, FlockArg::LockExclusive);
        locked.map(|folder| Self { _folder: folder }).map_err(|(_, errno)| errno.into())
    }
}

/// Writes a new file.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`], or whatever keeps it from being written.
pub fn create(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder(path))?;
    let file = beside(path, text, NEW_FILE)?;
    file.persist_noclobber(path).map(drop).map_err(|failed| failed.error)
}

/// Writes a file in one step in place of whatever is there. A private one is its owner's alone, whatever was there.
///
/// # Errors
/// Whatever keeps it from being written; what was there is as it was then.
pub fn put(path: &Path, text: &str, private: bool) -> io::Result<()> {
    fs::create_dir_all(folder(path))?;
    let file = beside(path, text, if private { PRIVATE } else { NEW_FILE })?;
    file.persist(path).map(drop).map_err(|failed| failed.error)
}

/// Writes a file in one step, whether it is there or not. One that is there keeps its mode and, as far as this user
/// may give files away, its owner; where the path is a symbolic link, the file it leads to is written.
///
/// # Errors
/// Whatever keeps it from being written; the old file is as it was then.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder(path))?;
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
/// Whatever keeps it from being written.
pub fn back_up(path: &Path) -> io::Result<PathBuf> {
    let text = fs::read(path)?;
    let mode = fs::metadata(path)?.mode() & 0o777;
    let mut attempt = 0;
    loop {
        let backup = backup_name(path, OffsetDateTime::now_utc(), attempt);
        match File::options().write(true).create_new(true).open(&backup) {
            Ok(mut file) => {
                file.set_permissions(Permissions::from_mode(mode))?;
                file.write_all(&text)?;
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
/// Whatever keeps it from being written.
pub fn draft(path: &Path, text: &str) -> io::Result<TempPath> {
    fs::create_dir_all(folder(path))?;
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::{Date, Month, Time};

    #[test]
    fn a_file_keeps_its_mode_and_the_symbolic_link_to_it() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("dotfiles.toml"), home.path().join("config.toml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing temporary is left");
    }

    #[test]
    fn a_private_file_is_private_whatever_was_there() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("secret.env");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        put(&file, "new", true).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn a_new_file_never_takes_the_place_of_another() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a/config.toml");
        create(&file, "first").unwrap();
        assert_eq!(create(&file, "second").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "first");
    }

    #[test]
    fn backups_are_named_after_the_time_and_never_replace_each_other() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.toml");
        fs::write(&file, "mine").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let backups = [back_up(&file).unwrap(), back_up(&file).unwrap()];
        assert_ne!(backups[0], backups[1]);
        for backup in backups {
            assert_eq!(fs::read_to_string(&backup).unwrap(), "mine");
            assert_eq!(fs::metadata(&backup).unwrap().mode() & 0o777, 0o600);
        }
        let date = Date::from_calendar_date(2026, Month::March, 1).unwrap();
        let moment = OffsetDateTime::new_utc(date, Time::from_hms(4, 5, 6).unwrap());
        assert_eq!(backup_name(Path::new("/a/c.toml"), moment, 0), Path::new("/a/c.toml.20260301T040506Z.bak"));
        assert_eq!(backup_name(Path::new("c.toml"), moment, 1), Path::new("c.toml.20260301T040506Z-1.bak"));
    }

    #[test]
    fn one_waits_for_the_other_who_changes_a_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.toml");
        fs::write(&file, "0").unwrap();
        let count = || {
            let _lock = Lock::of(&file).unwrap();
            let number: u32 = fs::read_to_string(&file).unwrap().parse().unwrap();
            replace(&file, &(number + 1).to_string()).unwrap();
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(count))));
        assert_eq!(fs::read_to_string(&file).unwrap(), "8");
    }
}
