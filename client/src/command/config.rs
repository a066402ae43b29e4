//! `airpods config`: where the configuration is, what it says, whether it is right, and a first one.

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use super::Context;
use crate::config::{Config, DEFAULTS, Loaded};
use crate::error::{Failure, Report};
use crate::exit::Exit;
use crate::terminal::{Escaped, EscapedLine, print_json};

/// The arguments of `airpods config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print which file is read
    #[command(after_help = "Example: airpods config path")]
    Path {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the whole configuration, defaults included and templates replaced
    #[command(after_help = "Example: airpods config show -f json")]
    Show {
        /// The format to print in
        #[arg(short, long, value_enum, default_value_t = Format::Toml, value_name = "FORMAT")]
        format: Format,
        /// Print JSON, the same as `--format json`
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Check the configuration and say what is wrong where
    #[command(after_help = "Example: airpods config validate")]
    Validate {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a config.toml with every default and what it means
    #[command(after_help = "Example: airpods config init")]
    Init {
        /// Replace a file that is there
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Toml,
    Json,
}

/// Runs `airpods config`.
///
/// # Errors
/// The configuration's own, or those of writing it.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.action {
        Action::Path { json } => path(context, *json)?,
        Action::Show { json: true, .. } | Action::Show { format: Format::Json, .. } => {
            let loaded = context.load_config()?;
            print_json(&loaded.config)?;
        }
        Action::Show { .. } => show_toml(&context.load_config()?.config)?,
        Action::Validate { json } => validate(&context.load_config()?, *json)?,
        Action::Init { force } => init(context, *force)?,
    }
    Ok(Exit::Done)
}

/// Which file is read is known without reading what it says: this must work with a wrong file, too.
fn path(context: &Context, json: bool) -> Result<(), Failure> {
    let file = crate::config::locate(&context.environment, context.config.as_deref())?;
    match (&file, json) {
        (file, true) => print_json(&serde_json::json!({ "file": file }))?,
        (Some(file), false) => writeln!(anstream::stdout(), "{}", EscapedLine(&file.display().to_string()))?,
        (None, false) => tell("there is no configuration file, the built-in defaults are used"),
    }
    Ok(())
}

fn show_toml(config: &Config) -> Result<(), Failure> {
    let text = toml::to_string(config).map_err(ShowFailed)?;
    let mut out = anstream::stdout();
    let is_terminal = out.is_terminal();
    write_toml(&text, is_terminal, &mut out)?;
    Ok(())
}

/// TOML lets through some of what steers a terminal, which a file or a program gets as it is.
fn write_toml(text: &str, to_terminal: bool, out: &mut dyn Write) -> io::Result<()> {
    if to_terminal { write!(out, "{}", Escaped(text)) } else { out.write_all(text.as_bytes()) }
}

fn validate(loaded: &Loaded, json: bool) -> Result<(), Failure> {
    let enabled = loaded.config.enabled().count();
    if json {
        let warnings: Vec<_> = loaded.warnings.iter().map(|warning| &warning.message).collect();
        let report = serde_json::json!({
            "file": loaded.file, "valid": true, "warnings": warnings,
            "services": loaded.config.services.len(), "enabled": enabled,
        });
        return Ok(print_json(&report)?);
    }
    let file = loaded.file.as_ref().map_or_else(|| "built-in defaults".into(), |file| file.display().to_string());
    let services = loaded.config.services.len();
    tell(&format!("{file}: valid, {services} services, {enabled} of them enabled"));
    Ok(())
}

fn init(context: &Context, force: bool) -> Result<(), Failure> {
    let path = context.environment.new_file(context.config.as_deref()).ok_or(InitFailed::NoFolder)?;
    match write_file(&path, force) {
        Ok(()) => tell(&format!("created {}", path.display())),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => return Err(InitFailed::Exists(path).into()),
        Err(cause) => return Err(InitFailed::Io { path, cause }.into()),
    }
    Ok(())
}

/// The file is there complete or not at all.
fn write_file(path: &Path, force: bool) -> io::Result<()> {
    // A bare file name has an empty parent, which is the current folder.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file =
        tempfile::Builder::new().prefix(".config-").permissions(Permissions::from_mode(0o644)).tempfile_in(folder)?;
    file.write_all(DEFAULTS.as_bytes())?;
    file.as_file().sync_all()?;
    let written = if force { file.persist(path) } else { file.persist_noclobber(path) };
    written.map(drop).map_err(|failed| failed.error)
}

/// Tells a person something; nobody reading is no failure.
fn tell(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", EscapedLine(text));
}

#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be printed as TOML")]
struct ShowFailed(#[source] toml::ser::Error);

impl Report for ShowFailed {}

/// Why there is no new file.
#[derive(Debug, thiserror::Error)]
enum InitFailed {
    #[error("there is no folder for a configuration file")]
    NoFolder,
    #[error("`{}` exists", _0.display())]
    Exists(PathBuf),
    #[error("`{}` cannot be written", path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Report for InitFailed {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoFolder => Some("set `HOME`, or name a file with `--config`".into()),
            Self::Exists(_) => Some("`--force` replaces it".into()),
            Self::Io { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_shown_configuration_cannot_steer_a_terminal_and_reaches_a_file_unchanged() {
        let written = |to_terminal| {
            let mut out = Vec::new();
            write_toml("key = \"\u{9b}31m\"\n", to_terminal, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            (written(true).as_str(), written(false).as_str()),
            ("key = \"\\u{9b}31m\"\n", "key = \"\u{9b}31m\"\n")
        );
    }
}
