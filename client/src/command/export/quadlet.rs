//! `airpods export quadlet`.

use std::io::Write;
use std::path::Path;

use super::{warn, write};
use crate::error::Failure;
use crate::export::{self, Subject};
use crate::terminal::print_text;

/// Writes the units into a folder, or prints those that are nobody's secret, each after its name.
pub(super) fn run(subject: &Subject<'_>, folder: Option<&Path>, force: bool) -> Result<(), Failure> {
    let export = export::quadlet::export(subject);
    if let Some(folder) = folder {
        let files = export.files.iter().map(|file| (folder.join(&file.name), file));
        write::all(&files.collect::<Vec<_>>(), force)?;
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
