//! Opens files that somebody else may have put where they are.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::geteuid;

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

/// Opens a plain file for reading. What it is, is known before it is opened: opening a pipe can wait for ever, and opening a
/// device can do something.
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
