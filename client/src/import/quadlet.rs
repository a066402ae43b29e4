//! Reads podman's Quadlet units (podman-systemd.unit(5)). Their values consist of words, specifiers
//! and variables (systemd.syntax(7), systemd.unit(5) "Specifiers").

mod container;

use std::collections::BTreeMap;
use std::path::Path;

use systemd_unit_edit::{Section, SystemdUnit};
use toml_edit::{Table, value as toml};

use super::draft::{Draft, Note, Service};
use crate::config::{NetworkMtu, literal_dollars};

/// One unit file: its name, such as `ollama.container`, and its text.
#[derive(Debug)]
pub(super) struct UnitFile {
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads units that belong together. With `only`, just that `.container` is imported.
pub(super) fn read(files: &[UnitFile], only: Option<&str>) -> Draft {
    let mut reader = Reader::default();
    for file in files {
        reader.names(file, only.is_none());
    }
    let wanted = |file: &&UnitFile| extension(&file.name) == "container" && only.is_none_or(|name| name == file.name);
    let mut services: Vec<Service> = files.iter().filter(wanted).map(|file| reader.service(file)).collect();
    for file in files.iter().filter(|file| extension(&file.name) == "pod" && only.is_none()) {
        reader.pod(file, &mut services);
    }
    let networks: Vec<_> = files.iter().filter(|file| extension(&file.name) == "network").collect();
    let network = match networks[..] {
        _ if only.is_some() => Table::new(),
        [file] => reader.network(file),
        ref several => {
            for file in several {
                let why = "airpods has one network for all services: this one's services share it now";
                reader.notes.push(Note { line: 1, key: file.name.clone(), why: why.to_owned() });
            }
            Table::new()
        }
    };
    Draft { services, notes: reader.notes, network }
}

/// A unit's name without its extension.
fn stem(name: &str) -> &str {
    Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name)
}

