//! Changes or removes one value of a TOML text; comments, order and everything else stay as the
//! user wrote them.

use std::borrow::Cow;
use std::mem;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Key, Table, TableLike, Value};

use super::key::{List, list_above};
use crate::error::{Exit, Report};

/// A dotted key such as `services.ollama.ports.0.host`; a part that is no plain word is quoted, as
/// in TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath {
    parts: Vec<String>,
}

impl std::str::FromStr for KeyPath {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let keys = Key::parse(text).map_err(|_| EditError::NoKey(text.to_owned()))?;
        Ok(Self { parts: keys.iter().map(|key| key.get().to_owned()).collect() })
    }
}

impl KeyPath {
    /// Its parts, one at least.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.parts
    }
}

/// Why the text cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The key is not one.
    #[error("`{0}` is not a key")]
    NoKey(String),
    /// The key to remove is not set.
    #[error("`{0}` is not set in the file")]
    NotSet(String),
    /// The text is not TOML.
    #[error("this is not TOML")]
    NotToml,
    /// The key goes on below a plain value.
    #[error("`{0}` has a value and nothing below it")]
    NothingBelow(String),
    /// Items of an array have the numbers 0, 1 and so on.
    #[error("`{array}` is an array: `{part}` is not the number of one of its items")]
    NoItem {
        /// The array's key.
        array: String,
        /// The part of the key that must be a number.
        part: String,
        /// How many items there are.
        count: usize,
    },
}

impl Report for EditError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotToml => Exit::Configuration,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NoKey(_) => "a key is such as `cli.log_lines` or `services.ollama.ports.0.host`".into(),
            Self::NotSet(key) => format!("`airpods config get {key}` prints the value in effect").into(),
            Self::NotToml => return None,
            Self::NothingBelow(_) => "set the value itself".into(),
            Self::NoItem { array, count: 0, .. } => {
                format!("it is empty: set `{array}` itself, or `{array}.0`, the first item").into()
            }
            Self::NoItem { count, .. } => format!("it has items 0 to {}; {count} adds one", count - 1).into(),
        })
    }
}

/// The text with a value set. Arrays replace each other as a whole. So if an item changes of an
/// array that the text lacks, a copy of the array is written first: from `defaults`, or else from
/// the reader's default.
///
/// # Errors
/// [`EditError`]. The result is not checked to be a valid configuration.
pub fn set(text: &str, defaults: &str, key: &KeyPath, value: Value) -> Result<String, EditError> {
    let parse = |text: &str| text.parse::<DocumentMut>().map_err(|_| EditError::NotToml);
    let (mut document, defaults) = (parse(text)?, parse(defaults)?);
    set_in_table(document.as_table_mut(), Some(defaults.as_item()), &mut Cursor::new(key), Style::Headers, value)?;
    Ok(document.to_string())
}

/// How a new table is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `[services.ollama]`
    Headers,
    /// `gpu.enabled = true`
    Dotted,
    /// `{ enabled = true }`
    Inline,
}

/// The key, and the number of its parts that are done.
struct Cursor<'a> {
    parts: &'a [String],
    done: usize,
    /// The list that the key leads into, and the number of parts before its item.
    list: Option<(usize, List)>,
}

impl<'a> Cursor<'a> {
    fn new(key: &'a KeyPath) -> Self {
        Self { parts: &key.parts, done: 0, list: list_above(&key.parts) }
    }

    fn step(&mut self) -> Option<&'a str> {
        let part = self.parts.get(self.done)?;
        self.done += 1;
        Some(part)
    }

    fn next(&self) -> Option<&'a str> {
        self.parts.get(self.done).map(String::as_str)
    }

    /// The list whose item is the next part.
    fn list(&self) -> Option<&List> {
        self.list.as_ref().filter(|(depth, _)| *depth == self.done).map(|(_, list)| list)
    }

    fn is_at_end(&self) -> bool {
        self.done == self.parts.len()
    }

    fn so_far(&self) -> String {
        self.parts[..self.done].join(".")
    }
}

fn set_in_table(
    table: &mut dyn TableLike,
    default: Option<&Item>,
    cursor: &mut Cursor<'_>,
    style: Style,
    value: Value,
) -> Result<(), EditError> {
    let Some(key) = cursor.step() else { return Ok(()) };
    if cursor.is_at_end() {
        put(table, key, style, value);
        return Ok(());
    }
    let default = default.and_then(|table| table.get(key));
    if !table.contains_key(key) {
        match missing(default, cursor, style) {
            Item::Value(value) => put(table, key, style, value),
            missing => drop(table.insert(key, missing)),
        }
    }
    match table.get_mut(key) {
        Some(item) => set_in_item(item, default, cursor, style, value),
        None => Ok(()),
    }
}

