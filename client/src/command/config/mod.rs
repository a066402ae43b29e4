//! `airpods config`: shows, checks and changes the configuration. This file has the arguments, and
//! reads for `path`, `show`, `get` and `validate`.

mod edit;
mod write;

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, completions};
use crate::config::edit::KeyPath;
use crate::config::{ConfigError, Loaded, Location, Problem, Severity, nearest};
use crate::error::{Exit, Failure, Report};
use crate::terminal::{EscapedLine, print_json, print_text};

/// The arguments of `airpods config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the path of the file in use
    #[command(after_help = "Example: airpods config path")]
    Path {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the whole configuration, with defaults, and with templates replaced
    #[command(after_help = "Example: airpods config show -f json")]
    Show {
        /// The format to print in
        #[arg(short, long, value_enum, default_value_t = Format::Toml, value_name = "FORMAT")]
        format: Format,
        /// Print JSON, the same as `--format json`
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Print the value in effect, even if it is a default
    #[command(after_help = "Example: airpods config get services.ollama.ports.0.host")]
    Get {
        /// The key, with dots between its parts and numbers for the items of arrays
        #[arg(value_name = "KEY", add = completions::keys())]
        key: KeyPath,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change or remove one value in the file; comments and order are kept
    #[command(after_help = "Examples:
  airpods config set runtime.network.mtu 1380
  airpods config set services.ollama.network_aliases '[\"ollama\", \"llm\"]'
  airpods config set -t str services.ollama.env.LEVEL 3
  airpods config set services.ollama.env.LEVEL --unset")]
    Set {
        /// The key, with dots between its parts and numbers for the items of arrays
        #[arg(value_name = "KEY", add = completions::keys())]
        key: KeyPath,
        /// The value
        #[arg(value_name = "VALUE", allow_hyphen_values = true, required_unless_present = "unset")]
        value: Option<String>,
        /// Remove the key from the file, so that its default applies
        #[arg(long, conflicts_with_all = ["value", "kind"])]
        unset: bool,
        /// The type of the value; `auto` follows its form, or takes a string if the key needs one
        #[arg(short = 't', long = "type", value_enum, default_value_t = write::Type::Auto, value_name = "TYPE")]
        kind: write::Type,
    },
    /// Change the file in an editor; a draft with errors is not accepted
    #[command(after_help = "Example: airpods config edit")]
    Edit,
    /// Check the configuration and print its errors, each with its line
    #[command(after_help = "Example: airpods config validate")]
    Validate {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a config.toml with every default and its meaning
    #[command(after_help = "Example: airpods config init")]
    Init {
        /// Replace an existing file
        #[arg(short, long)]
        force: bool,
    },
    /// Replace the file with the defaults, and keep a copy of it
    #[command(after_help = "Example: airpods config reset")]
    Reset {
        /// Do not ask for confirmation
        #[arg(short, long, visible_short_alias = 'y', visible_alias = "yes")]
        force: bool,
    },
}

/// Runs `airpods config`.
///
/// # Errors
/// Those of reading, checking and writing the configuration.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::Path { json } => path(context, json),
        Action::Show { format, json } => show(context, if json { Format::Json } else { format }),
        Action::Get { key, json } => get(context, &key, json),
        Action::Set { key, value, kind, .. } => write::set(context, &key, value.as_deref(), kind),
        Action::Edit => edit::run(context).await,
        Action::Validate { json } => validate(context, json),
        Action::Init { force } => write::init(context, force),
        Action::Reset { force } => write::reset(context, force).await,
    }
}

/// Prints the path of the file. The file is not read, because this must also work with an invalid
/// one.
fn path(context: &Context, json: bool) -> Result<Exit, Failure> {
    let file = crate::config::locate(&context.environment, context.config.as_deref())?;
    match (&file, json) {
        (file, true) => print_json(&json!({ "file": file }))?,
        (Some(file), false) => writeln!(anstream::stdout(), "{}", EscapedLine(&file.display().to_string()))?,
        (None, false) => print_message("there is no configuration file, the built-in defaults are used"),
    }
    Ok(Exit::Done)
}

/// Its printed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A `config.toml` that loads to the same configuration.
    Toml,
    /// For programs.
    Json,
}

