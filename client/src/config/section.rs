//! Reads one table of the tree into typed values. Notes problems and unknown keys.

use std::cell::RefCell;
use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;

use super::key::List;
use super::problem::{Problem, Problems, nearest};
use super::tree::{Location, Node, Table, Value};

/// Why a value is not what its key needs.
#[derive(Debug)]
pub(super) struct Mismatch {
    message: String,
    hint: Option<String>,
    /// The item of an array or the key of a table, such as `.0.host`; empty for the value itself.
    below: String,
    /// The place, if it is narrower than the whole value.
    at: Option<Location>,
}

impl Mismatch {
    pub(super) fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), hint: None, below: String::new(), at: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Places the mismatch in a part of the value.
    pub(super) fn within(mut self, part: impl Display, at: &Location) -> Self {
        self.below = format!(".{part}{}", self.below);
        self.at.get_or_insert_with(|| at.clone());
        self
    }
}

/// The value of a node, or why it does not fit.
pub(super) type Read<T> = Result<T, Mismatch>;

fn expected<T>(what: &str, node: &Node) -> Read<T> {
    Err(Mismatch::new(format_args!("{what} is needed here, not {}", node.value.kind())))
}

pub(super) fn text(node: &Node) -> Read<&str> {
    match &node.value {
        Value::String(text) => Ok(text),
        _ => expected("a text", node),
    }
}

pub(super) fn owned_text(node: &Node) -> Read<String> {
    text(node).map(str::to_owned)
}

pub(super) fn parsed<T: FromStr<Err: Display>>(node: &Node) -> Read<T> {
    text(node)?.parse().map_err(Mismatch::new)
}

pub(super) fn boolean(node: &Node) -> Read<bool> {
    match node.value {
        Value::Boolean(truth) => Ok(truth),
        _ => expected("true or false", node),
    }
}

/// A whole number in the range of its type.
pub(super) fn whole<T: TryFrom<i64, Error: Display>>(node: &Node) -> Read<T> {
    match node.value {
        Value::Integer(number) => T::try_from(number).map_err(Mismatch::new),
        _ => expected("a whole number", node),
    }
}

/// A number, whole or not, in a range.
pub(super) fn number(min: f64, max: f64) -> impl Fn(&Node) -> Read<f64> {
    move |node| {
        let number = match node.value {
            // Every whole number that could be in one of the ranges is exact in an f64.
            #[allow(clippy::cast_precision_loss)]
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => return expected("a number", node),
        };
        if (min..=max).contains(&number) {
            Ok(number)
        } else {
            Err(Mismatch::new(format_args!("{number} is not within {min} to {max}")))
        }
    }
}

/// One of a few keywords.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node) -> Read<T> {
    move |node| {
        let text = text(node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let all: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let mismatch = Mismatch::new(format_args!("`{text}` is none of {}", all.join(", ")));
        Err(match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(near) => mismatch.hint(format!("did you mean `{near}`?")),
            None => mismatch,
        })
    }
}

/// One value, or an array of them.
pub(super) fn one_or_list<T>(one: impl Fn(&Node) -> Read<T>) -> impl Fn(&Node) -> Read<Vec<T>> {
    move |node| match &node.value {
        Value::Array(_) => list(&one)(node),
        _ => Ok(vec![one(node)?]),
    }
}

/// An array of something.
pub(super) fn list<T>(item: impl Fn(&Node) -> Read<T>) -> impl Fn(&Node) -> Read<Vec<T>> {
    move |node| match &node.value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, node)| item(node).map_err(|mismatch| mismatch.within(index, &node.at)))
            .collect(),
        _ => expected("an array", node),
    }
}

/// A table's entries, each with its key.
pub(super) fn entries<T>(node: &Node, entry: impl Fn(&str, &Node) -> Read<T>) -> Read<Vec<(String, T)>> {
    match &node.value {
        Value::Table(table) => table
            .iter()
            .map(|(key, found)| match entry(key, &found.node) {
                Ok(value) => Ok((key.to_owned(), value)),
                Err(mismatch) => Err(mismatch.within(key, &found.node.at)),
            })
            .collect(),
        _ => expected("a table", node),
    }
}

/// The content of a list without a default.
const EMPTY_LIST: [bool; 0] = [];

