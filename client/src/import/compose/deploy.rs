//! A service's resources: limits, devices, GPUs, and the rest of `deploy`.

use super::super::draft::Service;
use super::super::yaml::{Entry, Node};
use super::names;
use super::service::KeyContext;

impl KeyContext<'_> {
    pub(super) fn resource(&mut self, draft: &mut Service, ours: &'static str, node: &Node) {
        match node.scalar() {
            Some(text) => draft.set_in("resources", ours, text),
            None => self.note("", "not a text, and not carried over"),
        }
    }

    pub(super) fn pids(&mut self, draft: &mut Service, node: &Node) {
        match node.scalar().and_then(|text| text.parse::<i64>().ok()) {
            Some(count) => draft.set("pids_limit", count),
            None => self.note("", "not a number, and not carried over"),
        }
    }

    pub(super) fn device(&mut self, draft: &mut Service, item: &Node) {
        self.at(draft, item.line);
        let part = |key: &str| item.get(key).and_then(Node::scalar);
        let long = |source: String| {
            let parts = [Some(source), part("target"), part("permissions")];
            parts.into_iter().flatten().collect::<Vec<_>>().join(":")
        };
        match item.scalar().or_else(|| part("source").map(long)) {
            Some(device) => draft.push("devices", device),
            None => self.note_at(item.line, "", "not a device, and not carried over"),
        }
    }

    /// Reads one number for both bounds, or a table with both.
    pub(super) fn ulimits(&mut self, draft: &mut Service) {
        for entry in self.entry.node.entries() {
            self.at(draft, entry.line);
            let bound = |key: &str| entry.node.get(key).and_then(Node::scalar);
            let bounds = entry.node.scalar().or_else(|| Some(format!("{}:{}", bound("soft")?, bound("hard")?)));
            match bounds {
                Some(bounds) => draft.push("ulimits", format!("{}={bounds}", entry.key)),
                None => self.note_at(entry.line, &format!(".{}", entry.key), "not a limit, and not carried over"),
            }
        }
    }

    pub(super) fn gpus(&mut self, draft: &mut Service) {
        if self.entry.node.scalar().as_deref() == Some("all") {
            return draft.gpu([]);
        }
        self.entry.node.items().iter().for_each(|item| self.gpu(draft, item));
    }

    pub(super) fn deploy(&mut self, draft: &mut Service) {
        for entry in self.entry.node.entries() {
            self.at(draft, entry.line);
            match (entry.key.as_str(), entry.node.scalar().as_deref()) {
                ("resources", _) => self.resources(draft, entry),
                ("restart_policy", _) => self.restart_condition(draft, entry),
                ("replicas", Some("1")) | ("mode", Some("replicated")) => {}
                (key, _) => {
                    self.note_at(
                        entry.line,
                        &format!(".{key}"),
                        "not carried over: airpods runs one container a service",
                    );
                }
            }
        }
    }

    fn resources(&mut self, draft: &mut Service, resources: &Entry) {
        for kind in resources.node.entries() {
            for entry in kind.node.entries() {
                self.at(draft, entry.line);
                match (kind.key.as_str(), entry.key.as_str()) {
                    ("limits", "memory") => self.resource(draft, "memory", &entry.node),
                    ("limits", "cpus") => self.resource(draft, "cpus", &entry.node),
                    ("limits", "pids") => self.pids(draft, &entry.node),
                    ("reservations", "devices") => {
                        entry.node.items().iter().for_each(|item| self.gpu(draft, item));
                    }
                    (kind, key) => {
                        let below = format!(".resources.{kind}.{key}");
                        self.note_at(entry.line, &below, "not carried over: airpods reserves nothing");
                    }
                }
            }
        }
    }

    fn restart_condition(&mut self, draft: &mut Service, entry: &Entry) {
        let condition = entry.node.get("condition").and_then(Node::scalar);
        draft.set(
            "restart_policy",
            match condition.as_deref() {
                None | Some("any") => "always",
                Some("on-failure") => "on-failure",
                Some(_) => "no",
            },
        );
        for option in entry.node.entries().iter().filter(|option| option.key != "condition") {
            self.note_at(option.line, &format!(".restart_policy.{}", option.key), "not carried over");
        }
    }

    /// Reads a device request: every GPU, those with certain ids, or the first N.
    fn gpu(&mut self, draft: &mut Service, item: &Node) {
        let capabilities = item.get("capabilities").map(names).unwrap_or_default();
        if !capabilities.is_empty() && !capabilities.iter().any(|capability| capability == "gpu") {
            return self.note_at(item.line, "", "a device that is no GPU is not carried over");
        }
        self.at(draft, item.line);
        let ids = item.get("device_ids").map(names).unwrap_or_default();
        let count = item.get("count").and_then(Node::scalar).and_then(|text| text.parse::<u8>().ok());
        match count {
            Some(count) if ids.is_empty() => draft.gpu((0..count).map(|number| number.to_string())),
            _ => draft.gpu(ids),
        }
    }
}
