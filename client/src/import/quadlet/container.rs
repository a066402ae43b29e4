//! The section `[Container]` of a Quadlet unit, key by key, and the options of `podman run` in
//! `PodmanArgs=`.

use toml_edit::Array;

use super::{Line, Reader, extension};
use crate::import::draft::Service;
use crate::podman::{OPTION_ROWS, OptionShape};

/// One key of one unit.
pub(super) struct KeyContext<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) file: &'a str,
    pub(super) line: &'a Line,
}

/// Texts that are carried over unchanged, with their name in `config.toml`.
const TEXT_KEYS: [(&str, &str); 6] = [
    ("ContainerName", "container"),
    ("HostName", "hostname"),
    ("ShmSize", "shm_size"),
    ("UserNS", "userns"),
    ("User", "user"),
    ("WorkingDir", "working_dir"),
];

/// Lists, with their name in `config.toml`.
const LISTS: [(&str, &str); 10] = [
    ("PublishPort", "ports"),
    ("AddCapability", "cap_add"),
    ("DropCapability", "cap_drop"),
    ("EnvironmentFile", "env_file"),
    ("GroupAdd", "group_add"),
    ("AddHost", "extra_hosts"),
    ("NetworkAlias", "network_aliases"),
    ("Tmpfs", "tmpfs"),
    ("Ulimit", "ulimits"),
    ("Sysctl", "sysctls"),
];

const SWITCHES: [(&str, &str); 2] = [("ReadOnly", "read_only"), ("RunInit", "init")];

impl KeyContext<'_> {
    /// Carries the key over, or notes why it is not.
    pub(super) fn carry(&mut self, draft: &mut Service) {
        let key = self.line.key.as_str();
        let Some(text) = super::text(&self.line.value) else { return self.note_specifier() };
        let ours =
            |table: &[(&str, &'static str)]| table.iter().find(|(theirs, _)| *theirs == key).map(|(_, ours)| *ours);
        if let Some(ours) = ours(&TEXT_KEYS) {
            return draft.set(ours, text);
        }
        if let Some(ours) = ours(&SWITCHES) {
            return draft.set(ours, super::is_yes(&text));
        }
        if let Some(ours) = ours(&LISTS) {
            return list(draft, ours, &text);
        }
        match key {
            "Image" => draft.image(&self.object(&text)),
            "Entrypoint" => entrypoint(draft, &text),
            "Exec" => self.words(draft, "command"),
            "Environment" => self.pairs(draft, "env"),
            "Label" => self.pairs(draft, "labels"),
            "Volume" => self.volume(draft, &text),
            "AddDevice" => device(draft, text.trim_start_matches('-')),
            "Network" => self.network(draft, &text),
            "Pod" => draft.set("pod", self.object(&text)),
            "PidsLimit" => self.count(draft, &text),
            "Memory" => draft.set_in("resources", "memory", text),
            "SecurityLabelDisable" => self.security(draft, "label=disable"),
            "NoNewPrivileges" => self.security(draft, "no-new-privileges"),
            "SeccompProfile" => draft.push("security_opt", format!("seccomp={text}")),
            "AutoUpdate" => draft.set_in("labels", "io.containers.autoupdate", text),
            "HealthCmd" => health(draft, &text),
            "HealthInterval" => draft.set_in("health", "interval", text),
            "HealthTimeout" => draft.set_in("health", "timeout", text),
            "HealthStartPeriod" => draft.set_in("health", "start_period", text),
            "HealthRetries" => match text.parse::<i64>() {
                Ok(retries) => draft.set_in("health", "retries", retries),
                Err(_) => self.note("not a number, and not carried over"),
            },
            "Pull" => match text.as_str() {
                "always" | "missing" | "never" => draft.set("pull", text),
                _ => self.note("not carried over: `always`, `missing` and `never` are"),
            },
            "PodmanArgs" => self.podman_args(draft),
            "Secret" => self.secret(draft, &text),
            _ => self.note("airpods has no such key"),
        }
    }

    pub(super) fn note(&mut self, why: &str) {
        self.reader.note(self.file, self.line, why);
    }

    pub(super) fn note_specifier(&mut self) {
        self.note(
            "not carried over: of systemd's specifiers `%h`, `%u`, `%t` and `%%` are known here, and no variables",
        );
    }

    /// podman's name of another unit's object; anything else is a name already.
    fn object(&self, name: &str) -> String {
        self.reader.objects.get(name).cloned().unwrap_or_else(|| match extension(name) {
            // The unit is not among the imported files, so assume Quadlet's default name.
            "volume" | "network" | "pod" => format!("systemd-{}", super::stem(name)),
            _ => name.to_owned(),
        })
    }

    fn words(&mut self, draft: &mut Service, ours: &'static str) {
        match super::texts(&self.line.value) {
            Some(words) => draft.set(ours, words.into_iter().collect::<Array>()),
            None => self.note_specifier(),
        }
    }

    fn pairs(&mut self, draft: &mut Service, ours: &'static str) {
        if self.line.value.is_empty() {
            draft.unset(ours);
        }
        for word in super::texts(&self.line.value).unwrap_or_default() {
            match word.split_once('=') {
                Some((name, value)) if ours == "env" => draft.variable(name, value),
                Some((name, value)) => draft.set_in(ours, name, value),
                None => self.note("has no `=`, and is not carried over"),
            }
        }
    }

    fn volume(&mut self, draft: &mut Service, text: &str) {
        let mut parts = text.splitn(3, ':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return self.note("a volume without a name is not carried over: give it one");
        };
        let options = parts.next().unwrap_or_default();
        let source = match source.strip_prefix("${HOME}") {
            Some(rest) => format!("~{rest}"),
            None => self.object(source),
        };
        for option in draft.volume(&source, target, options) {
            self.note(&format!("option `{option}` is not carried over"));
        }
    }

    fn network(&mut self, draft: &mut Service, text: &str) {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "host" => draft.set("network_mode", "host"),
            "bridge" | "pasta" | "slirp4netns" | "private" => {}
            "none" => {
                draft.set("enabled", false);
                self.note("the service is switched off: airpods has no service without a network");
            }
            _ if self.reader.is_own_network(name) => {}
            _ if extension(name) == "container" || matches!(name, "container" | "ns") => self.note("not carried over"),
            _ => draft.push("networks", self.object(name)),
        }
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.strip_prefix("alias=") {
                Some(alias) => draft.push("network_aliases", alias),
                None => self.note(&format!("option `{option}` is not carried over")),
            }
        }
    }

    /// `NAME[,type=env][,target=VARIABLE]` (podman-run(1), `--secret`).
    fn secret(&mut self, draft: &mut Service, text: &str) {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let options: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let option = |key: &str| options.iter().find(|(other, _)| *other == key).map(|(_, value)| *value);
        if option("type") != Some("env") {
            return self.note("not carried over: a secret becomes a variable here (`type=env`), not a file");
        }
        draft.set_in("secret_env", option("target").unwrap_or(name), format!("podman:{name}"));
    }

    fn security(&mut self, draft: &mut Service, option: &str) {
        if super::is_yes(&self.line.value) {
            draft.push("security_opt", option);
        }
    }

    pub(super) fn count(&mut self, draft: &mut Service, text: &str) {
        match text.parse::<i64>() {
            Ok(count) => draft.set("pids_limit", count),
            Err(_) => self.note("not a number, and not carried over"),
        }
    }
}

