//! TOML as a tree in which every value knows its place in its text, so errors in merged files point
//! at the right one. Also removes the keys of the built-in defaults that `services.NAME.unset`
//! names.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems, nearest};

/// One TOML text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    path: Option<PathBuf>,
    text: String,
}

impl Source {
    /// The text of a file.
    #[must_use]
    pub fn of_file(path: PathBuf, text: String) -> Arc<Self> {
        Arc::new(Self { path: Some(path), text })
    }

    /// The text of the built-in defaults.
    #[must_use]
    pub fn built_in(text: &str) -> Arc<Self> {
        Arc::new(Self { path: None, text: text.to_owned() })
    }

    /// The file; `None` for the built-in defaults.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The text itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("built-in defaults"),
        }
    }
}

/// A range of a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    source: Arc<Source>,
    span: Range<usize>,
}

impl Location {
    fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// The text it lies in.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it is in the user's file, not in the built-in defaults.
    #[must_use]
    pub fn is_users(&self) -> bool {
        self.source.path.is_some()
    }

    /// Line and column of its beginning, both from 1; the column counts characters.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.span.start).unwrap_or(&self.source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The whole line of its beginning, and how many characters of that line it covers (at least
    /// one).
    fn line_and_width(&self) -> (&str, usize) {
        let text = self.source.text.as_str();
        let start = self.span.start.min(text.len());
        let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let line_end = text.get(start..).and_then(|after| after.find('\n')).map_or(text.len(), |at| start + at);
        let covered = text.get(start..self.span.end.min(line_end)).unwrap_or_default();
        (text.get(line_start..line_end).unwrap_or_default().trim_end(), covered.chars().count().max(1))
    }
}

impl fmt::Display for Location {
    /// `FILE:LINE:COLUMN`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.source)
    }
}

/// A [`Location`] with its line, the place underlined.
pub(super) struct Excerpt<'a>(pub(super) &'a Location);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, column) = self.0.line_and_column();
        let (line, width) = self.0.line_and_width();
        let margin = " ".repeat(number.to_string().len());
        // The width of a tab depends on the terminal, and would shift the underline.
        let line = line.replace('\t', " ");
        writeln!(f, " {margin}--> {}", self.0)?;
        writeln!(f, " {margin} |")?;
        writeln!(f, " {number} | {line}")?;
        write!(f, " {margin} | {}{}", " ".repeat(column - 1), "^".repeat(width))
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Location,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// Its type, for a sentence.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Datetime => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// A table, in the order it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(IndexMap<String, Entry>);

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key_at: Location,
    pub(super) node: Node,
}

