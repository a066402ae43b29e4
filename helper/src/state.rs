//! The state files. The desired clamps are in a file of the runtime folder. Those kept across
//! reboots are in a file of the state folder.
//!
//! A file is replaced as a whole (temporary file, fsync, rename) or stays as it was. Reading does
//! not trust the file: a symbolic link, a fifo, a huge or a malformed file is logged and ignored.
//! It never keeps the helper from starting.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use airpods_dbus::{ClampOptions, LinkName, names::MAX_CLAMPS};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

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

impl StateDirs {
    /// The released helper's folders, as in `RuntimeDirectory=` and `StateDirectory=` of its unit.
    #[must_use]
    pub fn system() -> Self {
        Self { runtime: PathBuf::from("/run/airpods-helper"), persistent: PathBuf::from("/var/lib/airpods-helper") }
    }
}

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system refused.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// The failed operation.
        doing: &'static str,
        /// The affected file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not one that this helper wrote.
    #[error("`{}` is not a state file: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
}

impl StateError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// The state that a starting helper finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedState {
    /// The desired state of the former helper.
    pub desired: Desired,
    /// The names of VPN links that auto had seen.
    pub known: BTreeSet<LinkName>,
}

/// The content of a state file. Deserialising validates its names and options.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile<'a> {
    version: u32,
    auto: Option<ClampOptions>,
    clamps: Cow<'a, BTreeMap<LinkName, ClampOptions>>,
    known: Cow<'a, BTreeSet<LinkName>>,
}

impl StateDirs {
    /// Creates the folders, accessible to the helper's user alone, while the process is still root.
    /// If a service manager starts the helper, it has already created them.
    ///
    /// # Errors
    /// [`StateError::Io`], also if an existing folder belongs to another user.
    pub fn create_for(&self, uid: u32, gid: u32) -> Result<(), StateError> {
        let mut folders = [&self.runtime, &self.persistent].into_iter();
        folders.try_for_each(|folder| make_folder(folder, uid, gid).map_err(StateError::io("make", folder)))
    }

