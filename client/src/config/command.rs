//! Reading what a service runs: `command`, `command_args`, `entrypoint_override` and `health.command`.

use super::section::{Mismatch, Read, Section, entries, list, owned_text};
use super::tree::{Node, Value};

/// `command` is taken apart as a shell does it; `command_args` is not.
pub(super) fn command(section: &Section<'_>) -> Option<Vec<String>> {
    section.may_be_list_or_one("command_args");
    let args = section.optional("command_args", args);
    section.may_be_list_or_one("command");
    let line = section.optional("command", |node| match &node.value {
        Value::String(line) => shlex::split(line).ok_or_else(|| {
            Mismatch::new("a quote in this command has no end").hint("an array of words needs no quotes")
        }),
        _ => list(owned_text)(node),
    });
    if line.is_some() && args.is_some() {
        section.refuse("`command` and `command_args` are the same setting: leave out one of the two");
    }
    line.or(args)
}

/// Words, or a table of options as the earlier tool has it: `{ ctx_size = 4096, flash_attn = true, lora = ["a", "b"] }` is
/// `--ctx-size 4096 --flash-attn --lora a --lora b`.
fn args(node: &Node) -> Read<Vec<String>> {
    match &node.value {
        Value::Table(_) => Ok(entries(node, option)?.into_iter().flat_map(|(_, words)| words).collect()),
        _ => words(node),
    }
}

fn option(name: &str, node: &Node) -> Read<Vec<String>> {
    let flag = format!("--{}", name.replace('_', "-"));
    match &node.value {
        Value::Boolean(true) => Ok(vec![flag]),
        Value::Boolean(false) => Ok(Vec::new()),
        Value::Array(_) => Ok(list(scalar)(node)?.into_iter().flat_map(|text| [flag.clone(), text]).collect()),
        _ => Ok(vec![flag, scalar(node)?]),
    }
}

fn scalar(node: &Node) -> Read<String> {
    match &node.value {
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => owned_text(node),
    }
}

/// A line for a shell, or a program with its arguments; also as podman has them, after `CMD-SHELL` or `CMD`.
pub(super) fn health_command(node: &Node) -> Read<Vec<String>> {
    let words = words(node)?;
    let is_podmans = |words: &[String]| matches!(words.first().map(String::as_str), Some("CMD" | "CMD-SHELL"));
    match (&node.value, words.len()) {
        (_, 0) => Err(Mismatch::new("a command is needed here")),
        (Value::String(_), _) => Ok([&["CMD-SHELL".to_owned()], &words[..]].concat()),
        (_, 2..) if is_podmans(&words) => Ok(words),
        _ => Ok([&["CMD".to_owned()], &words[..]].concat()),
    }
}

pub(super) fn optional_words(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    section.may_be_list_or_one(key);
    section.optional(key, words)
}

/// Words of a command line; a single text is one word, never taken apart.
fn words(node: &Node) -> Read<Vec<String>> {
    match &node.value {
        Value::String(word) => Ok(vec![word.clone()]),
        _ => list(owned_text)(node),
    }
}
