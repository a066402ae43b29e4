//! `airpods config get`: one value.

use std::borrow::Cow;

use toml::Value;

use super::file;
use crate::command::Context;
use crate::config::edit::KeyPath;
use crate::error::{Failure, Report};
use crate::exit::Exit;
use crate::spelling::nearest;
use crate::terminal::{print_json, print_text};

pub(super) fn run(context: &Context, key: &KeyPath, json: bool) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let config = Value::try_from(&loaded.config).map_err(NotShown)?;
    let value = find(&config, key.parts())?;
    match value {
        value if json => print_json(value)?,
        Value::Table(table) => file::print_toml(table)?,
        Value::String(text) => print_text(&format!("{text}\n"))?,
        value => print_text(&format!("{value}\n"))?,
    }
    Ok(Exit::Done)
}

fn find<'a>(config: &'a Value, parts: &[String]) -> Result<&'a Value, NoValue> {
    parts.iter().enumerate().try_fold(config, |value, (done, part)| {
        let found = match value {
            Value::Table(table) => table.get(part),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        found.ok_or_else(|| {
            let near = value.as_table().and_then(|table| nearest(part, table.keys().map(String::as_str)));
            let meant = near.map(|near| [&parts[..done], &[near.to_owned()], &parts[done + 1..]].concat().join("."));
            NoValue { key: parts.join("."), meant }
        })
    })
}

/// A key that nobody has set and that has no default, or that there is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` has no value")]
struct NoValue {
    key: String,
    /// The key that was meant, where one is close.
    meant: Option<String>,
}

impl Report for NoValue {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match &self.meant {
            Some(key) => format!("did you mean `{key}`?").into(),
            None => "`airpods config show` prints every value".into(),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be read as values")]
struct NotShown(#[source] toml::ser::Error);

impl Report for NotShown {}
