//! `airpods export kube`.

use std::path::Path;

use super::{warn, write};
use crate::error::Failure;
use crate::export::Subject;
use crate::export::kube::{self, Workload};
use crate::terminal::print_text;

/// Writes the file, or prints it without its secrets.
pub(super) fn run(
    subject: &Subject<'_>,
    workload: Workload,
    output: Option<&Path>,
    force: bool,
) -> Result<(), Failure> {
    let export = kube::export(subject, workload);
    match output {
        Some(path) => {
            let files = export.files.iter().map(|file| (path.to_owned(), file));
            write::all(&files.collect::<Vec<_>>(), force)?;
        }
        None => export.files.iter().try_for_each(|file| print_text(&file.text))?,
    }
    warn(&export.warnings);
    Ok(())
}