fn set_in_item(
    item: &mut Item,
    default: Option<&Item>,
    cursor: &mut Cursor<'_>,
    style: Style,
    value: Value,
) -> Result<(), EditError> {
    stand_for_an_array(item, cursor);
    match item {
        Item::Value(Value::Array(array)) => set_in_array(array, cursor, value),
        Item::ArrayOfTables(tables) => {
            if let Some(array) = set_in_tables(tables, cursor, value)? {
                *item = Item::Value(Value::Array(array));
            }
            Ok(())
        }
        Item::Value(Value::InlineTable(table)) => set_in_table(table, default, cursor, Style::Inline, value),
        Item::Table(table) => {
            // A service and the network have their own header. A table below gets none, unless the
            // text already has one.
            let style = if table.is_dotted() || cursor.done >= 2 { Style::Dotted } else { style };
            set_in_table(table, default, cursor, style, value)
        }
        Item::Value(_) | Item::None => Err(EditError::NothingBelow(cursor.so_far())),
    }
}

/// A single value, such as a table of `ports`, may stand for an array of one. A key may go through
/// its item 0. If item 0 is replaced or another is added, the value becomes the array.
fn stand_for_an_array(item: &mut Item, cursor: &mut Cursor<'_>) {
    let number = cursor.next().and_then(|part| part.parse::<usize>().ok());
    if !cursor.list().is_some_and(List::takes_one) || item.is_array() || item.is_array_of_tables() {
        return;
    }
    match number {
        Some(0) if cursor.done + 1 < cursor.parts.len() => drop(cursor.step()),
        Some(_) => *item = array_of_one(mem::take(item)),
        None => {}
    }
}

fn array_of_one(item: Item) -> Item {
    match item {
        // As an inline table between brackets it would lose its comments.
        Item::Table(mut table) => {
            table.set_dotted(false);
            Item::ArrayOfTables(ArrayOfTables::from_iter([table]))
        }
        Item::Value(value) => {
            let decor = value.decor().clone();
            let mut array = Array::from_iter([value.decorated("", "")]);
            *array.decor_mut() = decor;
            Item::Value(Value::Array(array))
        }
        other => other,
    }
}

/// Sets one of several tables, or a key in one. A value that is no table turns them all into an
/// array, which is returned; reading the configuration then refuses it.
fn set_in_tables(
    tables: &mut ArrayOfTables,
    cursor: &mut Cursor<'_>,
    value: Value,
) -> Result<Option<Array>, EditError> {
    let found = cursor.done;
    let index = index(cursor, tables.len())?;
    match (tables.get_mut(index), value) {
        (Some(table), value) if !cursor.is_at_end() => set_in_table(table, None, cursor, Style::Dotted, value)?,
        (Some(old), Value::InlineTable(new)) => {
            let mut new = new.into_table();
            *new.decor_mut() = old.decor().clone();
            new.set_position(old.position());
            *old = new;
        }
        (None, Value::InlineTable(new)) => tables.push(new.into_table()),
        (_, value) => {
            let mut array = mem::take(tables).into_array();
            cursor.done = found;
            set_in_array(&mut array, cursor, value)?;
            return Ok(Some(array));
        }
    }
    Ok(None)
}

fn set_in_array(array: &mut Array, cursor: &mut Cursor<'_>, value: Value) -> Result<(), EditError> {
    let index = index(cursor, array.len())?;
    match (array.get_mut(index), cursor.is_at_end()) {
        (None, _) => array.push(value),
        (Some(item), true) => replace(item, value),
        (Some(Value::InlineTable(table)), false) => return set_in_table(table, None, cursor, Style::Inline, value),
        (Some(Value::Array(inner)), false) => return set_in_array(inner, cursor, value),
        (Some(_), false) => return Err(EditError::NothingBelow(cursor.so_far())),
    }
    Ok(())
}

/// The next part of the key as the number of an item. At the end of the key it may also be the
/// number after the last.
fn index(cursor: &mut Cursor<'_>, count: usize) -> Result<usize, EditError> {
    let array = cursor.so_far();
    let part = cursor.step().unwrap_or_default();
    let number = part.parse::<usize>().ok().filter(|&number| number < count + usize::from(cursor.is_at_end()));
    number.ok_or_else(|| EditError::NoItem { array, part: part.to_owned(), count })
}