fn extension(name: &str) -> &str {
    Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// One `Key=value` of a unit.
struct Line {
    section: String,
    number: u64,
    key: String,
    value: String,
}

#[derive(Default)]
struct Reader {
    notes: Vec<Note>,
    /// podman's name of the object of each `.volume`, `.network`, `.pod` and `.image` unit.
    objects: BTreeMap<String, String>,
    /// The services, named after their units.
    services: Vec<String>,
}

/// Keys that do not change the service, or that airpods does anyway.
const WITHOUT_EFFECT: [(&str, &str); 5] = [
    ("Unit", "Description"),
    ("Unit", "Documentation"),
    ("Unit", "DefaultDependencies"),
    ("Container", "ServiceName"),
    ("Service", "RemainAfterExit"),
];

impl Reader {
    /// Records podman's name of a unit's object: `systemd-NAME`, unless the unit sets one.
    fn names(&mut self, file: &UnitFile, is_imported: bool) {
        let stem = stem(&file.name).to_owned();
        let key = match extension(&file.name) {
            "container" => return self.services.push(stem),
            "volume" => "VolumeName",
            "network" => "NetworkName",
            "pod" => "PodName",
            "image" => "Image",
            other if is_imported => {
                let why = format!("a `.{other}` unit is not carried over");
                return self.notes.push(Note { line: 1, key: file.name.clone(), why });
            }
            _ => return,
        };
        let lines = lines(file);
        let named = lines.iter().find(|line| line.key == key).map(|line| line.value.clone());
        self.objects.insert(file.name.clone(), named.unwrap_or_else(|| format!("systemd-{stem}")));
        if is_imported && matches!(extension(&file.name), "volume" | "image") {
            for line in
                lines.iter().filter(|line| line.key != key && matches!(line.section.as_str(), "Volume" | "Image"))
            {
                self.note(&file.name, line, "not carried over: create it with podman first");
            }
        }
    }

    fn service(&mut self, file: &UnitFile) -> Service {
        let stem = stem(&file.name);
        let mut draft = Service::new(stem);
        for line in lines(file) {
            draft.at(line.number, format!("{}: {}", file.name, line.key));
            match line.section.as_str() {
                _ if is_without_effect(&line) => {}
                "Container" => container::KeyContext { reader: self, file: &file.name, line: &line }.carry(&mut draft),
                "Service" => self.of_service(&mut draft, file, &line),
                "Unit" => self.of_unit(&mut draft, file, &line),
                "Install" => {
                    self.note(
                        &file.name,
                        &line,
                        "not carried over: `airpods export quadlet --install` starts services at boot",
                    );
                }
                _ => self.note(&file.name, &line, "airpods has no such key"),
            }
        }
        if !draft.has("container") {
            draft.set("container", format!("systemd-{stem}"));
        }
        draft
    }

    fn of_service(&mut self, draft: &mut Service, file: &UnitFile, line: &Line) {
        match (line.key.as_str(), line.value.as_str()) {
            ("Restart", policy @ ("always" | "on-failure" | "no")) => draft.set("restart_policy", policy),
            ("Restart", "on-abnormal" | "on-abort" | "on-watchdog") => {
                draft.set("restart_policy", "on-failure");
                self.note(&file.name, line, "carried over as `on-failure`");
            }
            ("Type", "oneshot") => draft.set("oneshot", true),
            ("Type", _) => {}
            _ => self.note(&file.name, line, "a key of systemd's own, and not carried over"),
        }
    }

    fn of_unit(&mut self, draft: &mut Service, file: &UnitFile, line: &Line) {
        if !matches!(line.key.as_str(), "After" | "Requires" | "BindsTo" | "Wants") {
            return self.note(&file.name, line, "a key of systemd's own, and not carried over");
        }
        for unit in line.value.split_whitespace() {
            let other = stem(unit);
            let is_ours =
                matches!(extension(unit), "service" | "container") && self.services.iter().any(|name| name == other);
            if is_ours {
                draft.set_in("depends_on", other, "started");
            } else if !matches!(unit, "network-online.target" | "network.target" | "local-fs.target") {
                self.note(&file.name, line, &format!("`{unit}` is not waited for"));
            }
        }
    }

    /// Gives the ports of a pod to the first service in it.
    fn pod(&mut self, file: &UnitFile, services: &mut [Service]) {
        let pod = self.objects.get(&file.name).cloned().unwrap_or_default();
        for line in lines(file).iter().filter(|line| line.section == "Pod" && line.key != "PodName") {
            let first = services.iter_mut().find(|service| service.has_value("pod", &pod));
            match (line.key.as_str(), first, text(&line.value)) {
                ("PublishPort", Some(service), Some(port)) => {
                    service.at(line.number, format!("{}: {}", file.name, line.key));
                    service.push("ports", port);
                }
                ("Network", _, Some(network)) if self.is_own_network(&network) => {}
                _ => self.note(&file.name, line, "not carried over"),
            }
        }
    }

    fn network(&mut self, file: &UnitFile) -> Table {
        let mut network = Table::new();
        for line in lines(file).iter().filter(|line| line.section == "Network") {
            let mtu = line.value.strip_prefix("mtu=").and_then(|mtu| mtu.parse().ok()).and_then(NetworkMtu::new);
            match (line.key.as_str(), mtu) {
                ("NetworkName", _) => {}
                ("Internal", _) => drop(network.insert("internal", toml(is_yes(&line.value)))),
                ("IPv6", _) => drop(network.insert("ipv6", toml(is_yes(&line.value)))),
                ("Options", Some(mtu)) => drop(network.insert("mtu", toml(i64::from(mtu.get())))),
                ("Driver", _) if line.value == "bridge" => {}
                ("Subnet" | "Gateway", _) => {
                    self.note(&file.name, line, "not carried over: see `runtime.network.subnet`");
                }
                _ => self.note(&file.name, line, "not carried over"),
            }
        }
        network
    }

    /// Whether one of the units creates the network.
    fn is_own_network(&self, name: &str) -> bool {
        extension(name) == "network" && self.objects.contains_key(name)
    }

    fn note(&mut self, file: &str, line: &Line, why: &str) {
        self.notes.push(Note { line: line.number, key: format!("{file}: {}", line.key), why: why.to_owned() });
    }
}

fn is_without_effect(line: &Line) -> bool {
    WITHOUT_EFFECT.contains(&(line.section.as_str(), line.key.as_str()))
}

/// The entries of a unit, in the order of the file.
fn lines(file: &UnitFile) -> Vec<Line> {
    // The parser accepts any text. systemd ignores lines that are no entries, too.
    let Ok(unit) = file.text.parse::<SystemdUnit>() else { return Vec::new() };
    let of_section = |section: Section| {
        let name = section.name().unwrap_or_default();
        let entries: Vec<_> = section.entries().collect();
        entries.into_iter().map(move |entry| (name.clone(), entry))
    };
    unit.sections()
        .flat_map(of_section)
        .filter_map(|(section, entry)| {
            let number = u64::try_from(entry.line()).unwrap_or_default() + 1;
            let value = entry.value().unwrap_or_default().trim().to_owned();
            Some(Line { section, number, key: entry.key()?, value })
        })
        .collect()
}

/// A value as text for `config.toml`; none if it has a systemd specifier or variable without a
/// counterpart there.
fn text(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut plain = String::new();
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('%', Some('%')) | ('$', Some('$')) => {
                plain.push(c);
                rest.next();
            }
            ('%', Some(specifier)) => {
                out.push_str(&literal_dollars(&std::mem::take(&mut plain)));
                out.push_str(match specifier {
                    'h' => "${HOME}",
                    'u' => "${USER}",
                    't' => "${XDG_RUNTIME_DIR}",
                    _ => return None,
                });
                rest.next();
            }
            ('%', None) => return None,
            ('$', Some(next)) if next.is_ascii_alphabetic() || matches!(next, '{' | '_') => return None,
            (c, _) => plain.push(c),
        }
    }
    out.push_str(&literal_dollars(&plain));
    Some(out)
}

/// The same for each word of a value, without systemd's quotes.
fn texts(value: &str) -> Option<Vec<String>> {
    words(value).iter().map(|word| text(word)).collect()
}

/// The words of a value.
fn words(value: &str) -> Vec<String> {
    shlex::split(value).unwrap_or_else(|| value.split_whitespace().map(ToOwned::to_owned).collect())
}

/// systemd's words for true (systemd.syntax(7)).
fn is_yes(value: &str) -> bool {
    matches!(value, "1" | "yes" | "true" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_and_signs_mean_the_same_afterwards() {
        for (unit, toml) in [
            ("%h/models", Some("${HOME}/models")),
            ("100%%", Some("100%")),
            ("a$$b $${C} 5$", Some("a$b $${C} 5$")),
            ("$$$$", Some("$$$")),
            ("$b", None),
            ("${C}", None),
            ("%i", None),
            ("50%", None),
        ] {
            assert_eq!(text(unit).as_deref(), toml, "{unit}");
        }
        assert_eq!(texts("a 'b c' \"d\""), Some(vec!["a".to_owned(), "b c".to_owned(), "d".to_owned()]));
    }
}