/// Sets a list. An empty value resets what lines above added (podman-systemd.unit(5)).
fn list(draft: &mut Service, ours: &'static str, text: &str) {
    if text.is_empty() {
        draft.unset(ours);
        return;
    }
    let items =
        if matches!(ours, "cap_add" | "cap_drop" | "sysctls") { super::words(text) } else { vec![text.to_owned()] };
    for item in items {
        draft.push(ours, item);
    }
}

/// Adds a GPU by its CDI name, or a device.
pub(super) fn device(draft: &mut Service, device: &str) {
    if device.contains("/gpu=") { draft.gpu([device.to_owned()]) } else { draft.push("devices", device) }
}

/// Reads one word, or JSON, as `podman run` does.
pub(super) fn entrypoint(draft: &mut Service, text: &str) {
    let words = serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| vec![text.to_owned()]);
    draft.set("entrypoint_override", words.into_iter().collect::<Array>());
}

/// Reads a shell command, or JSON with a program and its arguments, as `podman run` does.
fn health(draft: &mut Service, text: &str) {
    // systemd removes quotes around the whole value.
    let word = if text.starts_with('"') { super::words(text) } else { Vec::new() };
    let text = word.first().filter(|_| word.len() == 1).map_or(text, String::as_str);
    match serde_json::from_str::<Vec<String>>(text) {
        _ if text == "none" => {}
        Ok(words) => draft.set_in("health", "command", words.into_iter().collect::<Array>()),
        Err(_) => draft.set_in("health", "command", text),
    }
}

impl KeyContext<'_> {
    /// Carries over the options that have a key in `config.toml`, and notes each other one by its
    /// name.
    pub(super) fn podman_args(&mut self, draft: &mut Service) {
        let Some(words) = super::texts(&self.line.value) else { return self.note_specifier() };
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let (flag, inline) = word.split_once('=').map_or((word.as_str(), None), |(flag, text)| (flag, Some(text)));
            let row = OPTION_ROWS.iter().find(|row| row.flag == flag);
            if let Some(row) = row.filter(|row| row.shape == OptionShape::Switch) {
                draft.set(row.key, inline.is_none_or(super::is_yes));
                continue;
            }
            let mut text = || {
                let next = || words.next_if(|word| !word.starts_with('-'));
                inline.map(ToOwned::to_owned).or_else(next).unwrap_or_default()
            };
            match (row, flag) {
                (Some(row), _) if row.shape == OptionShape::List => draft.push(row.key, text()),
                (Some(row), _) => draft.set(row.key, text()),
                (None, "--memory" | "-m") => draft.set_in("resources", "memory", text()),
                (None, "--cpus") => draft.set_in("resources", "cpus", text()),
                (None, "--device") => device(draft, &text()),
                (None, "--gpus") => match text().as_str() {
                    "all" => draft.gpu([]),
                    other => self.note(&format!("`--gpus {other}` is not carried over: see `gpu.device`")),
                },
                (None, "--add-host") => draft.push("extra_hosts", text()),
                (None, "--entrypoint") => entrypoint(draft, &text()),
                (None, "--pids-limit") => self.count(draft, &text()),
                (None, "--network-alias") => draft.push("network_aliases", text()),
                (None, flag) if flag.starts_with('-') => self.note(&format!("`{flag}` is not carried over")),
                // The value of an option that was already noted.
                _ => {}
            }
        }
    }
}
