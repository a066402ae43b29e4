//! `airpods config validate`: what is wrong where.

use std::path::Path;

use serde_json::{Value, json};

use super::tell;
use crate::command::Context;
use crate::config::{ConfigError, Loaded, Location, Problem, Severity};
use crate::error::Failure;
use crate::exit::Exit;
use crate::terminal::print_json;

pub(super) fn run(context: &Context, json: bool) -> Result<Exit, Failure> {
    let loaded = crate::config::load(&context.environment, context.config.as_deref());
    let checked = loaded.and_then(Loaded::refuse_unknown_keys);
    if json {
        let file = crate::config::locate(&context.environment, context.config.as_deref()).ok().flatten();
        print_json(&report(&checked, file.as_deref()))?;
    }
    let loaded = checked?;
    loaded.tell_warnings(&mut anstream::stderr());
    if !json {
        let file = loaded.file.as_ref().map_or_else(|| "built-in defaults".into(), |file| file.display().to_string());
        let (all, enabled) = (loaded.config.services.len(), loaded.config.enabled().count());
        tell(&format!("{file}: valid, {all} services, {enabled} of them enabled"));
    }
    Ok(Exit::Done)
}

/// The same for a program, also about a file that is wrong.
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

/// Those that are errors, or those that are not.
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
