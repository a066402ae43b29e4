//! Secrets: a file of the host's that a service finds below `/run/secrets`.

use super::super::draft::Service;
use super::super::yaml::{Entry, Node};
use super::Reader;
use super::service::Place;

/// Where compose puts a secret that has no place of its own (compose-spec, "secrets").
const FOLDER: &str = "/run/secrets";

impl Reader {
    /// Learns the file of a secret at the top of the file.
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

/// Carries a service's secret over as a file that it may read, or notes why it is not.
pub(super) fn carry(place: &mut Place<'_>, draft: &mut Service, item: &Node) {
    place.at(draft, item.line);
    let part = |key: &str| item.get(key).and_then(Node::scalar);
    let Some(name) = item.scalar().or_else(|| part("source")) else {
        return place.note_at(item.line, "", "has no `source`, and is not carried over");
    };
    // That there is none was noted where the secret is described.
    let Some(file) = place.reader.secrets.get(&name).cloned() else { return };
    let target = part("target").unwrap_or(name);
    let target = if target.starts_with('/') { target } else { format!("{FOLDER}/{target}") };
    draft.volume(&file, &target, "ro");
    for entry in item.entries().iter().filter(|entry| !matches!(entry.key.as_str(), "source" | "target")) {
        place.note_at(
            entry.line,
            &format!(".{}", entry.key),
            "not carried over: the file keeps its owner and its mode",
        );
    }
}