/// Prints the whole configuration.
fn show(context: &Context, format: Format) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    match format {
        Format::Json => print_json(&loaded.config)?,
        Format::Toml => print_toml(&loaded.config.written().map_err(ShowFailed)?)?,
    }
    Ok(Exit::Done)
}

/// Prints a table as TOML.
fn print_toml(table: &impl Serialize) -> Result<(), Failure> {
    Ok(print_text(&toml::to_string(table).map_err(ShowFailed)?)?)
}

#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be printed as TOML")]
struct ShowFailed(#[source] toml::ser::Error);

impl Report for ShowFailed {}

fn get(context: &Context, key: &KeyPath, json: bool) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let config = toml::Value::try_from(&loaded.config).map_err(NotShown)?;
    let value = find(&config, key.parts())?;
    match value {
        value if json => print_json(value)?,
        toml::Value::Table(table) => print_toml(table)?,
        toml::Value::String(text) => print_text(&format!("{text}\n"))?,
        value => print_text(&format!("{value}\n"))?,
    }
    Ok(Exit::Done)
}

fn find<'a>(config: &'a toml::Value, parts: &[String]) -> Result<&'a toml::Value, NoValue> {
    parts.iter().enumerate().try_fold(config, |value, (done, part)| {
        let found = match value {
            toml::Value::Table(table) => table.get(part),
            toml::Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        found.ok_or_else(|| {
            let near = value.as_table().and_then(|table| nearest(part, table.keys().map(String::as_str)));
            let meant = near.map(|near| [&parts[..done], &[near.to_owned()], &parts[done + 1..]].concat().join("."));
            NoValue { key: parts.join("."), meant }
        })
    })
}

/// The key does not exist, or has neither a value nor a default.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` has no value")]
struct NoValue {
    key: String,
    /// A similar key, if there is one.
    meant: Option<String>,
}

impl Report for NoValue {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match &self.meant {
            Some(key) => format!("did you mean `{key}`?").into(),
            None => "`airpods config show` prints every value".into(),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be read as values")]
struct NotShown(#[source] toml::ser::Error);

impl Report for NotShown {}

fn validate(context: &Context, json: bool) -> Result<Exit, Failure> {
    let loaded = crate::config::load(&context.environment, context.config.as_deref());
    let checked = loaded.and_then(Loaded::refuse_unknown_keys);
    if json {
        let file = crate::config::locate(&context.environment, context.config.as_deref()).ok().flatten();
        print_json(&report(&checked, file.as_deref()))?;
    }
    let loaded = checked?;
    loaded.print_warnings(&mut anstream::stderr());
    if !json {
        let file = loaded.file.as_ref().map_or_else(|| "built-in defaults".into(), |file| file.display().to_string());
        let (all, enabled) = (loaded.config.services.len(), loaded.config.enabled().count());
        print_message(&format!("{file}: valid, {all} services, {enabled} of them enabled"));
    }
    Ok(Exit::Done)
}

/// The result of a check as JSON, also for an invalid file.
fn report(checked: &Result<Loaded, ConfigError>, file: Option<&Path>) -> Value {
    match checked {
        Ok(loaded) => json!({
            "file": loaded.file, "valid": true,
            "services": loaded.config.services.len(), "enabled": loaded.config.enabled().count(),
            "errors": [], "warnings": problems(&loaded.warnings, Severity::Warning),
        }),
        Err(ConfigError::Wrong(found)) => json!({
            "file": file, "valid": false,
            "errors": problems(found, Severity::Error), "warnings": problems(found, Severity::Warning),
        }),
        // The file is missing or cannot be read.
        Err(other) => {
            json!({ "file": file, "valid": false, "errors": [{ "message": other.to_string() }], "warnings": [] })
        }
    }
}

/// The problems of this severity.
fn problems(all: &[Problem], severity: Severity) -> Vec<Value> {
    let is_error = severity == Severity::Error;
    all.iter().filter(|problem| (problem.severity == Severity::Error) == is_error).map(describe).collect()
}

fn describe(problem: &Problem) -> Value {
    let at = problem.at.as_ref();
    let (line, column) = at.map(Location::line_and_column).unzip();
    json!({
        "message": problem.message, "hint": problem.hint, "line": line, "column": column,
        "file": at.and_then(|at| at.source().path()),
    })
}

/// Prints a message to stderr. A closed stderr is no failure.
fn print_message(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", EscapedLine(text));
}
