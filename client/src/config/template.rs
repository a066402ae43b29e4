//! Variables and templates in a service's texts. `${NAME}` is as in compose (compose-spec,
//! "Interpolation"). Templates such as `{{services.ollama.ports.0.container}}` stand in `env`, and
//! in a `command_args` that is a table.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

use super::model::Config;
use super::name::ServiceName;
use super::problem::{Problem, Problems};
use super::runtime::Runtime;
use super::service::Service;
use super::tree::{Node, Table, Value};
use crate::config::problem::nearest;

/// Replaces every `${NAME}` in texts below `services`, except in texts of the built-in defaults.
pub(super) fn interpolate(tree: &mut Table, variables: &BTreeMap<String, String>, problems: &Problems) {
    if let Some(services) = tree.get_mut("services") {
        interpolate_in(services, "services", variables, problems);
    }
}

fn interpolate_in(node: &mut Node, place: &str, variables: &BTreeMap<String, String>, problems: &Problems) {
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
                interpolate_in(item, &format!("{place}.{index}"), variables, problems);
            }
        }
        Value::Table(table) => {
            for (key, below) in table.iter_mut() {
                interpolate_in(below, &format!("{place}.{key}"), variables, problems);
            }
        }
        _ => {}
    }
}

/// Why a variable cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
struct Unset {
    message: String,
    hint: String,
}

/// Replaces the variables of a text. `$$` is `$`, `${NAME}` the variable. `${NAME:-else}` is `else`
/// if the variable is unset or empty, `${NAME-else}` only if it is unset. `:?` and `?` are errors
/// in those cases; `:+` and `+` give their text in all others. They can be nested.
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

/// Splits the text after `${` at its closing brace: the text within the braces, and the text after
/// them.
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

/// The name of a variable, and the rest within the braces.
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

/// Escapes a text so that [`interpolate`] returns the original.
pub(crate) fn literal_dollars(text: &str) -> String {
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

/// Replaces every template in the services' `env` and tables of `command_args`. Problems name the
/// key and its place in `tree`.
pub(super) fn expand(config: &mut Config, tree: &Table, problems: &Problems) {
    let scope = Scope::of(&config.runtime, &config.services);
    let mut expanded = Vec::new();
    for (name, service) in &config.services {
        for key in service.env.keys() {
            let place = format!("services.{name}.env.{key}");
            match scope.variable(name.as_str(), key, &mut Vec::new()) {
                Ok(text) => expanded.push((name.clone(), key.clone(), text)),
                Err(why) => {
                    let problem =
                        Problem::error(format!("`{place}`: {}", why.message)).at(tree.locate(&place).cloned());
                    problems.push(Problem { hint: why.hint, ..problem });
                }
            }
        }
    }
    let commands = commands(&scope, tree, problems);
    for (service, words) in commands {
        if let Some(service) = config.services.get_mut(&service) {
            service.command_args = Some(words);
        }
    }
    for (service, key, text) in expanded {
        if let Some(service) = config.services.get_mut(&service) {
            service.env.insert(key, text);
        }
    }
}

/// The commands with their templates replaced. Only a table has templates: braces in an array
/// belong to the program.
fn commands(scope: &Scope<'_>, tree: &Table, problems: &Problems) -> Vec<(ServiceName, Vec<String>)> {
    let mut replaced = Vec::new();
    for (name, service) in scope.services {
        let place = format!("services.{name}.command_args");
        let Some(words) = service.command_args.as_ref().filter(|_| tree.is_table(&place)) else { continue };
        match words.iter().map(|word| scope.replace(word, &mut Vec::new())).collect() {
            Ok(words) => replaced.push((name.clone(), words)),
            Err(why) => {
                let Unresolved { message, hint, .. } = why;
                let problem = Problem::error(format!("`{place}`: {message}")).at(tree.locate(&place).cloned());
                problems.push(Problem { hint, ..problem });
            }
        }
    }
    replaced
}

/// Why a template has no value.
struct Unresolved {
    message: String,
    hint: Option<String>,
    /// The template refers back to itself. A `:-` default does not apply then.
    circular: bool,
}

const LITERAL_BRACES_HINT: &str = "braces that are meant as such are written `{{\"{{\"}}`";

/// Splits `"…"}}` or `'…'}}` into the text, which stands for itself, and what follows.
fn quoted(after: &str) -> Option<(&str, &str)> {
    let inner = after.trim_start();
    let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (text, rest) = inner[1..].split_once(quote)?;
    Some((text, rest.trim_start().strip_prefix("}}")?))
}

/// Escapes a text so that [`expand`] returns the original.
pub(super) fn literal(text: &str) -> String {
    text.replace("{{", "{{\"{{\"}}")
}

/// The values that templates can refer to.
struct Scope<'a> {
    runtime: serde_json::Value,
    services: &'a IndexMap<ServiceName, Service>,
}

