//! Reads a compose file ([Compose Specification](https://github.com/compose-spec/compose-spec))
//! with its networks. airpods has one network for all services, beside those that exist already.
//!
//! Variables keep their meaning; they are written in the configuration's syntax (compose-spec,
//! "Interpolation").

mod deploy;
mod service;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{Table, value};

use super::draft::{Draft, Note, Service};
use super::yaml::{self, Entry, InvalidYaml, Node, Value};
use crate::config::{NetworkMtu, split_braces, split_name};

/// Reads the text of a compose file. `folder` is the name of its folder, which names the project if
/// neither the file nor `COMPOSE_PROJECT_NAME` does.
pub(super) fn read(text: &str, folder: &str, values: &BTreeMap<String, String>) -> Result<Draft, InvalidYaml> {
    let mut root = yaml::parse(text)?;
    let notes = rewrite(&mut root, values);
    let named = root.get("name").and_then(Node::scalar).or_else(|| values.get("COMPOSE_PROJECT_NAME").cloned());
    let project = named.unwrap_or_else(|| project_name(folder));
    let mut reader = Reader { project, notes, ..Reader::default() };
    reader.read_top(&root);
    let network = read_networks(&mut reader, &root);
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    let mut drafts: Vec<Service> = services.iter().map(|entry| reader.service(&entry.key, &entry.node)).collect();
    // A service whose completion others wait for is a one-shot service.
    for draft in drafts.iter_mut().filter(|draft| reader.ends.contains(&draft.name)) {
        draft.set("oneshot", true);
    }
    // Services that share another one's network form a pod with its name, and it is in that pod,
    // too.
    for draft in drafts.iter_mut().filter(|draft| reader.shares.contains(&draft.name)) {
        let pod = draft.name.clone();
        draft.set("pod", pod);
    }
    Ok(Draft { services: drafts, notes: reader.notes, network })
}

/// Top-level keys that are read elsewhere, or mean nothing.
const TOP_READ: [&str; 6] = ["version", "name", "services", "volumes", "networks", "secrets"];

#[derive(Default)]
struct Reader {
    project: String,
    notes: Vec<Note>,
    /// podman's name of each named volume of the file.
    volumes: BTreeMap<String, String>,
    /// podman's name of each external network.
    networks: BTreeMap<String, String>,
    /// The file of each secret.
    secrets: BTreeMap<String, String>,
    /// Services whose completion others wait for.
    ends: BTreeSet<String>,
    /// Services whose network namespace others share.
    shares: BTreeSet<String>,
}

impl Reader {
    fn read_top(&mut self, root: &Node) {
        for entry in root.entries() {
            let key = entry.key.as_str();
            if !TOP_READ.contains(&key) && !key.starts_with("x-") {
                let why = match key {
                    "configs" => "not carried over: mount the file as a volume",
                    "include" => "not carried over: import the included file by itself",
                    _ => "airpods has no such key",
                };
                self.note(entry.line, key, why);
            }
        }
        for entry in root.get("volumes").map(Node::entries).unwrap_or_default() {
            self.volume(entry);
        }
        for entry in root.get("secrets").map(Node::entries).unwrap_or_default() {
            self.secret(entry);
        }
    }

    /// Records podman's name of a volume, so that the existing data is found.
    fn volume(&mut self, entry: &Entry) {
        let given = entry.node.get("name").and_then(Node::scalar);
        let name = match given {
            Some(name) => name,
            None if is_external(&entry.node) => entry.key.clone(),
            None => format!("{}_{}", self.project, entry.key),
        };
        self.volumes.insert(entry.key.clone(), name);
        for option in entry.node.entries() {
            let is_read = matches!(option.key.as_str(), "name" | "external" | "labels");
            let is_local = option.key == "driver" && option.node.scalar().as_deref() == Some("local");
            if !is_read && !is_local {
                let key = format!("volumes.{}.{}", entry.key, option.key);
                self.note(option.line, &key, "not carried over: create the volume with `podman volume create` first");
            }
        }
    }

