//! Templates in `env`, and in `command_args` that are a table: `{{services.ollama.ports.0.container}}` and the like.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::model::{Config, Service};
use super::name::ServiceName;
use super::problem::{Problem, Problems};
use super::runtime::Runtime;
use super::tree::Table;
use crate::spelling::nearest;

/// Replaces every template in the services' `env` and tables of `command_args`. Problems name the key and its place in `tree`.
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

/// The commands with their templates replaced. Only a table has them: braces in an array are the program's own.
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
    /// It leads back to itself, in place of which there is nothing.
    circular: bool,
}

const AS_SUCH: &str = "braces that are meant as such are written `{{\"{{\"}}`";

/// The text of `"…"}}`, or of `'…'}}`, and what follows: it stands for itself, whatever is in it.
fn quoted(after: &str) -> Option<(&str, &str)> {
    let inner = after.trim_start();
    let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (text, rest) = inner[1..].split_once(quote)?;
    Some((text, rest.trim_start().strip_prefix("}}")?))
}

/// A text that [`expand`] leaves as this one.
pub(super) fn literal(text: &str) -> String {
    text.replace("{{", "{{\"{{\"}}")
}

/// The values that templates can name.
struct Scope<'a> {
    runtime: Value,
    services: &'a IndexMap<ServiceName, Service>,
}

/// The keys of a service that a template may name, beside its `env`.
const SERVICE_KEYS: [&str; 6] = ["ports", "image", "pod", "container", "env", "default_model"];

impl<'a> Scope<'a> {
    fn of(runtime: &Runtime, services: &'a IndexMap<ServiceName, Service>) -> Self {
        let mut values = json(runtime);
        values["host_gateway"] = runtime.host_gateway.resolved().into();
        Self { runtime: values, services }
    }

    /// A variable with its templates replaced. `open` are those being replaced around it, so that a circle ends.
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
                return Err(Unresolved { message, hint: Some(AS_SUCH.to_owned()), circular: false });
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
            unknown(path, Some(format!("a template names {keys}; {AS_SUCH}")))
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
fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn walk(value: &Value, path: &[&str]) -> Option<String> {
    match (value, path) {
        (Value::Object(table), [key, rest @ ..]) => walk(table.get(*key)?, rest),
        (Value::Array(items), [index, rest @ ..]) => walk(items.get(index.parse::<usize>().ok()?)?, rest),
        (Value::String(text), []) => Some(text.clone()),
        (Value::Number(_) | Value::Bool(_), []) => Some(value.to_string()),
        _ => None,
    }
}
