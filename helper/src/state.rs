//! The state files. The desired clamps are in a file of the runtime folder. Those kept across
//! reboots are in a file of the state folder.
//!
//! A file is replaced as a whole (temporary file, fsync, rename) or stays as it was. Reading does
//! not trust the file: a symbolic link, a fifo, a huge or a malformed file is logged and ignored.
//! It never keeps the helper from starting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use airpods_dbus::{ClampOptions, LinkName, names::MAX_CLAMPS};
use nix::fcntl::OFlag;
use serde::Deserialize;

use crate::clamp::Desired;

/// The file's name in either folder.
pub const FILE: &str = "state.json";
/// Upper bound on the size of a state file, in bytes: twice [`MAX_CLAMPS`] entries of less than 128
/// bytes.
pub(crate) const MAX_SIZE: u64 = 128 * 2 * MAX_CLAMPS as u64;
/// The version of the format.
const VERSION: u32 = 2;

/// The folders of the state files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirs {
    /// For the state until the next boot.
    pub runtime: PathBuf,
    /// For the state kept across reboots.
    pub persistent: PathBuf,
}

/// The content of a state file. Deserialising validates its names and options.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    auto: Option<ClampOptions>,
    clamps: BTreeMap<LinkName, ClampOptions>,
    known: BTreeSet<LinkName>,
}

/// Adds what failed to an error.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {doing} `{}`: {error}", path.display()))
}

impl StateDirs {
    /// The released helper's folders, as in `RuntimeDirectory=` and `StateDirectory=` of its unit.
    #[must_use]
    pub fn system() -> Self {
        Self { runtime: PathBuf::from("/run/airpods-helper"), persistent: PathBuf::from("/var/lib/airpods-helper") }
    }

    /// Creates the folders, accessible to the helper's user alone, while the process is still root.
    /// If a service manager starts the helper, it has already created them.
    ///
    /// # Errors
    /// The system's error, also if an existing folder belongs to another user.
    pub fn create_for(&self, uid: u32, gid: u32) -> io::Result<()> {
        let mut folders = [&self.runtime, &self.persistent].into_iter();
        folders.try_for_each(|folder| make_folder(folder, uid, gid).map_err(failed("make", folder)))
    }

    /// Reads the remembered state: the runtime file's, or else the persistent file's. Also returns
    /// the errors of files that exist but are unusable.
    #[must_use]
    pub fn load(&self) -> (Desired, Vec<io::Error>) {
        let mut errors = Vec::new();
        for file in [self.runtime.join(FILE), self.persistent.join(FILE)] {
            match read(&file) {
                Ok(Some(saved)) => return (saved, errors),
                Ok(None) => {}
                Err(error) => errors.push(failed("use", &file)(error)),
            }
        }
        (Desired::default(), errors)
    }

    /// Writes the desired state until the next boot. If that fails, it removes a file with other
    /// clamps: at the next start they would override the persistent ones.
    ///
    /// # Errors
    /// The system's error if the state was not written.
    pub fn save_runtime(&self, desired: &Desired) -> io::Result<()> {
        StateText::new(&self.runtime, desired).write().map(drop).inspect_err(|_| {
            if !has_clamps(&self.runtime, desired) {
                // The error of the write is reported in any case.
                drop(remove(&self.runtime.join(FILE)));
            }
        })
    }

    /// The text of the persistent file for a desired state. With a persistent auto it includes the
    /// known names, so each of these links is clamped from its first SYN after the reboot, too.
    #[must_use]
    pub fn kept(&self, desired: &Desired) -> StateText {
        StateText::new(&self.persistent, &desired.persisted())
    }

    /// Whether the persistent file already has the persistent clamps of `desired`. An unreadable
    /// file does not.
    #[must_use]
    pub fn keeps(&self, desired: &Desired) -> bool {
        has_clamps(&self.persistent, &desired.persisted())
    }
}

