//! Removing one key of a TOML text, or one item of an array.

use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::{EditError, KeyPath};

/// The text without a key, and without the comment above it.
///
/// # Errors
/// [`EditError::NotSet`] if the text does not have the key, and [`EditError::NotToml`].
pub fn unset(text: &str, key: &KeyPath) -> Result<String, EditError> {
    let mut document = text.parse::<DocumentMut>().map_err(|_| EditError::NotToml)?;
    if from_table(document.as_table_mut(), &key.parts) {
        Ok(document.to_string())
    } else {
        Err(EditError::NotSet(key.parts.join(".")))
    }
}

/// Whether there was something to remove.
fn from_table(table: &mut dyn TableLike, parts: &[String]) -> bool {
    match parts {
        [] => false,
        [last] => table.remove(last).is_some(),
        [key, rest @ ..] => table.get_mut(key).is_some_and(|item| from_item(item, rest)),
    }
}

fn from_item(item: &mut Item, parts: &[String]) -> bool {
    match item {
        Item::Table(table) => {
            let parts = within_one(table.contains_key("0"), parts);
            from_table(table, parts)
        }
        Item::ArrayOfTables(tables) => {
            let Some((index, rest)) = index(parts, tables.len()) else { return false };
            if rest.is_empty() {
                tables.remove(index);
                return true;
            }
            tables.get_mut(index).is_some_and(|table| from_table(table, rest))
        }
        Item::Value(value) => from_value(value, parts),
        Item::None => false,
    }
}

fn from_value(value: &mut Value, parts: &[String]) -> bool {
    match value {
        Value::InlineTable(table) => {
            let parts = within_one(table.contains_key("0"), parts);
            // The space before a closing brace is behind the last value.
            let space = table.iter().last().and_then(|(_, last)| last.decor().suffix().cloned());
            let is_removed = from_table(table, parts);
            if let Some((_, last)) = table.iter_mut().last() {
                last.decor_mut().set_suffix(space.unwrap_or_default());
            }
            is_removed
        }
        Value::Array(array) => {
            let Some((index, rest)) = index(parts, array.len()) else { return false };
            if rest.is_empty() {
                array.remove(index);
                return true;
            }
            array.get_mut(index).is_some_and(|item| from_value(item, rest))
        }
        _ => false,
    }
}

/// A single table may stand for an array of one, whose item 0 it is.
fn within_one(has_zero: bool, parts: &[String]) -> &[String] {
    match parts {
        [zero, rest @ ..] if zero == "0" && !has_zero && !rest.is_empty() => rest,
        parts => parts,
    }
}

/// The number of an item, and the parts behind it.
fn index(parts: &[String], count: usize) -> Option<(usize, &[String])> {
    let (first, rest) = parts.split_first()?;
    first.parse::<usize>().ok().filter(|index| *index < count).map(|index| (index, rest))
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
    fn a_key_goes_with_its_comment_and_everything_else_stays() {
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
        becomes("a = { b = 1, c = 2 }\n", "a.0.c", "a = { b = 1 }\n");
        becomes("[a]\nb = 1\nc = 2\n", "a.0.c", "[a]\nb = 1\n");
    }

    #[test]
    fn what_is_not_in_the_text_cannot_go() {
        let text = "[cli]\nlog_lines = 10\na = ['x']\n[[b]]\nc = 1\n";
        for key in
            ["cli.debug", "runtime", "cli.log_lines.x", "cli.a.1", "cli.a.x", "cli.a.0.y", "b.1", "b.1.c", "cli.0"]
        {
            assert_eq!(unset(text, &key.parse().unwrap()), Err(EditError::NotSet(key.to_owned())), "{key}");
        }
    }
}
