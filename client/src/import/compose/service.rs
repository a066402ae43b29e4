//! Reads one service of a compose file key by key, including its dependencies and its health check.

use toml_edit::Array;

use super::{Reader, names, volume};
use crate::import::draft::Service;
use crate::import::yaml::{Entry, Node, Value};

/// One key of one service.
pub(super) struct KeyContext<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) service: &'a str,
    pub(super) entry: &'a Entry,
}

/// Keys that are carried over unchanged, with their name in `config.toml`.
const UNCHANGED_KEYS: [(&str, &str); 10] = [
    ("container_name", "container"),
    ("hostname", "hostname"),
    ("ipc", "ipc"),
    ("init", "init"),
    ("privileged", "privileged"),
    ("read_only", "read_only"),
    ("shm_size", "shm_size"),
    ("user", "user"),
    ("userns_mode", "userns"),
    ("working_dir", "working_dir"),
];

/// Lists of texts, with their name in `config.toml`.
const LISTS: [(&str, &str); 5] = [
    ("cap_add", "cap_add"),
    ("cap_drop", "cap_drop"),
    ("group_add", "group_add"),
    ("security_opt", "security_opt"),
    ("tmpfs", "tmpfs"),
];

/// Keys without an effect here: services reach every port of each other, podman keeps the logs, and
/// there is no terminal.
const WITHOUT_EFFECT: [&str; 5] = ["expose", "stdin_open", "tty", "version", "attach"];

/// Advice for keys that cannot be carried over.
const ADVICE: [(&str, &str); 6] = [
    ("extends", "not carried over: import the file with the values written out (`docker compose config`)"),
    ("links", "not carried over: services reach each other by their names"),
    ("logging", "not carried over: podman's own log driver is used"),
    ("configs", "not carried over: mount the file as a volume"),
    ("dns", "not carried over: set `runtime.network.dns_servers` for all services"),
    ("stop_grace_period", "not carried over: set `cli.stop_timeout` for all services"),
];

