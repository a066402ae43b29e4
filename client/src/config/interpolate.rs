//! `${NAME}` in the texts of services, as compose has it (compose-spec, "Interpolation").

use std::collections::BTreeMap;

use super::problem::{Problem, Problems};
use super::tree::{Node, Table, Value};

/// Replaces every `${NAME}` in texts below `services`. What the built-in defaults have is left as it is.
pub(super) fn interpolate(tree: &mut Table, variables: &BTreeMap<String, String>, problems: &Problems) {
    if let Some(services) = tree.get_mut("services") {
        walk(services, "services", variables, problems);
    }
}

fn walk(node: &mut Node, place: &str, variables: &BTreeMap<String, String>, problems: &Problems) {
    match &mut node.value {
        Value::String(text) if node.at.is_users() => match replaced(text, variables) {
            Ok(new) => *text = new,
            Err(why) => {
                let problem = Problem::error(format!("`{place}`: {}", why.message)).at(node.at.clone());
                problems.push(problem.hint(why.hint));
            }
        },
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &format!("{place}.{index}"), variables, problems);
            }
        }
        Value::Table(table) => {
            for (key, below) in table.iter_mut() {
                walk(below, &format!("{place}.{key}"), variables, problems);
            }
        }
        _ => {}
    }
}

/// Why a text has no value.
#[derive(Debug, PartialEq, Eq)]
struct Unset {
    message: String,
    hint: String,
}

/// `$$` is `$`, `${NAME}` the variable. `${NAME:-else}` stands for `else` where it is unset or empty, `${NAME-else}` where
/// it is unset; `:?` and `?` refuse it there, and `:+` and `+` stand for their text where it is set. They can be nested.
fn replaced(text: &str, variables: &BTreeMap<String, String>) -> Result<String, Unset> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let (inside, after) = split_braces(inner).ok_or_else(|| Unset {
                message: "a variable begins with `${` and does not end with `}`".to_owned(),
                hint: "a `$` that is meant as such is written `$$`".to_owned(),
            })?;
            out.push_str(&value(inside, variables)?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// What stands within the braces of a variable whose `${` was read, and what follows them.
pub(crate) fn split_braces(inner: &str) -> Option<(&str, &str)> {
    let mut open = 0_u32;
    let mut before = ' ';
    for (at, c) in inner.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some((&inner[..at], &inner[at + 1..])),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

/// The name of a variable, and what stands behind it within the braces.
pub(crate) fn split_name(inside: &str) -> (&str, &str) {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    inside.split_at(end)
}

fn value(inside: &str, variables: &BTreeMap<String, String>) -> Result<String, Unset> {
    let (name, how) = split_name(inside);
    let or_empty = how.starts_with(':');
    let found = variables.get(name).filter(|found| !(or_empty && found.is_empty()));
    let how = how.strip_prefix(':').unwrap_or(how);
    let operator = how.chars().next();
    let text = how.get(1..).unwrap_or_default();
    let unset = |message: String| Unset {
        message,
        hint: format!(
            "set it in the environment or in `.env` beside the configuration, or write `${{{name}:-default}}`; for the text \
             itself write `$${{{name}}}`"
        ),
    };
    match (operator, found) {
        (None, _) if or_empty || name.is_empty() => Err(no_name(inside)),
        (None | Some('-' | '?'), Some(found)) if !name.is_empty() => Ok(found.clone()),
        (None, None) => Err(unset(format!("the variable `{name}` is not set"))),
        (Some('-'), None) if !name.is_empty() => replaced(text, variables),
        (Some('?'), None) if !name.is_empty() => {
            let why = if text.is_empty() { String::new() } else { format!(": {text}") };
            Err(unset(format!("the variable `{name}` is not set{why}")))
        }
        (Some('+'), Some(_)) => replaced(text, variables),
        (Some('+'), None) if !name.is_empty() => Ok(String::new()),
        _ => Err(no_name(inside)),
    }
}

fn no_name(inside: &str) -> Unset {
    Unset {
        message: format!("`${{{inside}}}` is not the name of a variable"),
        hint: "it is `${NAME}` or `${NAME:-default}`; a `$` that is meant as such is written `$$`".to_owned(),
    }
}

/// A text that [`interpolate`] leaves as this one.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        if c == '$' && matches!(rest.peek(), Some('$' | '{')) {
            out.push('$');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let variables = [("NAME", "value"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        replaced(text, &variables.into()).map_err(|why| why.message)
    }

    #[test]
    fn variables_are_replaced_as_compose_does_it() {
        for (text, read_as) in [
            ("a ${NAME} b", "a value b"),
            ("${NAME}${NAME}", "valuevalue"),
            ("${NAME:-x}", "value"),
            ("${NONE:-x y}", "x y"),
            ("${NONE:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${NONE-x}", "x"),
            ("${EMPTY}", ""),
            ("${NONE:-${EMPTY:-${NAME}}/x}", "value/x"),
            ("${NAME:?why}", "value"),
            ("${EMPTY?why}", ""),
            ("${NAME:+set}${EMPTY:+not}${EMPTY+but}${NONE+not}", "setbut"),
            ("$$", "$"),
            ("$${NAME}", "${NAME}"),
            ("$NAME $(x) 5$", "$NAME $(x) 5$"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(read_as), "{text}");
        }
    }

    #[test]
    fn one_that_is_not_set_is_an_error_and_no_empty_text() {
        for (text, told) in [
            ("${NONE}", "the variable `NONE` is not set"),
            ("${NONE", "does not end with `}`"),
            ("${}", "is not the name of a variable"),
            ("${NAME!x}", "is not the name of a variable"),
            ("${NAME:}", "is not the name of a variable"),
            ("${:-x}", "is not the name of a variable"),
            ("${NONE:?say which}", "the variable `NONE` is not set: say which"),
            ("${EMPTY:?}", "the variable `EMPTY` is not set"),
            ("${NONE:-${OTHER}}", "the variable `OTHER` is not set"),
        ] {
            assert!(read(text).is_err_and(|why| why.contains(told)), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn a_text_that_is_written_literally_stays_as_it_is() {
        for text in ["$", "$$", "${X}", "$${X}", "$$$", "a$$$${b", "$x"] {
            assert_eq!(read(&literal(text)).as_deref(), Ok(text));
        }
    }
}
