//! An export onto the terminal or into files: all of them or, where one is in the way, none.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::warn;
use crate::error::{Failure, Report};
use crate::export::kube::Workload;
use crate::export::{self, File, Subject};
use crate::file;
use crate::home::HomeFault;
use crate::terminal::{EscapedLine, print_text};

/// Writes the units into a folder, or prints those that are nobody's secret, each after its name.
pub(super) fn quadlet(subject: &Subject<'_>, folder: Option<&Path>, force: bool) -> Result<(), Failure> {
    let export = export::quadlet::export(subject);
    if let Some(folder) = folder {
        let files = export.files.iter().map(|file| (folder.join(&file.name), file));
        all(&files.collect::<Vec<_>>(), force)?;
    } else {
        let shown = export.files.iter().filter(|file| !file.private);
        let texts = shown.map(|file| format!("# {}\n\n{}", file.name, file.text));
        print_text(&texts.collect::<Vec<_>>().join("\n"))?;
    }
    warn(&export.warnings);
    if folder.is_some() {
        // Nobody reading is no failure.
        let _ = writeln!(anstream::stderr(), "systemd reads them after `systemctl --user daemon-reload`");
    }
    Ok(())
}

/// Writes the file, or prints it without its secrets.
pub(super) fn kube(
    subject: &Subject<'_>,
    workload: Workload,
    output: Option<&Path>,
    force: bool,
) -> Result<(), Failure> {
    let export = export::kube::export(subject, workload);
    match output {
        Some(path) => {
            let files = export.files.iter().map(|file| (path.to_owned(), file));
            all(&files.collect::<Vec<_>>(), force)?;
        }
        None => export.files.iter().try_for_each(|file| print_text(&file.text))?,
    }
    warn(&export.warnings);
    Ok(())
}

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
    fn home_fault(&self) -> Option<HomeFault> {
        match self {
            Self::Unwritable { path, .. } => HomeFault::of(path),
            Self::Exists(_) => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::Exists(_)).then(|| "nothing was written; `--force` replaces existing files".into())
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