impl KeyContext<'_> {
    /// Carries the key over, or notes why it is not.
    pub(super) fn carry(&mut self, draft: &mut Service) {
        let (key, node) = (self.entry.key.as_str(), &self.entry.node);
        if let Some((_, ours)) = UNCHANGED_KEYS.iter().find(|(theirs, _)| *theirs == key) {
            return self.scalar(draft, ours);
        }
        if let Some((_, ours)) = LISTS.iter().find(|(theirs, _)| *theirs == key) {
            return self.list(draft, ours);
        }
        match key {
            _ if WITHOUT_EFFECT.contains(&key) || key.starts_with("x-") => {}
            _ if node.value == Value::Null => {}
            "image" => node.scalar().into_iter().for_each(|image| draft.image(&image)),
            "build" => self.note("", &build_advice(self.service)),
            "command" => self.command(draft),
            "entrypoint" => self.entrypoint(draft),
            "environment" => self.pairs(draft, "env"),
            "env_file" => self.env_files(draft),
            "labels" => self.pairs(draft, "labels"),
            "ports" => node.items().iter().for_each(|item| self.port(draft, item)),
            "volumes" => node.items().iter().for_each(|item| volume::carry(self, draft, item)),
            "devices" => node.items().iter().for_each(|item| self.device(draft, item)),
            "ulimits" => self.ulimits(draft),
            "sysctls" => self.pairs(draft, "sysctls"),
            "secrets" => node.items().iter().for_each(|item| volume::carry_secret(self, draft, item)),
            "depends_on" => self.depends_on(draft),
            "healthcheck" => self.health(draft),
            "extra_hosts" => self.extra_hosts(draft),
            "restart" => self.restart(draft),
            "pull_policy" => self.pull(draft),
            "network_mode" => self.network_mode(draft),
            "networks" => self.networks(draft),
            "mem_limit" => self.resource(draft, "memory", node),
            "cpus" => self.resource(draft, "cpus", node),
            "pids_limit" => self.pids(draft, node),
            "gpus" => self.gpus(draft),
            "runtime" if node.scalar().as_deref() == Some("nvidia") => draft.gpu([]),
            "deploy" => self.deploy(draft),
            "profiles" => {
                draft.set("enabled", false);
                let why =
                    format!("the service is switched off: set `services.{}.enabled = true` to use it", self.service);
                self.note("", &why);
            }
            _ => {
                let advice = ADVICE.iter().find(|(name, _)| *name == key);
                self.note("", advice.map_or("airpods has no such key", |(_, advice)| advice));
            }
        }
    }

    /// Adds a note about the key, or about a key below it.
    pub(super) fn note(&mut self, below: &str, why: &str) {
        self.note_at(self.entry.line, below, why);
    }

    pub(super) fn note_at(&mut self, line: u64, below: &str, why: &str) {
        let key = format!("services.{}.{}{below}", self.service, self.entry.key);
        self.reader.note(line, &key, why);
    }

    /// Records that the next values were read on this line.
    pub(super) fn at(&self, draft: &mut Service, line: u64) {
        draft.at(line, format!("services.{}.{}", self.service, self.entry.key));
    }

    fn scalar(&mut self, draft: &mut Service, ours: &'static str) {
        match &self.entry.node.value {
            Value::Boolean(truth) => draft.set(ours, *truth),
            Value::Number(text) | Value::Text(text) => draft.set(ours, text.as_str()),
            Value::Null => {}
            Value::List(_) | Value::Map(_) => self.note("", "not a text, and not carried over"),
        }
    }

    fn list(&mut self, draft: &mut Service, ours: &'static str) {
        for item in self.entry.node.items() {
            self.at(draft, item.line);
            match item.scalar() {
                Some(text) => draft.push(ours, text),
                None => self.note_at(item.line, "", "not a text, and not carried over"),
            }
        }
    }

    /// Reads a file by its path, or a table with the path. airpods has no optional files, so one
    /// with `required: false` becomes required, with a note.
    fn env_files(&mut self, draft: &mut Service) {
        for item in self.entry.node.items() {
            self.at(draft, item.line);
            let path = item.scalar().or_else(|| item.get("path").and_then(Node::scalar));
            let Some(path) = path else {
                self.note_at(item.line, "", "not a text, and not carried over");
                continue;
            };
            if matches!(item.get("required").map(|node| &node.value), Some(Value::Boolean(false))) {
                self.note_at(
                    item.line,
                    "",
                    &format!("`{path}` must be there: airpods reads no file that may be missing"),
                );
            }
            draft.push("env_file", path);
        }
    }

    fn command(&mut self, draft: &mut Service) {
        match &self.entry.node.value {
            Value::List(items) => draft.set("command", items.iter().filter_map(Node::scalar).collect::<Array>()),
            _ => self.entry.node.scalar().into_iter().for_each(|line| draft.set("command", line)),
        }
    }

    /// Splits a single text into words like a shell, as compose does. In `config.toml` it would be
    /// one word.
    fn entrypoint(&mut self, draft: &mut Service) {
        let words = match self.entry.node.scalar() {
            Some(line) => shlex::split(&line),
            None => Some(self.entry.node.items().iter().filter_map(Node::scalar).collect()),
        };
        match words {
            Some(words) if !words.is_empty() => draft.set("entrypoint_override", words.into_iter().collect::<Array>()),
            Some(_) => {
                self.note("", "an empty entrypoint is not carried over: name the program in `entrypoint_override`");
            }
            None => self.note("", "a quote in it has no end, and it is not carried over"),
        }
    }

    /// Reads a mapping, or a list of `NAME=VALUE`. A name without a value takes the environment's
    /// value.
    fn pairs(&mut self, draft: &mut Service, ours: &'static str) {
        let node = &self.entry.node;
        let entries: Vec<(u64, String, Option<String>)> = if let Value::Map(entries) = &node.value {
            entries.iter().map(|entry| (entry.line, entry.key.clone(), entry.node.scalar())).collect()
        } else {
            let texts = node.items().iter().filter_map(|item| Some((item.line, item.scalar()?)));
            let split = |(line, text): (u64, String)| match text.split_once('=') {
                Some((name, value)) => (line, name.to_owned(), Some(value.to_owned())),
                None => (line, text, None),
            };
            texts.map(split).collect()
        };
        for (line, name, text) in entries {
            self.at(draft, line);
            match text {
                Some(text) if ours == "env" => draft.variable(&name, &text),
                Some(text) => draft.set_in(ours, &name, text),
                None if ours == "env" => {
                    draft.variable(&name, &format!("${{{name}:-}}"));
                    self.note_at(line, &format!(".{name}"), "taken from the environment; empty if it is not set there");
                }
                None => draft.set_in(ours, &name, ""),
            }
        }
    }

    /// Reads a port. The short form is the same in `config.toml`; the long form is converted to it.
    fn port(&mut self, draft: &mut Service, item: &Node) {
        self.at(draft, item.line);
        let part = |key: &str| item.get(key).and_then(Node::scalar);
        let text = match (item.scalar(), part("target")) {
            (Some(text), _) => text,
            (None, None) => return self.note_at(item.line, "", "has no `target`, and is not carried over"),
            (None, Some(target)) => {
                let host = part("host_ip").map(|address| format!("{address}:")).unwrap_or_default();
                // Without a host port compose uses a free one. If an address is given, the
                // container's port is used on it.
                let published = part("published").or_else(|| (!host.is_empty()).then(|| target.clone()));
                let published = published.map(|port| format!("{port}:")).unwrap_or_default();
                let protocol = part("protocol").filter(|protocol| protocol != "tcp");
                let protocol = protocol.map(|protocol| format!("/{protocol}")).unwrap_or_default();
                format!("{host}{published}{target}{protocol}")
            }
        };
        if !text.contains(':') || (item.scalar().is_none() && part("published").is_none()) {
            self.note_at(item.line, "", "published on the same port of the host, where compose takes any free one");
        }
        draft.push("ports", text);
    }

    fn extra_hosts(&mut self, draft: &mut Service) {
        match &self.entry.node.value {
            Value::Map(entries) => {
                for entry in entries {
                    for address in entry.node.items().iter().filter_map(Node::scalar) {
                        self.at(draft, entry.line);
                        draft.push("extra_hosts", format!("{}:{address}", entry.key));
                    }
                }
            }
            // compose also accepts `NAME=ADDRESS` for `NAME:ADDRESS`.
            _ => {
                for item in self.entry.node.items() {
                    self.at(draft, item.line);
                    let text = item.scalar().unwrap_or_default();
                    draft.push("extra_hosts", if text.contains('=') { text.replacen('=', ":", 1) } else { text });
                }
            }
        }
    }

    fn restart(&mut self, draft: &mut Service) {
        let Some(policy) = self.entry.node.scalar() else { return };
        let policy = if policy == "false" { "no".to_owned() } else { policy };
        match policy.split_once(':') {
            Some((policy, _)) => {
                draft.set("restart_policy", policy);
                self.note("", "the number of tries is not carried over");
            }
            None => draft.set("restart_policy", policy),
        }
    }

    fn pull(&mut self, draft: &mut Service) {
        match self.entry.node.scalar().as_deref() {
            Some(same @ ("always" | "never" | "missing")) => draft.set("pull", same),
            Some("if_not_present") => draft.set("pull", "missing"),
            _ => self.note("", "not carried over: `always`, `missing` and `never` are"),
        }
    }

    fn network_mode(&mut self, draft: &mut Service) {
        let mode = self.entry.node.scalar().unwrap_or_default();
        match mode.as_str() {
            "host" => draft.set("network_mode", "host"),
            "bridge" | "default" => {}
            "none" => {
                draft.set("enabled", false);
                self.note("", "the service is switched off: airpods has no service without a network");
            }
            // Containers that share a network namespace form a pod.
            _ => match mode.strip_prefix("service:") {
                Some(other) => {
                    draft.set("pod", other);
                    self.reader.shares.insert(other.to_owned());
                }
                None => self.note("", "not carried over: `host` and the network of the services are"),
            },
        }
    }

    fn networks(&mut self, draft: &mut Service) {
        for name in names(&self.entry.node) {
            if let Some(existing) = self.reader.networks.get(&name) {
                draft.push("networks", existing.as_str());
            }
        }
        for entry in self.entry.node.entries() {
            for option in entry.node.entries() {
                self.at(draft, option.line);
                if option.key == "aliases" {
                    let aliases = option.node.items().iter().filter_map(Node::scalar);
                    aliases.for_each(|alias| draft.push("network_aliases", alias));
                } else {
                    let below = format!(".{}.{}", entry.key, option.key);
                    self.note_at(option.line, &below, "not carried over: services reach each other by their names");
                }
            }
        }
    }
}

fn build_advice(service: &str) -> String {
    format!("airpods starts images: build it with `podman build -t localhost/{service} FOLDER` and name it in `image`")
}

impl KeyContext<'_> {
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
        // airpods checks nothing unless the configuration has a check, so there is nothing to
        // disable.
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