/// A text for the state file of a folder.
#[derive(Debug)]
pub struct StateText {
    folder: PathBuf,
    /// `None` for no file.
    text: Option<String>,
}

impl StateText {
    fn new(folder: &Path, desired: &Desired) -> Self {
        Self { folder: folder.to_owned(), text: (!desired.is_empty()).then(|| render(desired)) }
    }

    /// Writes the text, and blocks until it is on the disk. Returns the former text, or `None` if
    /// it is the same. An unreadable former file counts as absent.
    ///
    /// # Errors
    /// The system's error; the file is then as it was, unless writing the former text back failed,
    /// too.
    pub fn write(self) -> io::Result<Option<Self>> {
        let path = self.folder.join(FILE);
        let failed = failed("write", &path);
        let before = read_text(&path);
        if before.as_ref().is_ok_and(|before| *before == self.text) {
            return Ok(None);
        }
        let before = before.ok().flatten();
        let replaced = replace(&path, self.text.as_deref()).and_then(|()| {
            // A rename or a removal reaches the disk only with an fsync of its folder. An error
            // promises that nothing has changed, so the former text is put back.
            let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
            synced.inspect_err(|_| drop(replace(&path, before.as_deref())))
        });
        replaced.map(|()| Some(Self { text: before, ..self })).map_err(failed)
    }
}

fn make_folder(folder: &Path, uid: u32, gid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The descriptor (`O_NOFOLLOW`) ensures that the folder that is checked is the one that is
    // changed.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(folder)?;
    let owner = opened.metadata()?.uid();
    if owner != 0 && owner != uid {
        return Err(io::Error::other(format!("it belongs to user {owner}")));
    }
    opened.set_permissions(Permissions::from_mode(0o700))?;
    std::os::unix::fs::fchown(&opened, Some(uid), Some(gid))
}

/// Whether the file of a folder has the clamps of `desired`. The names that auto knows may differ.
fn has_clamps(folder: &Path, desired: &Desired) -> bool {
    read(&folder.join(FILE)).is_ok_and(|saved| {
        let saved = saved.unwrap_or_default();
        (saved.auto, &saved.named) == (desired.auto, &desired.named)
    })
}

fn read(path: &Path) -> io::Result<Option<Desired>> {
    read_text(path)?.map(|text| parse(&text)).transpose()
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    // O_NONBLOCK: opening a fifo must not wait for its other end.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let about = file.metadata()?;
    if !about.is_file() || about.len() > MAX_SIZE {
        return Err(io::Error::other(format!("it is no regular file of at most {MAX_SIZE} bytes")));
    }
    if about.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it"));
    }
    let mut text = String::new();
    // Bounded again: the file may have grown since the check.
    file.take(MAX_SIZE).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Parses the text of a state file.
pub(crate) fn parse(text: &str) -> io::Result<Desired> {
    let Content { version, auto, clamps: named, known } = serde_json::from_str(text)?;
    if version != VERSION {
        return Err(io::Error::other(format!("its version is {version}, not {VERSION}")));
    }
    if named.len() > MAX_CLAMPS || known.len() > MAX_CLAMPS {
        return Err(io::Error::other(format!("it has more than {MAX_CLAMPS} entries")));
    }
    Ok(Desired { auto, named, known })
}

/// Renders the text of a state file.
pub(crate) fn render(Desired { auto, named, known }: &Desired) -> String {
    serde_json::json!({ "version": VERSION, "auto": auto, "clamps": named, "known": known }).to_string()
}

/// Replaces the file by this text, or removes it for `None`.
fn replace(path: &Path, text: Option<&str>) -> io::Result<()> {
    let Some(text) = text else { return remove(path) };
    let beside = path.with_file_name(format!(".{FILE}.new"));
    remove(&beside)?;
    // `create_new` (O_EXCL, open(2)) fails if anything is there, and follows no symbolic link.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // A partial file is useless, and on a full disk it takes space.
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(remove(&beside)))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
