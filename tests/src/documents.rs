//! The JSON documents of `airpods`, judged by the schemas in `docs/schemas`.
//!
//! The schemas allow keys that they do not name, so that programs accept a later version. Here such
//! a key is an error, so every new key of a document must be described in its schema.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::process::{Command, Output};

use boon::{Compiler, Schemas};
use serde_json::Value;

use crate::error::Doing;
use crate::{Error, Result, repository};

/// The switches of which one selects another document.
const VARIANTS: [&str; 2] = ["--pre-fetch", "--dry-run"];

/// An error about a schema or a document.
fn wrong(what: &dyn Display, why: &dyn Display) -> Error {
    Error::Parse { what: what.to_string(), why: why.to_string() }
}

/// Every schema, by the name of its file.
///
/// # Errors
/// A file cannot be read, or is no JSON.
pub fn schemas() -> Result<BTreeMap<String, Value>> {
    let folder = repository().join("docs/schemas");
    let mut schemas = BTreeMap::new();
    let reading = || format!("read {}", folder.display());
    for entry in fs::read_dir(&folder).doing(reading)? {
        let path = entry.doing(reading)?.path();
        let text = fs::read(&path).doing(reading)?;
        let schema = serde_json::from_slice(&text).map_err(|error| wrong(&path.display(), &error))?;
        schemas.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), schema);
    }
    Ok(schemas)
}

/// The command lines that a schema is for, such as `airpods start --dry-run --json`.
#[must_use]
pub fn commands(schema: &Value) -> Vec<&str> {
    let commands = schema["x-commands"].as_array();
    commands.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Judges what `airpods` printed with these arguments. Without `--json` among them, nothing is
/// judged.
///
/// # Errors
/// The output is no JSON, has a key that its schema does not name, lacks one, or no schema is for
/// the command.
pub fn judge(arguments: &[&str], printed: &str) -> Result<()> {
    if !arguments.contains(&"--json") {
        return Ok(());
    }
    let schemas = schemas()?;
    let called = format!("the output of `airpods {}`", arguments.join(" "));
    let name = schema_for(arguments, &schemas).ok_or_else(|| wrong(&called, &"no schema is for it"))?;
    for document in serde_json::Deserializer::from_str(printed).into_iter::<Value>() {
        let document = document.map_err(|error| wrong(&called, &format!("{error}: {printed}")))?;
        judge_document(name, &schemas, &document).map_err(|error| wrong(&called, &format!("{error}\n{document:#}")))?;
    }
    Ok(())
}

/// Judges the output of a command of the laboratory. The words that enter a world may precede
/// `airpods` in its arguments.
///
/// # Errors
/// Those of [`judge`].
pub fn judge_output(command: &Command, output: &Output) -> Result<()> {
    let arguments: Vec<_> = command.get_args().filter_map(|argument| argument.to_str()).collect();
    judge(&arguments, &String::from_utf8_lossy(&output.stdout))
}

/// The schema whose command has its words in the arguments, in their order and with the same
/// variants.
fn schema_for<'a>(arguments: &[&str], schemas: &'a BTreeMap<String, Value>) -> Option<&'a str> {
    let matches = |command: &str| {
        let words: Vec<_> = command.split_whitespace().skip(1).filter(|word| !word.starts_with('-')).collect();
        let same =
            |variant: &str| arguments.contains(&variant) == command.split_whitespace().any(|word| word == variant);
        VARIANTS.into_iter().all(same) && arguments.windows(words.len()).any(|window| window == words)
    };
    schemas.iter().find(|(_, schema)| commands(schema).into_iter().any(matches)).map(|(name, _)| name.as_str())
}

/// Judges a document by the schema in this file.
///
/// # Errors
/// The document has a key that the schema does not name, lacks one, or has a value of another kind.
pub fn judge_document(name: &str, schemas: &BTreeMap<String, Value>, document: &Value) -> Result<()> {
    let (mut compiler, mut loaded) = (Compiler::new(), Schemas::new());
    let place = |name: &str| format!("file:///schemas/{name}");
    for (name, schema) in schemas {
        let mut schema = schema.clone();
        close(&mut schema);
        compiler.add_resource(&place(name), schema).map_err(|error| wrong(name, &error))?;
    }
    let index = compiler.compile(&place(name), &mut loaded).map_err(|error| wrong(&name, &error))?;
    loaded.validate(document, index).map_err(|error| wrong(&name, &error))
}

/// Refuses every key that is not named, wherever keys are.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object) && members.contains_key("required") {
                members.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_document_with_a_key_too_many_too_few_or_of_another_kind_is_refused() {
        let judged = |printed: &str| judge(&["open", "web", "--json"], printed);
        judged(r#"{"service": "web", "url": "http://localhost:80", "running": true}"#).unwrap();
        for wrong in [
            r#"{"service": "web", "url": "http://localhost:80", "running": true, "more": 1}"#,
            r#"{"service": "web", "url": "http://localhost:80"}"#,
            r#"{"service": "web", "url": "http://localhost:80", "running": "yes"}"#,
            "web",
        ] {
            judged(wrong).unwrap_err();
        }
        judge(&["nonsense", "--json"], "{}").unwrap_err();
    }

    #[test]
    fn a_schema_is_found_by_the_words_and_the_switches_of_the_command() {
        let schemas = schemas().unwrap();
        let found = |line: &str| {
            let arguments: Vec<_> = line.split_whitespace().collect();
            schema_for(&arguments, &schemas).unwrap_or_default().to_owned()
        };
        assert_eq!(found("start one --json"), "start.json");
        assert_eq!(found("--config x start one --json --dry-run"), "plan.json");
        assert_eq!(found("start --pre-fetch --json"), "start-pre-fetch.json");
        assert_eq!(found("net clamp on wg0 --mtu auto --json"), "net-clamp-change.json");
        assert_eq!(found("stop --remove --dry-run --json"), "stop-dry-run.json");
    }

    #[test]
    fn every_schema_is_one_and_describes_an_object() {
        let schemas = schemas().unwrap();
        assert!(schemas.len() > 15, "the premise");
        for (name, schema) in &schemas {
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
            // `config get` prints a value of any kind; nothing else prints a bare array.
            let array = judge_document(name, &schemas, &Value::Array(Vec::new()));
            assert_eq!(array.is_ok(), name == "config-get.json", "{name}: {array:?}");
        }
    }
}
