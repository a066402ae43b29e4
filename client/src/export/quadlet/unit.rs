//! The text of a unit, as systemd and Quadlet read it (systemd.syntax(7), podman-systemd.unit(5)).
//! Also the keys that the first version of Quadlet, that of podman 4.4, does not know.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::Export;
use crate::podman::Version;

/// A unit under construction.
#[derive(Debug, Default)]
pub(super) struct Unit {
    text: String,
}

impl Unit {
    /// Begins a section.
    pub(super) fn section(&mut self, name: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}[{name}]"));
    }

    /// Sets a key to a value without special characters, such as a checked name or a number.
    pub(super) fn set(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key}={value}"));
    }

    /// Sets a key to any words, quoted where necessary.
    pub(super) fn words<'a>(&mut self, key: &str, words: impl IntoIterator<Item = &'a str>) {
        let words: Vec<_> = words.into_iter().map(quoted).collect();
        self.set(key, words.join(" "));
    }

    /// Sets a key to one word, quoted if necessary.
    pub(super) fn word(&mut self, key: &str, word: &str) {
        self.words(key, [word]);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// Whether a word needs no quotes. `%` begins a specifier and `$` a variable, even within quotes.
pub(super) fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:=,".contains(c);
    !word.is_empty() && word.chars().all(plain)
}

/// Quotes and escapes a word, so that systemd reads it unchanged.
fn quoted(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' | '$' => text.extend([c, c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// The versions in which keys came, from `supported…Keys` in podman's `pkg/systemd/quadlet`.
/// The generator makes no service from a unit with a key that it does not know.
const SINCE: [(Version, &[&str]); 4] = [
    (
        Version { major: 4, minor: 5 },
        &[
            "HealthCmd",
            "HealthInterval",
            "HealthRetries",
            "HealthStartPeriod",
            "HealthTimeout",
            "Secret",
            "SecurityLabelDisable",
            "Tmpfs",
            "UserNS",
        ],
    ),
    (Version { major: 4, minor: 6 }, &["HostName", "Pull", "Sysctl", "WorkingDir"]),
    (Version { major: 4, minor: 7 }, &["DNS", "NetworkName", "PidsLimit", "Ulimit"]),
    (Version { major: 5, minor: 0 }, &["Pod", "PodName"]),
];

/// The version from which on several `Ulimit=` all apply (podman's release notes, 5.0.0). Before,
/// only the last one does.
const SEVERAL_ULIMITS: Version = Version { major: 5, minor: 0 };

/// Warnings about keys of the units that this podman does not know, a sentence for each key.
#[must_use]
pub fn unknown_keys(export: &Export, podman: Version) -> Vec<String> {
    let mut units: BTreeMap<&str, (Version, Vec<String>)> = BTreeMap::new();
    let mut limits = Vec::new();
    for file in export.files.iter().filter(|file| !file.private) {
        let keys: Vec<&str> = file.text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        let name = format!("`{}`", file.name);
        for (since, key) in SINCE
            .iter()
            .filter(|(since, _)| *since > podman)
            .flat_map(|(since, new)| new.iter().filter(|key| keys.contains(key)).map(move |key| (*since, *key)))
        {
            units.entry(key).or_insert_with(|| (since, Vec::new())).1.push(name.clone());
        }
        if podman < SEVERAL_ULIMITS && keys.iter().filter(|key| **key == "Ulimit").count() > 1 {
            limits.push(name);
        }
    }
    let unknown = units.into_iter().map(|(key, (since, units))| {
        let units = units.join(", ");
        format!(
            "podman {podman} makes no service of {units}: it does not know `{key}=`, which came with podman {since}"
        )
    });
    let several = (!limits.is_empty()).then(|| {
        let units = limits.join(", ");
        format!("podman {podman} applies only the last `Ulimit=` of {units}; podman {SEVERAL_ULIMITS} applies all")
    });
    unknown.chain(several).collect()
}

#[cfg(test)]
mod tests {
    use super::super::File;
    use super::*;

    #[test]
    fn a_word_stays_one_word_and_nothing_in_it_is_special() {
        for (word, expected) in [
            ("A=b", "A=b"),
            ("", "\"\""),
            ("A=b c", "\"A=b c\""),
            ("A=\"$HOME\" 50% \\", "\"A=\\\"$$HOME\\\" 50%% \\\\\""),
            ("A=b\n[Service]", "\"A=b\\n[Service]\""),
            ("\u{1b}", "\"\\x1b\""),
            ("A=ä'", "\"A=ä'\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    fn export(name: &str, text: &str) -> Export {
        let file = |name: &str, text: &str, private| File { name: name.to_owned(), text: text.to_owned(), private };
        let files = vec![file(name, text, false), file("airpods-web.env", "Pod=secret\n", true)];
        Export { files, warnings: Vec::new() }
    }

    #[test]
    fn a_key_that_is_newer_than_podman_is_named_with_its_unit_and_its_version() {
        let text =
            "[Container]\nImage=x\nPull=always\nPidsLimit=9\nPod=airpods_p.pod\nUlimit=core=0\nUlimit=nofile=9\n";
        let export = export("airpods-web.container", text);
        let keys = |minor| -> Vec<String> {
            let warnings = unknown_keys(&export, Version { major: 4, minor });
            assert!(warnings.iter().all(|warning| warning.contains("`airpods-web.container`")), "{warnings:?}");
            warnings.iter().filter_map(|warning| Some(warning.split_once("know `")?.1.to_owned())).collect()
        };
        let [pids, pod, pull, ulimit] = [
            "PidsLimit=`, which came with podman 4.7",
            "Pod=`, which came with podman 5.0",
            "Pull=`, which came with podman 4.6",
            "Ulimit=`, which came with podman 4.7",
        ];
        assert_eq!(keys(5), [pids, pod, pull, ulimit]);
        assert_eq!(keys(6), [pids, pod, ulimit]);
        assert_eq!(keys(9), [pod]);
        assert_eq!(unknown_keys(&export, Version { major: 5, minor: 0 }), Vec::<String>::new());
        let several = "podman 4.9 applies only the last `Ulimit=` of `airpods-web.container`; podman 5.0 applies all";
        assert_eq!(unknown_keys(&export, Version { major: 4, minor: 9 })[1], several);
    }
}