/// Sets a key; a comment behind the old value stays.
fn put(table: &mut dyn TableLike, key: &str, style: Style, mut value: Value) {
    if let Some(Item::Value(old)) = table.get_mut(key) {
        return replace(old, value);
    }
    // toml_edit keeps the space before a closing brace behind the last value.
    if let Some((_, Item::Value(last))) = table.iter_mut().last().filter(|_| style == Style::Inline) {
        let space = last.decor().suffix().cloned();
        last.decor_mut().set_suffix("");
        value = value.decorated(" ", space.unwrap_or_default());
    }
    table.insert(key, Item::Value(value));
}

fn replace(old: &mut Value, mut value: Value) {
    *value.decor_mut() = old.decor().clone();
    *old = value;
}

/// The item to insert where the key goes on and the text has nothing.
fn missing(default: Option<&Item>, cursor: &Cursor<'_>, style: Style) -> Item {
    let is_table = |list: &&List| cursor.next().is_some_and(|part| list.takes_table_for(part));
    let array = match (default, cursor.list().filter(|list| !is_table(list))) {
        (Some(Item::Value(Value::Array(array))), _) => array.clone(),
        (_, Some(list)) => list.unset(),
        _ => return new_table(style, cursor.done),
    };
    // The comment behind a default explains the default, not the new value.
    Item::Value(Value::Array(array).decorated(" ", ""))
}

/// A table that is missing at this depth, 1 for the outermost.
fn new_table(style: Style, depth: usize) -> Item {
    let mut table = Table::new();
    match style {
        Style::Inline => return Item::Value(Value::InlineTable(InlineTable::new())),
        // A table that only holds others, such as `services`, needs no header.
        Style::Headers if depth <= 2 => table.set_implicit(true),
        Style::Headers | Style::Dotted => table.set_dotted(true),
    }
    Item::Table(table)
}

/// The text without a key, and without the comment above it.
///
/// # Errors
/// [`EditError::NotSet`] if the text does not have the key, and [`EditError::NotToml`].
pub fn unset(text: &str, key: &KeyPath) -> Result<String, EditError> {
    let mut document = text.parse::<DocumentMut>().map_err(|_| EditError::NotToml)?;
    if unset_in_table(document.as_table_mut(), &mut Cursor::new(key)) {
        Ok(document.to_string())
    } else {
        Err(EditError::NotSet(key.parts.join(".")))
    }
}

/// Removes the key below a table. Returns whether there was something to remove.
fn unset_in_table(table: &mut dyn TableLike, cursor: &mut Cursor<'_>) -> bool {
    let Some(key) = cursor.step() else { return false };
    if cursor.is_at_end() {
        return table.remove(key).is_some();
    }
    let is_removed = table.get_mut(key).is_some_and(|item| unset_in_item(item, cursor));
    if table.get(key).and_then(Item::as_array_of_tables).is_some_and(ArrayOfTables::is_empty) {
        // An array without tables leaves no trace in the text, and the default would be in effect.
        table.insert(key, toml_edit::value(Array::new()));
    }
    is_removed
}

fn unset_in_item(item: &mut Item, cursor: &mut Cursor<'_>) -> bool {
    stand_for_an_array(item, cursor);
    match item {
        Item::Table(table) => unset_in_table(table, cursor),
        Item::ArrayOfTables(tables) => {
            let Some(index) = item_index(cursor, tables.len()) else { return false };
            if cursor.is_at_end() {
                tables.remove(index);
                return true;
            }
            tables.get_mut(index).is_some_and(|table| unset_in_table(table, cursor))
        }
        Item::Value(value) => unset_in_value(value, cursor),
        Item::None => false,
    }
}

fn unset_in_value(value: &mut Value, cursor: &mut Cursor<'_>) -> bool {
    match value {
        Value::InlineTable(table) => {
            // toml_edit keeps the space before a closing brace behind the last value.
            let space = table.iter().last().and_then(|(_, last)| last.decor().suffix().cloned());
            let is_removed = unset_in_table(table, cursor);
            if let Some((_, last)) = table.iter_mut().last() {
                last.decor_mut().set_suffix(space.unwrap_or_default());
            }
            is_removed
        }
        Value::Array(array) => {
            let Some(index) = item_index(cursor, array.len()) else { return false };
            if cursor.is_at_end() {
                array.remove(index);
                return true;
            }
            array.get_mut(index).is_some_and(|item| unset_in_value(item, cursor))
        }
        _ => false,
    }
}

/// The next part of the key as the number of one of `count` items.
fn item_index(cursor: &mut Cursor<'_>, count: usize) -> Option<usize> {
    cursor.step()?.parse::<usize>().ok().filter(|index| *index < count)
}

#[cfg(test)]
mod tests;
