//! Reading the configuration: `airpods config path`, `show`, `get` and `validate`.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::print_message;
use crate::command::Context;
use crate::config::edit::KeyPath;
use crate::config::{ConfigError, Loaded, Location, Problem, Severity, nearest};
use crate::error::{Exit, Failure, Report};
use crate::terminal::{EscapedLine, print_json, print_text};

/// Prints the path of the file. The file is not read, because this must also work with an invalid
/// one.
pub(super) fn path(context: &Context, json: bool) -> Result<Exit, Failure> {
    let file = crate::config::locate(&context.environment, context.config.as_deref())?;
    match (&file, json) {
        (file, true) => print_json(&serde_json::json!({ "file": file }))?,
        (Some(file), false) => writeln!(anstream::stdout(), "{}", EscapedLine(&file.display().to_string()))?,
        (None, false) => print_message("there is no configuration file, the built-in defaults are used"),
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
fn print_toml(table: &impl Serialize) -> Result<(), Failure> {
    Ok(print_text(&toml::to_string(table).map_err(ShowFailed)?)?)
}

#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be printed as TOML")]
struct ShowFailed(#[source] toml::ser::Error);

impl Report for ShowFailed {}

pub(super) fn get(context: &Context, key: &KeyPath, json: bool) -> Result<Exit, Failure> {
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

pub(super) fn validate(context: &Context, json: bool) -> Result<Exit, Failure> {
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
