//! A YAML document as a tree in which every key and value has its line.
//!
//! `serde-saphyr` parses the document. The tree keeps the text of a plain scalar as written. The
//! tag `1.10` is not meant as a number, which would come back as `1.1`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A value, and the line that it begins on, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// No value, `~` or `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, as written.
    Number(String),
    /// Any other scalar.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The key's line, counted from 1.
    pub(super) line: u64,
    pub(super) node: Node,
}

/// The reason that a text is not a valid YAML document.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidYaml(String);

/// How many events aliases may replay. Compose files repeat a few blocks; a YAML bomb repeats
/// millions.
const MOST_REPLAYED: usize = 100_000;

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, InvalidYaml> {
    // `yes` and `on` are texts, as in docker compose.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_REPLAYED },
    };
    let raw: Spanned<Raw> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| InvalidYaml(error.to_string()))?;
    Ok(node(raw, text))
}

impl Node {
    /// A scalar's text; `None` for null, lists and mappings.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Boolean(truth) => Some(truth.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The entries of a mapping; empty for any other value.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The items of a list; a single value counts as a list of one.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }
}

/// The tree as the library returns it, before numbers get their text back.
enum Raw {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let line = raw.referenced.line();
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Boolean(truth) => Value::Boolean(truth),
        Raw::Number(number) => Value::Number(written(raw.defined, text).unwrap_or(number)),
        Raw::Text(text) => Value::Text(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry { line: key.referenced.line(), key: key.value, node: node(value, text) })
                .collect(),
        ),
    };
    Node { line, value }
}

/// The text from a scalar's first to its last byte.
fn written(at: Location, text: &str) -> Option<String> {
    let span = at.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_and_values_know_their_lines() {
        let root = parse("services:\n  web:\n    image: a/b:1\n    ports:\n      - 80:80\n").unwrap();
        let web = &root.get("services").unwrap().entries()[0];
        assert_eq!((web.key.as_str(), web.line), ("web", 2));
        let ports = web.node.entries().iter().find(|entry| entry.key == "ports").unwrap();
        assert_eq!((ports.line, ports.node.items()[0].line), (4, 5));
    }

    #[test]
    fn a_number_keeps_the_text_that_was_written() {
        let root = parse("tag: 1.10\nport: 08080\nhex: 0x1F\nquoted: \"1.10\"\n").unwrap();
        let scalar = |key: &str| root.get(key).unwrap().scalar().unwrap();
        assert_eq!(scalar("tag"), "1.10");
        assert_eq!(scalar("port"), "08080");
        assert_eq!(scalar("hex"), "0x1F");
        assert_eq!(scalar("quoted"), "1.10");
    }

    #[test]
    fn anchors_and_merges_are_resolved() {
        let text = "x-env: &env\n  A: \"1\"\nservices:\n  a:\n    environment:\n      <<: *env\n      B: two\n";
        let root = parse(text).unwrap();
        let env =
            root.get("services").and_then(|services| services.get("a")).and_then(|a| a.get("environment")).unwrap();
        let mut keys: Vec<_> = env.entries().iter().map(|entry| entry.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["A", "B"]);
    }

    #[test]
    fn one_value_stands_for_a_list_of_one_and_nothing_for_none() {
        let root = parse("one: .env\nnone:\nmany: [a, b]\n").unwrap();
        let count = |key: &str| root.get(key).unwrap().items().len();
        assert_eq!((count("one"), count("none"), count("many")), (1, 0, 2));
    }

    #[test]
    fn a_broken_document_and_a_bomb_are_errors() {
        assert!(parse("a: [1\n").is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.extend([format!("a{level}: &a{level} [{refs}]\n")]);
        }
        assert!(parse(&bomb).is_err());
    }
}