/// The keys of a service that a template may refer to.
const SERVICE_KEYS: [&str; 6] = ["ports", "image", "pod", "container", "env", "default_model"];

impl<'a> Scope<'a> {
    fn of(runtime: &Runtime, services: &'a IndexMap<ServiceName, Service>) -> Self {
        let mut values = json(runtime);
        values["host_gateway"] = runtime.host_gateway.resolved().into();
        Self { runtime: values, services }
    }

    /// A variable with its templates replaced. `open` has the variables being replaced around it,
    /// so that a cycle ends in an error.
    fn variable(&self, service: &str, key: &str, open: &mut Vec<String>) -> Result<String, Unresolved> {
        let place = format!("services.{service}.env.{key}");
        if let Some(first) = open.iter().position(|other| *other == place) {
            let circle = [&open[first..], &[place]].concat().join("` -> `");
            return Err(Unresolved {
                message: format!("the template is circular: `{circle}`"),
                hint: None,
                circular: true,
            });
        }
        let text = self.services.get(service).and_then(|service| service.env.get(key));
        let text = text.ok_or_else(|| unknown(&place, None))?;
        open.push(place);
        let replaced = self.replace(text, open);
        open.pop();
        replaced
    }

    fn replace(&self, text: &str, open: &mut Vec<String>) -> Result<String, Unresolved> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            if let Some((quoted, after)) = quoted(after) {
                out.push_str(quoted);
                rest = after;
                continue;
            }
            let Some((path, after)) = after.split_once("}}") else {
                let message = "a template begins with `{{` and does not end with `}}`".to_owned();
                return Err(Unresolved { message, hint: Some(LITERAL_BRACES_HINT.to_owned()), circular: false });
            };
            let (path, instead) = path.split_once(":-").map_or((path, None), |(path, instead)| (path, Some(instead)));
            out.push_str(&match (self.look_up(path.trim(), open), instead) {
                (Err(why), Some(instead)) if !why.circular => instead.trim().to_owned(),
                (found, _) => found?,
            });
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn look_up(&self, path: &str, open: &mut Vec<String>) -> Result<String, Unresolved> {
        let parts: Vec<_> = path.split('.').collect();
        let found = match parts[..] {
            ["runtime", ref rest @ ..] => walk(&self.runtime, rest),
            ["services", service, "env", key] => return self.variable(service, key, open),
            ["services", name, key, ref rest @ ..] if SERVICE_KEYS.contains(&key) => {
                let Some(service) = self.services.get(name) else {
                    let near = nearest(name, self.services.keys().map(ServiceName::as_str));
                    return Err(unknown(path, near.map(|near| format!("did you mean the service `{near}`?"))));
                };
                walk(&json(service)[key], rest)
            }
            _ => None,
        };
        found.ok_or_else(|| {
            let keys = "`runtime.KEY` or `services.NAME.` with `ports.N.host`, `ports.N.container`, `image`, `pod`, \
                        `container` or `env.KEY`";
            unknown(path, Some(format!("a template names {keys}; {LITERAL_BRACES_HINT}")))
        })
    }
}

fn unknown(path: &str, hint: Option<String>) -> Unresolved {
    Unresolved {
        message: format!("the template `{{{{{path}}}}}` names nothing that has a value"),
        hint,
        circular: false,
    }
}

/// Every type of the model serializes to JSON: texts, numbers, and tables with text keys.
fn json(value: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn walk(value: &serde_json::Value, path: &[&str]) -> Option<String> {
    match (value, path) {
        (serde_json::Value::Object(table), [key, rest @ ..]) => walk(table.get(*key)?, rest),
        (serde_json::Value::Array(items), [index, rest @ ..]) => walk(items.get(index.parse::<usize>().ok()?)?, rest),
        (serde_json::Value::String(text), []) => Some(text.clone()),
        (serde_json::Value::Number(_) | serde_json::Value::Bool(_), []) => Some(value.to_string()),
        _ => None,
    }
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
        for (text, message) in [
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
            assert!(read(text).is_err_and(|why| why.contains(message)), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn a_text_that_is_written_literally_stays_as_it_is() {
        for text in ["$", "$$", "${X}", "$${X}", "$$$", "a$$$${b", "$x"] {
            assert_eq!(read(&literal_dollars(text)).as_deref(), Ok(text));
        }
    }
}
