//! Reads a compose file ([Compose Specification](https://github.com/compose-spec/compose-spec)).

mod deploy;
mod health;
mod network;
mod secret;
mod service;
mod variables;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, Note, Service};
use super::yaml::{self, Entry, InvalidYaml, Node, Value};

/// Reads the text of a compose file; `folder` is the name of the folder it lies in, which is its project's name unless
/// the file has one.
pub(super) fn read(text: &str, folder: &str, values: &BTreeMap<String, String>) -> Result<Draft, InvalidYaml> {
    let mut root = yaml::parse(text)?;
    let notes = variables::rewrite(&mut root, values);
    let named = root.get("name").and_then(Node::scalar).or_else(|| values.get("COMPOSE_PROJECT_NAME").cloned());
    let project = named.unwrap_or_else(|| project_name(folder));
    let mut reader = Reader { project, notes, ..Reader::default() };
    reader.read_top(&root);
    let network = network::read(&mut reader, &root);
    let services = root.get("services").map(Node::entries).unwrap_or_default();
    let mut drafts: Vec<Service> = services.iter().map(|entry| reader.service(&entry.key, &entry.node)).collect();
    // A service whose end others wait for is one that ends.
    for draft in drafts.iter_mut().filter(|draft| reader.ends.contains(&draft.name)) {
        draft.set("oneshot", true);
    }
    // A pod is called as the service whose network others share; that service is in it, too.
    for draft in drafts.iter_mut().filter(|draft| reader.shares.contains(&draft.name)) {
        let pod = draft.name.clone();
        draft.set("pod", pod);
    }
    Ok(Draft { services: drafts, notes: reader.notes, network })
}

/// Keys at the top whose content is read elsewhere, or says nothing.
const TOP_READ: [&str; 6] = ["version", "name", "services", "volumes", "networks", "secrets"];

#[derive(Default)]
struct Reader {
    project: String,
    notes: Vec<Note>,
    /// What podman calls each named volume of the file.
    volumes: BTreeMap<String, String>,
    /// What podman calls each network that exists already.
    networks: BTreeMap<String, String>,
    /// The file of each secret.
    secrets: BTreeMap<String, String>,
    /// Services whose end others wait for.
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

    /// Learns what podman calls a volume, so that what is in it is found.
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
            let mut place = service::Place { reader: self, service: name, entry };
            place.carry(&mut draft);
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

/// The names of a list, or the keys of a mapping.
fn names(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => node.items().iter().filter_map(Node::scalar).collect(),
    }
}

fn is_external(node: &Node) -> bool {
    match node.get("external").map(|node| &node.value) {
        None | Some(Value::Boolean(false) | Value::Null) => false,
        // Version 2 of the format had `external: { name: … }`.
        Some(_) => true,
    }
}

/// A project's name as compose makes it from a folder's: lower case, without what a name cannot hold.
fn project_name(folder: &str) -> String {
    let lower = folder.to_lowercase();
    let name: String = lower.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}