    /// Reads the remembered state: the runtime file's, or else the persistent file's. Also returns
    /// the errors of files that exist but are unusable.
    #[must_use]
    pub fn load(&self) -> (SavedState, Vec<StateError>) {
        let mut errors = Vec::new();
        for folder in [&self.runtime, &self.persistent] {
            match read(&folder.join(FILE)) {
                Ok(Some(saved)) => return (saved, errors),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        (SavedState::default(), errors)
    }

    /// Writes the desired state until the next boot.
    ///
    /// # Errors
    /// [`StateError::Io`]; the file is then as it was.
    pub fn save_runtime(&self, desired: &Desired, known: &BTreeSet<LinkName>) -> Result<(), StateError> {
        write_or_remove(&self.runtime, desired, known)
    }

    /// Writes the state kept across reboots, unless the file already has it. With a persistent auto
    /// it includes the known names, so each of these links is clamped from its first SYN after the
    /// reboot, too.
    ///
    /// # Errors
    /// [`StateError::Io`]; the file is then as it was, unless writing the former text back failed,
    /// too.
    pub fn persist(&self, desired: &Desired, known: &BTreeSet<LinkName>) -> Result<(), StateError> {
        let kept = desired.persisted();
        let known = if kept.auto.is_some() { known } else { &BTreeSet::new() };
        write_or_remove(&self.persistent, &kept, known)
    }

    /// Whether the persistent file already has the persistent part of `desired`. An unreadable file
    /// does not.
    #[must_use]
    pub fn keeps(&self, desired: &Desired) -> bool {
        let kept = desired.persisted();
        match read(&self.persistent.join(FILE)) {
            Ok(Some(saved)) => saved.desired == kept,
            Ok(None) => kept.is_empty(),
            Err(_) => false,
        }
    }

    /// Removes the runtime file unless it has the desired state: a stale one would override the
    /// persistent file at the next start.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn remove_stale_runtime(&self, desired: &Desired) -> Result<(), StateError> {
        match read(&self.runtime.join(FILE)) {
            Ok(Some(saved)) if saved.desired == *desired => Ok(()),
            _ => self.remove_runtime(),
        }
    }

    /// Removes the runtime file.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn remove_runtime(&self) -> Result<(), StateError> {
        remove(&self.runtime.join(FILE))
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

fn read(path: &Path) -> Result<Option<SavedState>, StateError> {
    let malformed = |why| StateError::Malformed { path: path.to_owned(), why };
    read_text(path)?.map(|text| parse(&text)).transpose().map_err(malformed)
}

fn read_text(path: &Path) -> Result<Option<String>, StateError> {
    let malformed = |why: String| StateError::Malformed { path: path.to_owned(), why };
    // O_NONBLOCK: opening a fifo must not wait for its other end.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::io("open", path)(error)),
    };
    let about = file.metadata().map_err(StateError::io("read", path))?;
    if !about.is_file() || about.len() > MAX_SIZE {
        return Err(malformed(format!("it is no regular file of at most {MAX_SIZE} bytes")));
    }
    if about.mode() & 0o022 != 0 {
        return Err(malformed("others may write to it".to_owned()));
    }
    let mut text = String::new();
    // Bounded again: the file may have grown since the check.
    file.take(MAX_SIZE).read_to_string(&mut text).map_err(StateError::io("read", path))?;
    Ok(Some(text))
}

/// Parses the text of a state file.
pub(crate) fn parse(text: &str) -> Result<SavedState, String> {
    let file: StateFile<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("its version is {}, not {VERSION}", file.version));
    }
    if file.clamps.len() > MAX_CLAMPS || file.known.len() > MAX_CLAMPS {
        return Err(format!("it has more than {MAX_CLAMPS} entries"));
    }
    let desired = Desired { auto: file.auto, named: file.clamps.into_owned() };
    Ok(SavedState { desired, known: file.known.into_owned() })
}

/// Renders the text of a state file.
pub(crate) fn render(desired: &Desired, known: &BTreeSet<LinkName>) -> serde_json::Result<String> {
    let (clamps, known) = (Cow::Borrowed(&desired.named), Cow::Borrowed(known));
    serde_json::to_string(&StateFile { version: VERSION, auto: desired.auto, clamps, known })
}

fn write_or_remove(folder: &Path, desired: &Desired, known: &BTreeSet<LinkName>) -> Result<(), StateError> {
    let path = folder.join(FILE);
    let wanted = (!desired.is_empty()).then(|| render(desired, known));
    let wanted = wanted.transpose().map_err(|error| StateError::io("encode", &path)(error.into()))?;
    let before = read_text(&path);
    if before.as_ref().is_ok_and(|before| *before == wanted) {
        return Ok(());
    }
    replace(folder, wanted.as_deref())?;
    // A rename or a removal reaches the disk only with an fsync of its folder.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| {
        // An error promises that nothing has changed, so this puts the former text back. It may not
        // reach the disk either. An unreadable former file counts as absent.
        drop(replace(folder, before.ok().flatten().as_deref()));
        StateError::io("replace", &path)(source)
    })
}

/// Replaces the file in the folder by this text, or removes it for `None`.
fn replace(folder: &Path, text: Option<&str>) -> Result<(), StateError> {
    let path = folder.join(FILE);
    let Some(text) = text else { return remove(&path) };
    let failed = |doing| StateError::io(doing, &path);
    let beside = folder.join(format!(".{FILE}.new"));
    remove(&beside)?;
    // `create_new` (O_EXCL, open(2)) fails if anything is there, and follows no symbolic link.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(failed("write"))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"));
    let replaced = written.and_then(|()| fs::rename(&beside, &path).map_err(failed("replace")));
    if replaced.is_err() {
        // A partial file is useless, and on a full disk it takes space.
        drop(remove(&beside));
    }
    replaced
}

fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::io("remove", path)(source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
