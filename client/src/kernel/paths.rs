//! What there is under a path of the host.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What there is under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A folder.
    Folder,
    /// A file, or anything else that is no folder.
    File,
    /// Nothing.
    Missing,
    /// Nothing, and nothing can be made there: a part of the path is a file.
    Blocked,
}

impl PathKind {
    /// Looks; none where this user may not.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Some(Self::Folder),
            Ok(_) => Some(Self::File),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(Self::Missing),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Some(Self::Blocked),
            Err(_) => None,
        }
    }
}
