//! Files of an export onto the disk: all of them or, where one is in the way, none.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::error::{Failure, Report};
use crate::export::File;
use crate::file;
use crate::terminal::EscapedLine;

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("`{}` exists", .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("`, `"))]
    Exists(Vec<PathBuf>),
    #[error("`{}` cannot be written", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Report for WriteError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::Exists(_)).then(|| "`--force` replaces what is there; nothing was written".into())
    }
}

/// Writes files, and says which.
pub(super) fn all(files: &[(PathBuf, &File)], force: bool) -> Result<(), Failure> {
    let there: Vec<_> = files.iter().map(|(path, _)| path).filter(|path| path.symlink_metadata().is_ok()).collect();
    if !force && !there.is_empty() {
        return Err(WriteError::Exists(there.into_iter().cloned().collect()).into());
    }
    for (path, file) in files {
        file::put(path, &file.text, file.private)
            .map_err(|cause| WriteError::Unwritable { path: path.clone(), cause })?;
        // Nobody reading is no failure.
        let _ = writeln!(anstream::stderr(), "wrote {}", EscapedLine(&path.display().to_string()));
    }
    Ok(())
}
