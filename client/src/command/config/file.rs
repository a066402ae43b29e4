//! The file as a whole: `airpods config path`, `show`, `init` and `reset`.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::error::NotWritten;
use super::tell;
use crate::command::Context;
use crate::config::DEFAULTS;
use crate::error::{Failure, Report};
use crate::exit::Exit;
use crate::file;
use crate::question::{Answer, Consent, ask};
use crate::terminal::{EscapedLine, print_json, print_text};

/// Which file is read is known without reading what it says: this must work with a wrong file, too.
pub(super) fn path(context: &Context, json: bool) -> Result<Exit, Failure> {
    let file = crate::config::locate(&context.environment, context.config.as_deref())?;
    match (&file, json) {
        (file, true) => print_json(&serde_json::json!({ "file": file }))?,
        (Some(file), false) => writeln!(anstream::stdout(), "{}", EscapedLine(&file.display().to_string()))?,
        (None, false) => tell("there is no configuration file, the built-in defaults are used"),
    }
    Ok(Exit::Done)
}

/// Its printed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A `config.toml` that loads to the same configuration.
    Toml,
    /// For programs.
    Json,
}

/// Prints the whole configuration.
pub(super) fn show(context: &Context, format: Format) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    match format {
        Format::Json => print_json(&loaded.config)?,
        Format::Toml => print_toml(&loaded.config.written().map_err(ShowFailed)?)?,
    }
    Ok(Exit::Done)
}

/// Prints a table as TOML.
pub(super) fn print_toml(table: &impl Serialize) -> Result<(), Failure> {
    Ok(print_text(&toml::to_string(table).map_err(ShowFailed)?)?)
}

#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be printed as TOML")]
struct ShowFailed(#[source] toml::ser::Error);

impl Report for ShowFailed {}

/// Writes a first file.
pub(super) fn init(context: &Context, force: bool) -> Result<Exit, Failure> {
    let path = context.environment.new_file(context.config.as_deref()).ok_or(NotWritten::NoFolder)?;
    let written = if force { file::replace(&path, DEFAULTS) } else { file::create(&path, DEFAULTS) };
    match written {
        Ok(()) => tell(&format!("created {}", path.display())),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => return Err(NotWritten::Exists(path).into()),
        Err(cause) => return Err(NotWritten::Unwritable { path, cause }.into()),
    }
    Ok(Exit::Done)
}

/// Replaces the file with the defaults, and keeps a copy of it.
pub(super) async fn reset(context: &Context, force: bool) -> Result<Exit, Failure> {
    // A wrong file can be reset too, so the file is located and not read.
    let Some(path) = crate::config::locate(&context.environment, context.config.as_deref())? else {
        tell("there is no configuration file, the built-in defaults are used");
        return Ok(Exit::Done);
    };
    let question = format!("Replace `{}` with the defaults, and keep a copy of it?", path.display());
    match ask(&question, Consent::from_switches(force, false)).await? {
        Answer::Yes => {}
        Answer::No => return Ok(Exit::Done),
        Answer::Nobody => return Err(NotWritten::Unconfirmed(path).into()),
    }
    let unwritable = NotWritten::unwritable(&path);
    let _lock = file::Lock::of(&path).map_err(&unwritable)?;
    let backup = file::back_up(&path).map_err(&unwritable)?;
    file::replace(&path, DEFAULTS).map_err(&unwritable)?;
    tell(&format!("restored the defaults in {}; the old file is {}", path.display(), backup.display()));
    Ok(Exit::Done)
}
