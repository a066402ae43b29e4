//! Variables in the texts of a compose file, written as the configuration has them (compose-spec, "Interpolation").

use std::collections::BTreeMap;

use super::super::draft::Note;
use super::super::yaml::{Node, Value};
use crate::config::{split_braces, split_name};

/// Writes every variable with braces. One that is not set is empty to compose, and is written so that it is here, too.
pub(super) fn rewrite(root: &mut Node, variables: &BTreeMap<String, String>) -> Vec<Note> {
    let mut notes = Vec::new();
    walk(root, "", variables, &mut notes);
    notes
}

fn walk(node: &mut Node, key: &str, variables: &BTreeMap<String, String>, notes: &mut Vec<Note>) {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let mut unset = Vec::new();
            *text = rewritten(text, variables, &mut unset);
            notes.extend(unset.into_iter().map(|name| Note {
                line: node.line,
                key: key.to_owned(),
                why: format!("the variable `{name}` is not set, and is empty unless the environment or `.env` has it"),
            }));
        }
        Value::List(items) => items.iter_mut().for_each(|item| walk(item, key, variables, notes)),
        Value::Map(entries) => {
            for entry in entries {
                let below = if key.is_empty() { entry.key.clone() } else { format!("{key}.{}", entry.key) };
                walk(&mut entry.node, &below, variables, notes);
            }
        }
        _ => {}
    }
}

fn rewritten(text: &str, variables: &BTreeMap<String, String>, unset: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        out.push('$');
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((inside, after)) = after.strip_prefix('{').and_then(split_braces) {
            let (name, how) = split_name(inside);
            out.push_str(&variable(name, &rewritten(how, variables, unset), variables, unset));
            rest = after;
        } else if after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let (name, after) = split_name(after);
            out.push_str(&variable(name, "", variables, unset));
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn variable(name: &str, how: &str, variables: &BTreeMap<String, String>, unset: &mut Vec<String>) -> String {
    if how.is_empty() && !variables.contains_key(name) {
        unset.push(name.to_owned());
        return format!("{{{name}:-}}");
    }
    format!("{{{name}{how}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_written_with_braces_and_unset_ones_are_empty() {
        let variables = BTreeMap::from([("SET".to_owned(), "1".to_owned())]);
        for (theirs, ours, missing) in [
            ("$SET/x", "${SET}/x", &[][..]),
            ("${SET}", "${SET}", &[]),
            ("$NONE.x", "${NONE:-}.x", &["NONE"]),
            ("${NONE}", "${NONE:-}", &["NONE"]),
            ("${NONE:-a}", "${NONE:-a}", &[]),
            ("${NONE:?say}", "${NONE:?say}", &[]),
            ("${A:-${B:-$SET}}", "${A:-${B:-${SET}}}", &[]),
            ("${A:-${B}}", "${A:-${B:-}}", &["B"]),
            ("$$HOME $${X} 5$", "$$HOME $${X} 5$", &[]),
            ("$(id)", "$(id)", &[]),
        ] {
            let mut unset = Vec::new();
            assert_eq!(rewritten(theirs, &variables, &mut unset), ours);
            assert_eq!(unset, missing, "{theirs}");
        }
    }
}
