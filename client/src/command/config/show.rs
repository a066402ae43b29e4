//! `airpods config show`: the whole configuration.

use clap::ValueEnum;
use serde::Serialize;

use crate::command::Context;
use crate::error::{Failure, Report};
use crate::exit::Exit;
use crate::terminal::{print_json, print_text};

/// What it is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// As a `config.toml` that loads to the same.
    Toml,
    /// For programs.
    Json,
}

pub(super) fn run(context: &Context, format: Format) -> Result<Exit, Failure> {
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
