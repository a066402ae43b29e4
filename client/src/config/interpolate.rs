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

/// `$$` is `$`, `${NAME}` the variable; `${NAME:-else}` where it is unset or empty, `${NAME-else}` where it is unset.
fn replaced(text: &str, variables: &BTreeMap<String, String>) -> Result<String, Unset> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let (inside, after) = inner.split_once('}').ok_or_else(|| Unset {
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

fn value(inside: &str, variables: &BTreeMap<String, String>) -> Result<String, Unset> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, how) = inside.split_at(end);
    let found = variables.get(name);
    let or_if_empty = how.strip_prefix(":-");
    let instead = or_if_empty.or_else(|| how.strip_prefix('-'));
    match (found, instead) {
        _ if name.is_empty() || (instead.is_none() && !how.is_empty()) => Err(Unset {
            message: format!("`${{{inside}}}` is not the name of a variable"),
            hint: "it is `${NAME}` or `${NAME:-default}`; a `$` that is meant as such is written `$$`".to_owned(),
        }),
        (Some(found), _) if !(found.is_empty() && or_if_empty.is_some()) => Ok(found.clone()),
        (_, Some(instead)) => Ok(instead.to_owned()),
        (_, None) => Err(Unset {
            message: format!("the variable `{name}` is not set"),
            hint: format!(
                "set it in the environment or in `.env` beside the configuration, or write `${{{name}:-default}}`; for the text \
                 itself write `$${{{name}}}`"
            ),
        }),
    }
}

/// A text that [`interpolate`] leaves as this one.
pub(super) fn literal(text: &str) -> String {
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
            ("${NAME:?why}", "is not the name of a variable"),
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
