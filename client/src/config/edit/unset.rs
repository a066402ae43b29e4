//! Removing one key of a TOML text, or one item of an array.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, TableLike, Value};

use super::{Cursor, EditError, KeyPath, stand_for_an_array};

/// The text without a key, and without the comment above it.
///
/// # Errors
/// [`EditError::NotSet`] if the text does not have the key, and [`EditError::NotToml`].
pub fn unset(text: &str, key: &KeyPath) -> Result<String, EditError> {
    let mut document = text.parse::<DocumentMut>().map_err(|_| EditError::NotToml)?;
    if from_table(document.as_table_mut(), &mut Cursor::new(key)) {
        Ok(document.to_string())
    } else {
        Err(EditError::NotSet(key.parts.join(".")))
    }
}

/// Whether there was something to remove.
fn from_table(table: &mut dyn TableLike, cursor: &mut Cursor<'_>) -> bool {
    let Some(key) = cursor.step() else { return false };
    if cursor.is_at_end() {
        return table.remove(key).is_some();
    }
    let is_removed = table.get_mut(key).is_some_and(|item| from_item(item, cursor));
    if table.get(key).and_then(Item::as_array_of_tables).is_some_and(ArrayOfTables::is_empty) {
        // An array without tables leaves no trace in the text, and the default would be in effect.
        table.insert(key, toml_edit::value(Array::new()));
    }
    is_removed
}

fn from_item(item: &mut Item, cursor: &mut Cursor<'_>) -> bool {
    stand_for_an_array(item, cursor);
    match item {
        Item::Table(table) => from_table(table, cursor),
        Item::ArrayOfTables(tables) => {
            let Some(index) = index(cursor, tables.len()) else { return false };
            if cursor.is_at_end() {
                tables.remove(index);
                return true;
            }
            tables.get_mut(index).is_some_and(|table| from_table(table, cursor))
        }
        Item::Value(value) => from_value(value, cursor),
        Item::None => false,
    }
}

fn from_value(value: &mut Value, cursor: &mut Cursor<'_>) -> bool {
    match value {
        Value::InlineTable(table) => {
            // toml_edit keeps the space before a closing brace behind the last value.
            let space = table.iter().last().and_then(|(_, last)| last.decor().suffix().cloned());
            let is_removed = from_table(table, cursor);
            if let Some((_, last)) = table.iter_mut().last() {
                last.decor_mut().set_suffix(space.unwrap_or_default());
            }
            is_removed
        }
        Value::Array(array) => {
            let Some(index) = index(cursor, array.len()) else { return false };
            if cursor.is_at_end() {
                array.remove(index);
                return true;
            }
            array.get_mut(index).is_some_and(|item| from_value(item, cursor))
        }
        _ => false,
    }
}

/// The next part of the key as the number of one of `count` items.
fn index(cursor: &mut Cursor<'_>, count: usize) -> Option<usize> {
    cursor.step()?.parse::<usize>().ok().filter(|index| *index < count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn becomes(text: &str, key: &str, expected: &str) {
        assert_eq!(unset(text, &key.parse().unwrap()).as_deref(), Ok(expected), "without {key}:\n{text}");
    }

    #[test]
    fn a_removed_key_takes_its_comment_along_and_the_rest_stays() {
        let text = "# mine\n[cli]\nlog_lines = 10\n# talkative\ndebug = true # now\nverbose = true\n";
        becomes(text, "cli.debug", "# mine\n[cli]\nlog_lines = 10\nverbose = true\n");
        becomes("[a]\nx = 1\n[b]\ny = 2\n", "a", "[b]\ny = 2\n");
        becomes("[a]\nenv = { A = '1', B = '2' }\n", "a.env.B", "[a]\nenv = { A = '1' }\n");
        becomes("[a]\nx.y.z = 1\nu = 2\n", "a.x.y.z", "[a]\nu = 2\n");
    }

    #[test]
    fn an_item_of_an_array_goes_by_its_number() {
        becomes("a = ['x', 'y', 'z']\n", "a.1", "a = ['x', 'z']\n");
        becomes("a = [{ b = 1, c = 2 }]\n", "a.0.b", "a = [{ c = 2 }]\n");
        becomes("[[a]]\nb = 1\n[[a]]\nb = 2\n", "a.0", "[[a]]\nb = 2\n");
        becomes("[[a]]\nb = 1\nc = 1\n", "a.0.c", "[[a]]\nb = 1\n");
    }

    #[test]
    fn one_value_in_the_place_of_an_array_is_its_item_0() {
        let short = "services.a.ports.0.protocol";
        becomes(
            "[services.a]\nports = { host = 1, protocol = 'udp' }\n",
            short,
            "[services.a]\nports = { host = 1 }\n",
        );
        becomes("[services.a.ports]\nhost = 1\nprotocol = 'udp'\n", short, "[services.a.ports]\nhost = 1\n");
        becomes("[services.a]\nports = '80' # web\n", "services.a.ports.0", "[services.a]\nports = [] # web\n");
        becomes("[services.a.ports]\nhost = 1\n", "services.a.ports.0", "[services.a]\nports = []\n");
        becomes("[[services.a.ports]]\nhost = 1\n", "services.a.ports.0", "[services.a]\nports = []\n");
        becomes("services = { a = { ports = '80' } }\n", "services.a.ports.0", "services = { a = { ports = [] } }\n");
    }

    #[test]
    fn a_key_that_is_not_set_cannot_be_removed() {
        let text = "[cli]\nlog_lines = 10\na = ['x']\n[[b]]\nc = 1\n[services.a]\nenv = { B = '1' }\nports = '80'\n";
        let no_items = ["cli.debug", "runtime", "cli.log_lines.x", "cli.a.1", "cli.a.x", "cli.a.0.y", "b.1", "b.1.c"];
        let no_lists = ["cli.0", "cli.0.log_lines", "services.0.a", "services.a.env.0.B", "services.a.ports.1"];
        for key in [&no_items[..], &no_lists].concat() {
            assert_eq!(unset(text, &key.parse().unwrap()), Err(EditError::NotSet(key.to_owned())), "{key}");
        }
    }
}
