//! What a service waits for, and how it is asked whether it is well.

use toml_edit::Array;

use super::super::draft::Service;
use super::super::yaml::{Entry, Node, Value};
use super::names;
use super::service::Place;

impl Place<'_> {
    pub(super) fn depends_on(&mut self, draft: &mut Service) {
        for entry in self.entry.node.entries() {
            self.at(draft, entry.line);
            let condition = match entry.node.get("condition").and_then(Node::scalar).as_deref() {
                Some("service_healthy") => "healthy",
                Some("service_completed_successfully") => {
                    self.reader.ends.insert(entry.key.clone());
                    "completed"
                }
                _ => "started",
            };
            draft.set_in("depends_on", &entry.key, condition);
            for option in entry.node.entries().iter().filter(|option| option.key != "condition") {
                self.note_at(option.line, &format!(".{}.{}", entry.key, option.key), "not carried over");
            }
        }
        if self.entry.node.entries().is_empty() {
            for name in names(&self.entry.node) {
                draft.set_in("depends_on", &name, "started");
            }
        }
    }

    pub(super) fn health(&mut self, draft: &mut Service) {
        let node = &self.entry.node;
        // Nothing is asked here unless the configuration says so.
        if matches!(node.get("disable").map(|node| &node.value), Some(Value::Boolean(true))) {
            return;
        }
        for entry in node.entries() {
            match entry.key.as_str() {
                "test" => self.test(draft, &entry.node),
                "disable" => {}
                "interval" | "timeout" | "start_period" => self.time(draft, entry),
                "retries" => match entry.node.scalar().and_then(|text| text.parse::<i64>().ok()) {
                    Some(retries) => {
                        self.at(draft, entry.line);
                        draft.set_in("health", "retries", retries);
                    }
                    None => self.note_at(entry.line, ".retries", "not a number, and not carried over"),
                },
                "start_interval" => {
                    self.note_at(entry.line, ".start_interval", "not carried over: a start looks often by itself");
                }
                key => self.note_at(entry.line, &format!(".{key}"), "airpods has no such key"),
            }
        }
        if node.get("test").is_none() {
            self.note("", "the image's own check is not known here: give the service `health.command`");
        }
    }

    fn time(&mut self, draft: &mut Service, entry: &Entry) {
        self.at(draft, entry.line);
        match entry.node.scalar() {
            Some(time) => draft.set_in("health", &entry.key, time),
            None => self.note_at(entry.line, &format!(".{}", entry.key), "not a time, and not carried over"),
        }
    }

    fn test(&mut self, draft: &mut Service, test: &Node) {
        self.at(draft, test.line);
        let Value::List(items) = &test.value else {
            return test.scalar().into_iter().for_each(|line| draft.set_in("health", "command", line));
        };
        let words: Vec<String> = items.iter().filter_map(Node::scalar).collect();
        match words.split_first() {
            Some((first, _)) if first == "NONE" => {}
            Some((first, rest)) if first == "CMD" => {
                draft.set_in("health", "command", rest.iter().map(String::as_str).collect::<Array>());
            }
            Some((first, rest)) if first == "CMD-SHELL" => draft.set_in("health", "command", rest.join(" ")),
            _ => self.note_at(test.line, ".test", "begins with none of CMD, CMD-SHELL and NONE"),
        }
    }
}