impl Table {
    /// Parses a whole text.
    pub(super) fn parse(source: &Arc<Source>) -> Result<Self, Problem> {
        let table = DeTable::parse(source.text()).map_err(|error| {
            let at = error.span().map(|span| Location::new(source, span));
            Problem::error(format!("this is not TOML: {}", error.message())).at(at)
        })?;
        convert_table(table.get_ref(), source)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0.get(key).map(|entry| &entry.node)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.get_mut(key).map(|entry| &mut entry.node)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.0.iter_mut().map(|(key, entry)| (key.as_str(), &mut entry.node))
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.shift_remove(key);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// Whether `[table]` sets a key to this value.
    pub(super) fn has_bool(&self, table: &str, key: &str, truth: bool) -> bool {
        let value = match self.get(table).map(|node| &node.value) {
            Some(Value::Table(table)) => table.get(key).map(|node| &node.value),
            _ => None,
        };
        matches!(value, Some(Value::Boolean(found)) if *found == truth)
    }

    /// Empties the table of a key.
    pub(super) fn clear(&mut self, key: &str) {
        if let Some(Entry { node: Node { value: Value::Table(table), .. }, .. }) = self.0.get_mut(key) {
            *table = Self::default();
        }
    }

    /// Merges another table over this one: tables merge, everything else is replaced.
    pub(super) fn overlay(&mut self, over: Self) {
        for (key, entry) in over.0 {
            match (self.0.get_mut(&key), entry) {
                (
                    Some(Entry { key_at, node: Node { value: Value::Table(below), at } }),
                    Entry { key_at: over_key, node: Node { value: Value::Table(above), at: over_at } },
                ) => {
                    below.overlay(above);
                    // Messages point at the user's file.
                    (*key_at, *at) = (over_key, over_at);
                }
                (Some(below), above) => *below = above,
                (None, above) => {
                    self.0.insert(key, above);
                }
            }
        }
    }

    /// Whether there is a table at a dotted path.
    pub(super) fn is_table(&self, path: &str) -> bool {
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        match (self.get(key).map(|node| &node.value), rest) {
            (Some(Value::Table(_)), None) => true,
            (Some(Value::Table(table)), Some(rest)) => table.is_table(rest),
            _ => false,
        }
    }

    /// The place of a dotted path such as `services.ollama.ports.0.host`, or of the longest part of
    /// it that exists.
    pub(super) fn locate(&self, path: &str) -> Option<&Location> {
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        let entry = self.0.get(key)?;
        match rest {
            None => Some(&entry.node.at),
            Some(rest) => Some(entry.node.locate(rest).unwrap_or(&entry.node.at)),
        }
    }
}

impl Node {
    fn locate(&self, path: &str) -> Option<&Location> {
        match &self.value {
            // A single table stands for an array of one, so its path may go through item 0.
            Value::Table(table) => {
                table.locate(path).or_else(|| path.strip_prefix("0.").and_then(|rest| table.locate(rest)))
            }
            Value::Array(items) => {
                let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some(rest.and_then(|rest| item.locate(rest)).unwrap_or(&item.at))
            }
            _ => None,
        }
    }
}

fn convert_table(table: &DeTable<'_>, source: &Arc<Source>) -> Result<Table, Problem> {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        let key_at = Location::new(source, key.span());
        Ok((key.get_ref().to_string(), Entry { key_at, node: convert(value, source)? }))
    };
    table.iter().map(entry).collect::<Result<_, _>>().map(Table)
}

fn convert(value: &Spanned<DeValue<'_>>, source: &Arc<Source>) -> Result<Node, Problem> {
    let span: Range<usize> = value.span();
    let at = Location::new(source, span);
    let too_large = || Problem::error("this number is too large").at(at.clone());
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| too_large())?)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().map_err(|_| too_large())?),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| convert(item, source)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Table(convert_table(table, source)?),
    };
    Ok(Node { value, at })
}

/// Removes the keys that `unset` of each service names. A key that the user sets as well is a
/// problem, since the two contradict each other.
pub(super) fn apply_unset(tree: &mut Table, problems: &Problems) {
    let Some(Value::Table(services)) = tree.get_mut("services").map(|node| &mut node.value) else { return };
    for (name, service) in services.iter_mut() {
        let Value::Table(service) = &mut service.value else { continue };
        let Some(unset) = service.get("unset").cloned() else { continue };
        // If it is not an array of texts, reading the service reports that.
        let Value::Array(keys) = unset.value else { continue };
        for (index, key) in keys.iter().enumerate() {
            let Value::String(path) = &key.value else { continue };
            if let Err(why) = remove(service, path) {
                let place = format!("services.{name}.unset.{index}");
                problems.push(Problem { message: format!("`{place}`: {}", why.message), ..why }.at(key.at.clone()));
            }
        }
    }
}

fn remove(table: &mut Table, path: &str) -> Result<(), Problem> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Some(node) = table.get_mut(key) else {
        let problem = Problem::error(format!("there is no `{key}` to be without"));
        let near = nearest(key, table.iter().map(|(key, _)| key));
        return Err(Problem { hint: near.map(|near| format!("did you mean `{near}`?")), ..problem });
    };
    if let Some(rest) = rest {
        return match &mut node.value {
            Value::Table(below) => remove(below, rest),
            _ => Err(Problem::error(format!("`{key}` has nothing below it"))),
        };
    }
    if sets(node) {
        return Err(
            Problem::error(format!("`{path}` is set in the same configuration")).hint("leave out one of the two")
        );
    }
    table.remove(key);
    Ok(())
}

/// Whether the user's file sets anything in a value.
fn sets(node: &Node) -> bool {
    match &node.value {
        Value::Table(table) => table.iter().any(|(_, entry)| sets(&entry.node)),
        _ => node.at.is_users(),
    }
}
