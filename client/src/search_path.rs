//! Finding programs as a shell does.

use std::path::{Path, PathBuf};

/// A program by `$PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    find_in(program, std::env::split_paths(&path))
}

/// A program in the first of these folders that has it.
pub(crate) fn find_in(program: &str, folders: impl IntoIterator<Item = impl AsRef<Path>>) -> Option<PathBuf> {
    folders.into_iter().map(|folder| folder.as_ref().join(program)).find(|file| file.is_file())
}
