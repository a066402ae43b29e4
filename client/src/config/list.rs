//! The keys that hold arrays. The reader notes them as it reads, so that there is no second list to
//! keep in step.

use serde::Serialize;
use toml_edit::Array;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::location::Source;
    use crate::config::problem::Problems;
    use crate::config::tree::Table;
    use crate::config::{DEFAULTS, Places, list_above, read_config};

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
}
