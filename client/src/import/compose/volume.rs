//! A service's mounts: a volume in the short form `SOURCE:TARGET:OPTIONS` or the long form, and a
//! secret, which is a host file mounted below `/run/secrets`.

use super::Reader;
use super::service::KeyContext;
use crate::import::draft::Service;
use crate::import::yaml::{Entry, Node, Value};

/// Carries a volume over, or notes why it is not.
pub(super) fn carry(context: &mut KeyContext<'_>, draft: &mut Service, item: &Node) {
    context.at(draft, item.line);
    match item.scalar() {
        Some(text) => short(context, draft, item, &text),
        None => long(context, draft, item),
    }
}

fn short(context: &mut KeyContext<'_>, draft: &mut Service, item: &Node, text: &str) {
    let Some((source, rest)) = split_source(text) else {
        return anonymous(context, draft, item, text);
    };
    let (target, options) = split_source(rest).unwrap_or((rest, ""));
    let source = named(context, source);
    for option in draft.volume(&source, target, options) {
        context.note_at(item.line, "", &format!("option `{option}` is not carried over"));
    }
}

/// Gives an unnamed volume a name. Otherwise every container would get a new volume, and its data
/// would not be found again.
fn anonymous(context: &mut KeyContext<'_>, draft: &mut Service, item: &Node, target: &str) {
    let name = format!("{}{}", context.service, target.replace('/', "_"));
    let why = format!("a volume without a name is carried over as `{name}`");
    context.note_at(item.line, "", &why);
    draft.volume(&name, target, "");
}

fn long(context: &mut KeyContext<'_>, draft: &mut Service, item: &Node) {
    let part = |key: &str| item.get(key).and_then(Node::scalar);
    let is_on = |node: Option<&Node>| matches!(node.map(|node| &node.value), Some(Value::Boolean(true)));
    let kind = part("type").unwrap_or_else(|| "volume".to_owned());
    if kind == "tmpfs" {
        return tmpfs(context, draft, item);
    }
    let (source, target) = match (part("source"), part("target")) {
        (source, Some(target)) if matches!(kind.as_str(), "bind" | "volume") => (source, target),
        _ => return context.note_at(item.line, "", &format!("a mount of type `{kind}` is not carried over")),
    };
    let relabel = item.get("bind").and_then(|bind| bind.get("selinux")).and_then(Node::scalar);
    let read_only = is_on(item.get("read_only")).then(|| "ro".to_owned());
    let options: Vec<String> = read_only.into_iter().chain(relabel).collect();
    match source {
        Some(source) => {
            let source = named(context, &source);
            let options = options.join(",");
            for option in draft.volume(&source, &target, &options) {
                context.note_at(item.line, "", &format!("option `{option}` is not carried over"));
            }
        }
        None => anonymous(context, draft, item, &target),
    }
    for entry in item.entries() {
        let is_known = match entry.key.as_str() {
            "type" | "source" | "target" | "read_only" => true,
            "bind" => {
                entry.node.entries().iter().all(|option| matches!(option.key.as_str(), "selinux" | "create_host_path"))
            }
            _ => false,
        };
        if !is_known {
            context.note_at(entry.line, &format!(".{}", entry.key), "not carried over");
        }
    }
}

fn tmpfs(context: &mut KeyContext<'_>, draft: &mut Service, item: &Node) {
    let Some(target) = item.get("target").and_then(Node::scalar) else {
        return context.note_at(item.line, "", "has no `target`, and is not carried over");
    };
    let table = item.get("tmpfs").map(Node::entries).unwrap_or_default();
    let option = |key: &str| {
        let entry = table.iter().find(|entry| entry.key == key)?;
        Some(format!("{key}={}", entry.node.scalar()?))
    };
    let options: Vec<String> = ["size", "mode"].into_iter().filter_map(option).collect();
    let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
    draft.push("tmpfs", format!("{target}{options}"));
}

/// podman's name of a volume of the file; anything else is a path and stays unchanged.
fn named(context: &KeyContext<'_>, source: &str) -> String {
    context.reader.volumes.get(source).cloned().unwrap_or_else(|| source.to_owned())
}

/// Splits at the first colon outside `${…}`.
fn split_source(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// The default folder of a secret in compose (compose-spec, "secrets").
const FOLDER: &str = "/run/secrets";

impl Reader {
    /// Records the file of a top-level secret.
    pub(super) fn secret(&mut self, entry: &Entry) {
        let Some(file) = entry.node.get("file").and_then(Node::scalar) else {
            let why =
                "not carried over: write the value into a file, and name it as `file`, or give it in `secret_env`";
            return self.note(entry.line, &format!("secrets.{}", entry.key), why);
        };
        let is_path = file.starts_with(['/', '~', '$', '.']);
        let file = if is_path { file } else { format!("./{file}") };
        self.secrets.insert(entry.key.clone(), file);
    }
}

/// Carries a service's secret over as a read-only file, or notes why it cannot.
pub(super) fn carry_secret(context: &mut KeyContext<'_>, draft: &mut Service, item: &Node) {
    context.at(draft, item.line);
    let part = |key: &str| item.get(key).and_then(Node::scalar);
    let Some(name) = item.scalar().or_else(|| part("source")) else {
        return context.note_at(item.line, "", "has no `source`, and is not carried over");
    };
    // A missing file was noted at the top-level secret.
    let Some(file) = context.reader.secrets.get(&name).cloned() else { return };
    let target = part("target").unwrap_or(name);
    let target = if target.starts_with('/') { target } else { format!("{FOLDER}/{target}") };
    draft.volume(&file, &target, "ro");
    for entry in item.entries().iter().filter(|entry| !matches!(entry.key.as_str(), "source" | "target")) {
        context.note_at(
            entry.line,
            &format!(".{}", entry.key),
            "not carried over: the file keeps its owner and its mode",
        );
    }
}