/// A table that is being read. The reader asks for its keys one by one; [`Section::finish`] notes
/// the rest as unknown.
pub(super) struct Section<'a> {
    path: String,
    table: &'a Table,
    at: Option<&'a Location>,
    known: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Table, problems: &'a Problems) -> Self {
        Self { path: String::new(), table, at: None, known: RefCell::default(), problems }
    }

    /// The dotted path of a key in this section.
    pub(super) fn place(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key);
        self.problems.note_key(self.place(key));
        self.table.get(key)
    }

    /// A value that may be missing. A wrong value is noted and counts as missing: loading fails in
    /// the end anyway.
    pub(super) fn optional<T>(&self, key: &'static str, read: impl FnOnce(&'a Node) -> Read<T>) -> Option<T> {
        let node = self.node(key)?;
        read(node).map_err(|mismatch| self.note(key, mismatch, &node.at)).ok()
    }

    /// A value that must be there.
    pub(super) fn required<T>(&self, key: &'static str, read: impl FnOnce(&'a Node) -> Read<T>) -> Option<T> {
        if self.table.get(key).is_none() {
            let missing = Problem::error(format!("`{}` is missing", self.place(key)));
            self.problems.push(missing.at(self.at.cloned()));
        }
        self.optional(key, read)
    }

    /// A value with a default.
    pub(super) fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(&'a Node) -> Read<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// A list with a default.
    pub(super) fn list_or<T: Serialize>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&'a Node) -> Read<T>,
    ) -> T {
        self.problems.note_list(List::new(self.place(key), &default));
        self.or(key, default, read)
    }

    /// Notes that a key holds an array, or a table in its place.
    pub(super) fn may_be_list(&self, key: &str) {
        self.problems.note_list(List::new(self.place(key), &EMPTY_LIST).or_table());
    }

    /// Notes that a key holds an array, or one value in place of an array of one.
    pub(super) fn may_be_list_or_one(&self, key: &str) {
        self.problems.note_list(List::new(self.place(key), &EMPTY_LIST).or_one());
    }

    /// A nested table; `None` and a problem if the value is no table.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let node = self.node(key)?;
        self.below(key, node)
    }

    /// The nested tables of a section with free keys, such as `services`.
    pub(super) fn children(&self) -> impl Iterator<Item = (&'a str, Section<'a>)> {
        self.table.iter().filter_map(|(key, entry)| Some((key, self.below(key, &entry.node)?)))
    }

    /// The values of a section with free keys, of any type.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.table.iter().map(|(key, entry)| (key, &entry.node))
    }

    /// Reads a value within this section that has no key of its own, such as an item of an array.
    pub(super) fn read_at<T>(&self, key: &str, node: &'a Node, read: impl FnOnce(&'a Node) -> Read<T>) -> Option<T> {
        read(node).map_err(|mismatch| self.note(key, mismatch, &node.at)).ok()
    }

    /// Notes that values of this section contradict each other.
    pub(super) fn refuse(&self, why: &str) {
        self.problems.push(Problem::error(format!("`{}`: {why}", self.path)).at(self.at.cloned()));
    }

    /// A value of this section as a table; `None` and a problem if it is none.
    pub(super) fn below(&self, key: &str, node: &'a Node) -> Option<Section<'a>> {
        let path = self.place(key);
        match &node.value {
            Value::Table(table) => {
                Some(Section { path, table, at: Some(&node.at), known: RefCell::default(), problems: self.problems })
            }
            other => {
                let message = format!("`{path}`: a table is needed here, not {}", other.kind());
                self.problems.push(Problem::error(message).at(node.at.clone()));
                None
            }
        }
    }

    /// The place of a key's value.
    pub(super) fn at(&self, key: &str) -> Option<&'a Location> {
        self.table.get(key).map(|node| &node.at)
    }

    /// The place of the section itself.
    pub(super) fn here(&self) -> Option<&'a Location> {
        self.at
    }

    /// Notes any other problem.
    pub(super) fn push(&self, problem: Problem) {
        self.problems.push(problem);
    }

    fn note(&self, key: &str, mismatch: Mismatch, at: &Location) {
        let place = format!("{}{}", self.place(key), mismatch.below);
        let problem = Problem::error(format!("`{place}`: {}", mismatch.message));
        let problem = problem.at(mismatch.at.unwrap_or_else(|| at.clone()));
        self.problems.push(Problem { hint: mismatch.hint, ..problem });
    }

    /// Whether this section decides how services are launched.
    fn is_launched(&self) -> bool {
        matches!(self.path.split('.').next(), Some("runtime" | "services"))
    }

    /// Notes every key that the reader did not ask for.
    pub(super) fn finish(self) {
        let launched = self.is_launched();
        let known = self.known.into_inner();
        for (key, entry) in self.table.iter().filter(|(key, _)| !known.contains(key)) {
            let section = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            let message = format!("unknown key `{key}`{section}");
            let problem = if launched { Problem::unknown_restriction(message) } else { Problem::unknown(message) };
            let problem = problem.at(entry.key_at.clone());
            let keys = || known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            self.problems.push(problem.hint(match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", keys()),
            }));
        }
    }
}
