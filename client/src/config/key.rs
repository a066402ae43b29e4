//! The keys that a configuration can have: those that hold arrays, and the words for completing a
//! command line. The reader notes them as it reads, so that there is no second list to keep in
//! step.

use std::path::Path;

use serde::Serialize;
use toml_edit::Array;

use super::places::Places;
use super::problem::Problems;
use super::tree::{Table, Value};
use super::{DEFAULTS, Environment, ServiceName, Source, find, read_config};

/// A key that holds an array.
#[derive(Clone, Debug)]
pub(super) struct List {
    key: String,
    /// The default content, as TOML.
    unset: String,
    /// Whether a value that is no array stands for an array of one.
    takes_one: bool,
    /// Whether a table is accepted in its place, whose keys are no numbers.
    takes_table: bool,
}

impl List {
    pub(super) fn new(key: String, unset: &impl Serialize) -> Self {
        // Every list of the model serializes to an array.
        let unset = toml::Value::try_from(unset).map_or_else(|_| "[]".to_owned(), |unset| unset.to_string());
        Self { key, unset, takes_one: false, takes_table: false }
    }

    /// The same list, with one value accepted in place of an array.
    pub(super) fn or_one(self) -> Self {
        Self { takes_one: true, ..self }
    }

    /// The same list, with a table accepted in its place.
    pub(super) fn or_table(self) -> Self {
        Self { takes_table: true, ..self }
    }

    /// Such as `services.ollama.ports`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The default content.
    pub(super) fn unset(&self) -> Array {
        let unset = self.unset.parse::<toml_edit::Value>().ok();
        unset.and_then(|unset| unset.as_array().cloned()).unwrap_or_default()
    }

    /// Whether this part of a key leads into a table in place of the list.
    pub(super) fn takes_table_for(&self, part: &str) -> bool {
        self.takes_table && part.parse::<usize>().is_err()
    }

    pub(super) fn takes_one(&self) -> bool {
        self.takes_one
    }
}

/// The list into which a key leads, and how many parts the list's own key has:
/// `services.new.ports` and 3 for `services.new.ports.0.host`. The services of the file do not
/// matter: all possible services have the same keys.
pub(super) fn list_above(parts: &[String]) -> Option<(usize, List)> {
    let header: Vec<_> = parts.iter().map(|part| toml_edit::Key::new(part).to_string()).collect();
    let tree = Table::parse(&Source::built_in(&format!("[{}]", header.join(".")))).ok()?;
    let problems = Problems::default();
    read_config(&tree, &Places::default(), &problems);
    let lists = problems.into_lists();
    (1..parts.len()).find_map(|depth| {
        let key = parts[..depth].join(".");
        Some((depth, lists.iter().find(|list| list.key() == key)?.clone()))
    })
}

/// The names and keys of a configuration. A file with errors gives them, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionWords {
    /// The services, in the order of the configuration.
    pub services: Vec<String>,
    /// The keys of single values, including those that are not set.
    pub keys: Vec<String>,
}

/// Reads the file that [`super::load`] would read, as far as possible; `option` is `--config`. If
/// there is none, or it is not TOML, the words are those of the defaults.
#[must_use]
pub fn completion_words(environment: &Environment, option: Option<&Path>) -> CompletionWords {
    let file = find(environment, option).ok().flatten();
    CompletionWords::of(file.map(|(_, text)| text).as_deref())
}

impl CompletionWords {
    fn of(text: Option<&str>) -> Self {
        let Ok(mut tree) = Table::parse(&Source::built_in(DEFAULTS)) else { return Self::default() };
        if let Some(Ok(over)) = text.map(|text| Table::parse(&Source::built_in(text))) {
            tree.overlay(over);
        }
        let problems = Problems::default();
        read_config(&tree, &Places::default(), &problems);
        let asked_for = problems.into_keys();
        let has_parts = |key: &String| {
            let below = format!("{key}.");
            asked_for.iter().any(|other| other.starts_with(&below))
        };
        // A volume may have any name. A name that needs quotes is left out, since the shell would
        // have to quote it again.
        let is_plain = |key: &String| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let mut keys: Vec<String> = asked_for.iter().filter(|key| is_plain(key) && !has_parts(key)).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        Self { services: services(&tree), keys }
    }
}