    fn note(&mut self, line: u64, key: &str, why: &str) {
        self.notes.push(Note { line, key: key.to_owned(), why: why.to_owned() });
    }

    fn service(&mut self, name: &str, node: &Node) -> Service {
        let mut draft = Service::new(name);
        for entry in node.entries() {
            draft.at(entry.line, format!("services.{name}.{}", entry.key));
            let mut context = service::KeyContext { reader: self, service: name, entry };
            context.carry(&mut draft);
        }
        if !draft.has("image") {
            draft.set("image", format!("localhost/{name}:latest"));
            if node.get("build").is_none() {
                self.note(node.line, &format!("services.{name}"), "it has no `image`: name the one to start");
            }
        }
        draft
    }
}

/// The names in a list, or the keys of a mapping.
fn names(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => node.items().iter().filter_map(Node::scalar).collect(),
    }
}

fn is_external(node: &Node) -> bool {
    match node.get("external").map(|node| &node.value) {
        None | Some(Value::Boolean(false) | Value::Null) => false,
        // Version 2 of the format has `external: { name: … }`.
        Some(_) => true,
    }
}

/// A project's name, as compose derives it from a folder's: in lower case, without characters that
/// a name cannot have.
fn project_name(folder: &str) -> String {
    let lower = folder.to_lowercase();
    let name: String = lower.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

/// The two names of docker's and podman's option for the MTU of a bridge.
const MTU: [&str; 2] = ["com.docker.network.driver.mtu", "mtu"];

/// Records the external networks, and returns the settings of the one network that the file
/// creates.
fn read_networks(reader: &mut Reader, root: &Node) -> Table {
    let mut network = Table::new();
    let all = root.get("networks").map(Node::entries).unwrap_or_default();
    let (existing, own): (Vec<&Entry>, Vec<&Entry>) = all.iter().partition(|entry| is_external(&entry.node));
    for entry in existing {
        let name = entry.node.get("name").or_else(|| entry.node.get("external").and_then(|node| node.get("name")));
        let name = name.and_then(Node::scalar).unwrap_or_else(|| entry.key.clone());
        reader.networks.insert(entry.key.clone(), name);
    }
    if let [entry] = own[..] {
        for option in entry.node.entries() {
            carry_network_option(reader, &mut network, &entry.key, option);
        }
        return network;
    }
    for entry in own {
        let why = "airpods has one network for all services: this one's services share it now";
        reader.note(entry.line, &format!("networks.{}", entry.key), why);
    }
    network
}

fn carry_network_option(reader: &mut Reader, network: &mut Table, name: &str, option: &Entry) {
    let is_on = matches!(option.node.value, Value::Boolean(true));
    let key = format!("networks.{name}.{}", option.key);
    match option.key.as_str() {
        "internal" => drop(network.insert("internal", value(is_on))),
        "enable_ipv6" => drop(network.insert("ipv6", value(is_on))),
        "driver" if matches!(option.node.scalar().as_deref(), Some("bridge" | "default")) => {}
        "external" | "labels" | "attachable" => {}
        "name" => reader.note(option.line, &key, "not carried over: the network is called `runtime.network_name`"),
        "driver_opts" => {
            for entry in option.node.entries() {
                let mtu = entry.node.scalar().and_then(|text| text.parse::<u16>().ok()).and_then(NetworkMtu::new);
                match mtu {
                    Some(mtu) if MTU.contains(&entry.key.as_str()) => {
                        drop(network.insert("mtu", value(i64::from(mtu.get()))));
                    }
                    _ => reader.note(entry.line, &format!("{key}.{}", entry.key), "airpods has no such key"),
                }
            }
        }
        "ipam" => reader.note(option.line, &key, "not carried over: see `runtime.network.subnet`"),
        _ => reader.note(option.line, &key, "airpods has no such key"),
    }
}

/// Puts every variable in braces. compose replaces an unset one by an empty text, so it gets that
/// default here.
fn rewrite(root: &mut Node, variables: &BTreeMap<String, String>) -> Vec<Note> {
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
