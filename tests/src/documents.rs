//! The JSON documents of `airpods`, judged by the schemas in `docs/schemas`.
//!
//! The schemas allow keys that they do not name, so that programs accept a later version. Here such a key is an error: whoever adds one
//! to a document describes it.

use std::collections::BTreeMap;
use std::fs;

use boon::{Compiler, Schemas};
use serde_json::Value;

use crate::{Error, Result, repository};

/// The switches of which one selects another document.
const VARIANTS: [&str; 2] = ["--pre-fetch", "--dry-run"];

/// Every schema, by the name of its file.
///
/// # Errors
/// A file cannot be read, or is no JSON.
pub fn schemas() -> Result<BTreeMap<String, Value>> {
    let folder = repository().join("docs/schemas");
    let mut schemas = BTreeMap::new();
    let wrong = |what: &dyn std::fmt::Display| Error::new(format!("{}: {what}", folder.display()));
    for entry in fs::read_dir(&folder).map_err(|error| wrong(&error))? {
        let path = entry.map_err(|error| wrong(&error))?.path();
        let text = fs::read(&path).map_err(|error| wrong(&error))?;
        let schema = serde_json::from_slice(&text).map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
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

/// Judges what `airpods` printed with these arguments. Without `--json` among them, nothing is judged.
///
/// # Errors
/// The output is no JSON, has a key that its schema does not name, lacks one, or no schema is for the command.
pub fn judge(arguments: &[&str], printed: &str) -> Result<()> {
    if !arguments.contains(&"--json") {
        return Ok(());
    }
    let schemas = schemas()?;
    let called = arguments.join(" ");
    let name = schema_for(arguments, &schemas).ok_or_else(|| Error::new(format!("no schema is for `airpods {called}`")))?;
    for document in serde_json::Deserializer::from_str(printed).into_iter::<Value>() {
        let document = document.map_err(|error| Error::new(format!("airpods {called}: {error}: {printed}")))?;
        judge_document(name, &schemas, &document)
            .map_err(|error| Error::new(format!("airpods {called}: {error}\n{document:#}")))?;
    }
    Ok(())
}

/// The schema whose command has its words in the arguments, in their order and with the same variants.
fn schema_for<'a>(arguments: &[&str], schemas: &'a BTreeMap<String, Value>) -> Option<&'a str> {
    let matches = |command: &str| {
        let words: Vec<_> = command.split_whitespace().skip(1).filter(|word| !word.starts_with('-')).collect();
        let given = |variant: &&&str| arguments.contains(**variant);
        let asked = |variant: &&&str| command.split_whitespace().any(|word| word == **variant);
        let begins = arguments.windows(words.len()).any(|window| window == words);
        begins && VARIANTS.iter().filter(given).eq(VARIANTS.iter().filter(asked))
    };
    schemas.iter().find(|(_, schema)| commands(schema).into_iter().any(matches)).map(|(name, _)| name.as_str())
}

/// Judges a document by the schema in this file.
///
/// # Errors
/// The document has a key that the schema does not name, lacks one, or has a value of another kind.
pub fn judge_document(name: &str, schemas: &BTreeMap<String, Value>, document: &Value) -> Result<()> {
    let (mut compiler, mut compiled) = (Compiler::new(), Schemas::new());
    let place = |name: &str| format!("file:///schemas/{name}");
    for (name, schema) in schemas {
        let mut schema = schema.clone();
        close(&mut schema);
        compiler.add_resource(&place(name), schema).map_err(|error| Error::new(error.to_string()))?;
    }
    let index = compiler.compile(&place(name), &mut compiled).map_err(|error| Error::new(format!("{error:#}")))?;
    compiled.validate(document, index).map_err(|error| Error::new(format!("{name}: {error:#}")))
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