fn services(tree: &Table) -> Vec<String> {
    let Some(Value::Table(services)) = tree.get("services").map(|node| &node.value) else { return Vec::new() };
    services.iter().filter(|(name, _)| name.parse::<ServiceName>().is_ok()).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn problems(text: &str) -> Problems {
        let mut tree = Table::parse(&Source::built_in(DEFAULTS)).unwrap();
        tree.overlay(Table::parse(&Source::built_in(text)).unwrap());
        let problems = Problems::default();
        read_config(&tree, &Places::default(), &problems);
        problems
    }

    fn list(key: &str) -> Option<List> {
        let parts: Vec<_> = key.split('.').map(str::to_owned).collect();
        list_above(&[&parts[..], &["0".to_owned()]].concat()).map(|(_, list)| list)
    }

    #[test]
    fn a_key_is_known_for_a_list_exactly_where_it_takes_an_array() {
        let keys = problems("dependencies = {}\nservices.ollama.resources = {}").into_keys();
        // One service stands for all. Keys below `ports` are skipped: their numbers are items of
        // the list.
        let counts =
            |key: &&String| !key.contains(".ports.") && (key.contains(".ollama.") || !key.contains("services."));
        let mut lists = 0;
        for key in keys.iter().filter(counts) {
            let problems = problems(&format!("{key} = []")).into_vec();
            let refused = format!("`{key}`: ");
            let takes_an_array = !problems
                .iter()
                .any(|problem| problem.message.starts_with(&refused) && problem.message.ends_with("not an array"));
            assert_eq!(list(key).is_some(), takes_an_array, "{key}: {problems:?}");
            lists += usize::from(takes_an_array);
        }
        assert!(lists >= 8, "the keys are not read: {lists} lists");
    }

    #[test]
    fn the_default_content_of_a_list_is_the_readers() {
        let unset = |key: &str| list(key).map(|list| list.unset().to_string());
        assert_eq!(unset("services.new.health.expected_status").as_deref(), Some("[200, 299]"));
        assert_eq!(unset("services.new.command_args").as_deref(), Some("[]"));
        assert_eq!(unset("services.new.env"), None);
    }

    const BUILT_IN: [&str; 3] = ["ollama", "open-webui", "comfyui"];

    #[test]
    fn services_are_those_of_the_file_and_the_built_in_ones() {
        let named = CompletionWords::of(Some("[services.whisper]\nimage = 'x'\n[services.ollama]\nenabled = false\n"));
        assert_eq!(named.services, [&BUILT_IN[..], &["whisper"]].concat());
    }

    #[test]
    fn a_wrong_file_still_has_words_and_one_that_is_not_toml_leaves_the_built_in_ones() {
        let wrong = CompletionWords::of(Some("cli.log_lines = 'many'\n[services.whisper]\n[services.'a b']\n"));
        assert_eq!(wrong.services.last().map(String::as_str), Some("whisper"));
        assert!(wrong.keys.contains(&"services.whisper.image".to_owned()), "{:?}", wrong.keys);
        assert_eq!(CompletionWords::of(Some("[services.whisper")), CompletionWords::of(None));
        assert_eq!(CompletionWords::of(Some("services = 3")).services, [""; 0]);
        assert_eq!(CompletionWords::of(None).services, BUILT_IN);
    }

    #[test]
    fn keys_are_those_of_single_values_set_or_not() {
        let keys = CompletionWords::of(None).keys;
        let has = |key: &str| keys.iter().any(|found| found == key);
        for key in ["cli.log_lines", "runtime.network.mtu", "services.ollama.ports.0.host", "services.ollama.pod"] {
            assert!(has(key), "{key}: {keys:?}");
        }
        let hostile =
            CompletionWords::of(Some("services.ollama.volumes.\"\\u001b[31m\" = { source = 'a', target = '/b' }"));
        assert!(!hostile.keys.iter().any(|key| key.contains('\u{1b}')), "{hostile:?}");
        assert!(!has("runtime.network") && !has("services") && !has("services.ollama.ports"), "{keys:?}");
    }
}
