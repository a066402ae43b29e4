//! Container settings that podman takes unchanged, under one name and in one written form, and that
//! are read back the same way.
//!
//! One row of [`ROWS`] carries a setting through parsing, printing, `podman run` and Quadlet.
//! `encode` and `decode` below translate it for libpod's API, and `export/kube/container.rs` for
//! Kubernetes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::config::Memory;

/// One of these settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the key of its row")]
pub enum ContainerOption {
    User,
    Userns,
    GroupAdd,
    Hostname,
    Init,
    ReadOnly,
    Ipc,
    ShmSize,
    CapAdd,
    CapDrop,
    SecurityOpt,
    WorkingDir,
    Tmpfs,
    Ulimits,
    Sysctls,
    Privileged,
}

/// The type of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A switch: on, or absent.
    Switch,
    /// One text.
    Text,
    /// Several texts.
    List,
}

/// The names of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The setting.
    pub option: ContainerOption,
    /// Its key in a service's table, as in compose.
    pub key: &'static str,
    /// The type of its value.
    pub shape: Shape,
    /// The option of `podman run` (podman-run(1)).
    pub flag: &'static str,
    /// Its key in a `.container` unit of podman 4.9 (podman-systemd.unit(5)). Without one, the unit
    /// uses `PodmanArgs=`.
    pub unit: Option<&'static str>,
    /// Whether the containers of a pod share it, so that one of them cannot have its own.
    pub of_pod: bool,
}

/// All settings of this kind, in the order of [`ContainerOption`].
pub const ROWS: [Row; 16] = {
    use ContainerOption as O;
    use Shape::{List, Switch, Text};
    [
        Row { option: O::User, key: "user", shape: Text, flag: "--user", unit: None, of_pod: false },
        Row { option: O::Userns, key: "userns", shape: Text, flag: "--userns", unit: Some("UserNS"), of_pod: true },
        Row { option: O::GroupAdd, key: "group_add", shape: List, flag: "--group-add", unit: None, of_pod: false },
        Row {
            option: O::Hostname,
            key: "hostname",
            shape: Text,
            flag: "--hostname",
            unit: Some("HostName"),
            of_pod: true,
        },
        Row { option: O::Init, key: "init", shape: Switch, flag: "--init", unit: Some("RunInit"), of_pod: false },
        Row {
            option: O::ReadOnly,
            key: "read_only",
            shape: Switch,
            flag: "--read-only",
            unit: Some("ReadOnly"),
            of_pod: false,
        },
        Row { option: O::Ipc, key: "ipc", shape: Text, flag: "--ipc", unit: None, of_pod: true },
        Row { option: O::ShmSize, key: "shm_size", shape: Text, flag: "--shm-size", unit: None, of_pod: true },
        Row {
            option: O::CapAdd,
            key: "cap_add",
            shape: List,
            flag: "--cap-add",
            unit: Some("AddCapability"),
            of_pod: false,
        },
        Row {
            option: O::CapDrop,
            key: "cap_drop",
            shape: List,
            flag: "--cap-drop",
            unit: Some("DropCapability"),
            of_pod: false,
        },
        Row {
            option: O::SecurityOpt,
            key: "security_opt",
            shape: List,
            flag: "--security-opt",
            unit: None,
            of_pod: false,
        },
        Row {
            option: O::WorkingDir,
            key: "working_dir",
            shape: Text,
            flag: "--workdir",
            unit: Some("WorkingDir"),
            of_pod: false,
        },
        Row { option: O::Tmpfs, key: "tmpfs", shape: List, flag: "--tmpfs", unit: Some("Tmpfs"), of_pod: false },
        Row { option: O::Ulimits, key: "ulimits", shape: List, flag: "--ulimit", unit: Some("Ulimit"), of_pod: false },
        Row { option: O::Sysctls, key: "sysctls", shape: List, flag: "--sysctl", unit: Some("Sysctl"), of_pod: true },
        Row {
            option: O::Privileged,
            key: "privileged",
            shape: Switch,
            flag: "--privileged",
            unit: None,
            of_pod: false,
        },
    ]
};

impl ContainerOption {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // The rows are in the order of the settings; a test holds them to it.
        &ROWS[self as usize]
    }
}

/// The settings of a container, each in its one written form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<ContainerOption, Vec<String>>);

impl Options {
    /// Sets the values of a setting; an empty list removes it.
    pub fn set(&mut self, option: ContainerOption, values: Vec<String>) {
        if values.is_empty() {
            self.0.remove(&option)
        } else {
            self.0.insert(option, values)
        };
    }

    /// The values of a setting; empty if it is not set.
    #[must_use]
    pub fn get(&self, option: ContainerOption) -> &[String] {
        self.0.get(&option).map_or(&[], Vec::as_slice)
    }

    /// The kernel parameters, each with its value.
    pub fn sysctls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.get(ContainerOption::Sysctls).iter().filter_map(|one| one.split_once('='))
    }

    /// The settings that are set, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Row, &[String])> {
        self.0.iter().map(|(option, values)| (option.row(), values.as_slice()))
    }
}

impl Serialize for Options {
    /// Serializes them by key, each with a value of its shape.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (row, values) in self.iter() {
            match row.shape {
                Shape::Switch => map.serialize_entry(row.key, &true)?,
                Shape::Text => map.serialize_entry(row.key, &values.join(""))?,
                Shape::List => map.serialize_entry(row.key, values)?,
            }
        }
        map.end()
    }
}

/// The annotation that makes crun keep the groups of the user who started podman. `podman run
/// --group-add keep-groups` sets it.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// The group name that stands for that annotation.
const KEEP_GROUPS_NAME: &str = "keep-groups";

/// The fields of libpod's specification for these settings. `label_disable` turns `SELinux`
/// separation off.
pub(super) fn encode(options: &Options, label_disable: bool) -> Map<String, Value> {
    let mut body = Map::new();
    let mut security = Security::default();
    security.labels.extend(label_disable.then(|| "disable".to_owned()));
    for (row, values) in options.iter() {
        let first = values.first().map(String::as_str).unwrap_or_default();
        let (key, value) = match row.option {
            ContainerOption::User => ("user", json!(first)),
            ContainerOption::Hostname => ("hostname", json!(first)),
            ContainerOption::Init => ("init", json!(true)),
            ContainerOption::ReadOnly => {
                // As with `podman run --read-only`, /tmp and /run are writable and in memory.
                body.insert("read_write_tmpfs".to_owned(), json!(true));
                ("read_only_filesystem", json!(true))
            }
            ContainerOption::Userns => ("userns", namespace(first)),
            ContainerOption::Ipc => ("ipcns", namespace(first)),
            ContainerOption::ShmSize => ("shm_size", json!(first.parse::<Memory>().map_or(0, Memory::bytes))),
            ContainerOption::CapAdd => ("cap_add", json!(values)),
            ContainerOption::CapDrop => ("cap_drop", json!(values)),
            ContainerOption::GroupAdd if values.iter().any(|group| group == KEEP_GROUPS_NAME) => {
                security.annotations.insert(KEEP_GROUPS.to_owned(), "1".to_owned());
                continue;
            }
            ContainerOption::GroupAdd => ("groups", json!(values)),
            ContainerOption::WorkingDir => ("work_dir", json!(first)),
            ContainerOption::Privileged => ("privileged", json!(true)),
            ContainerOption::Ulimits => ("r_limits", values.iter().map(|limit| resource_limit(limit)).collect()),
            ContainerOption::Sysctls => {
                ("sysctl", options.sysctls().map(|(name, value)| (name.to_owned(), json!(value))).collect())
            }
            // libpod takes a tmpfs as a mount.
            ContainerOption::Tmpfs => continue,
            ContainerOption::SecurityOpt => {
                for value in values {
                    security.add(value, &mut body);
                }
                continue;
            }
        };
        body.insert(key.to_owned(), value);
    }
    security.finish(&mut body);
    body
}

/// `nofile=512:1024` as libpod takes it. podman adds the prefix `RLIMIT_` itself. -1 means no
/// limit.
fn resource_limit(limit: &str) -> Value {
    let (name, bounds) = limit.split_once('=').unwrap_or((limit, ""));
    let (soft, hard) = bounds.split_once(':').unwrap_or((bounds, bounds));
    let [soft, hard] = [soft, hard].map(|bound| bound.parse::<u64>().unwrap_or(u64::MAX));
    json!({ "type": name, "soft": soft, "hard": hard })
}

/// `keep-id:uid=1000` as a namespace with a mode and a value.
fn namespace(text: &str) -> Value {
    let (mode, value) = text.split_once(':').unwrap_or((text, ""));
    if value.is_empty() { json!({ "nsmode": mode }) } else { json!({ "nsmode": mode, "value": value }) }
}

/// The settings in podman's inspection of a container.
#[derive(Debug, Default, Clone)]
pub(super) struct ReportedOptions {
    pub(super) user: String,
    pub(super) hostname: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) groups: Vec<String>,
    pub(super) init: bool,
    pub(super) read_only: bool,
    pub(super) ipc: String,
    pub(super) userns: String,
    pub(super) shm_size: u64,
    pub(super) bounding: Vec<String>,
    pub(super) security: Vec<String>,
    pub(super) working_dir: String,
    /// Options by path.
    pub(super) tmpfs: BTreeMap<String, String>,
    pub(super) ulimits: Vec<UlimitAnswer>,
    pub(super) privileged: bool,
}

/// A limit in podman's inspection; -1 means none.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UlimitAnswer {
    name: String,
    soft: i64,
    hard: i64,
}

impl UlimitAnswer {
    fn to_text(&self) -> String {
        let name = self.name.to_ascii_lowercase();
        format!("{}={}:{}", name.trim_start_matches("rlimit_"), self.soft, self.hard)
    }
}

/// The settings of an inspected container. For some that were not set, podman reports a default of
/// its own.
pub(super) fn decode(reported: ReportedOptions) -> Options {
    let mut options = Options::default();
    let text = |text: String| if text.is_empty() { Vec::new() } else { vec![text] };
    let switch = |on: bool| text(if on { "true".to_owned() } else { String::new() });
    let kept = reported.annotations.contains_key(KEEP_GROUPS).then(|| KEEP_GROUPS_NAME.to_owned());
    options.set(ContainerOption::GroupAdd, reported.groups.into_iter().chain(kept).collect());
    options.set(ContainerOption::User, text(reported.user));
    options.set(ContainerOption::Hostname, text(reported.hostname));
    options.set(ContainerOption::Init, switch(reported.init));
    options.set(ContainerOption::ReadOnly, switch(reported.read_only));
    options.set(ContainerOption::Ipc, text(reported.ipc));
    options.set(ContainerOption::Userns, text(reported.userns));
    let size = if reported.shm_size == 0 { String::new() } else { Memory::of(reported.shm_size).to_string() };
    options.set(ContainerOption::ShmSize, text(size));
    options.set(ContainerOption::CapAdd, reported.bounding);
    let security = reported.security.iter().flat_map(|reported| {
        let mut labels = reported.split(LABELS);
        let first = labels.next().map(str::to_owned);
        first.into_iter().chain(labels.map(|label| format!("label={label}"))).collect::<Vec<_>>()
    });
    options.set(ContainerOption::SecurityOpt, security.collect());
    options.set(ContainerOption::WorkingDir, text(reported.working_dir));
    let tmpfs = reported.tmpfs.into_iter().map(|(path, options)| format!("{path}:{options}"));
    options.set(ContainerOption::Tmpfs, tmpfs.collect());
    options.set(ContainerOption::Ulimits, reported.ulimits.iter().map(UlimitAnswer::to_text).collect());
    options.set(ContainerOption::Privileged, switch(reported.privileged));
    options
}

/// The separator of several `SELinux` labels that podman reports as one text.
const LABELS: &str = ",label=";

/// The parts of `--security-opt`. `podman run` records them in annotations, from which the
/// inspection reports them (`define.InspectAnnotation…`). The API does not, so airpods sets the
/// annotations.
#[derive(Default)]
struct Security {
    pub(super) labels: Vec<String>,
    masks: Vec<String>,
    unmasks: Vec<String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Security {
    pub(super) fn add(&mut self, option: &str, body: &mut Map<String, Value>) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let mut note = |about: &str| {
            self.annotations.insert(format!("io.podman.annotations.{about}"), value.to_owned());
        };
        match key {
            "no-new-privileges" => drop(body.insert("no_new_privileges".to_owned(), json!(true))),
            "seccomp" => {
                note("seccomp");
                body.insert("seccomp_profile_path".to_owned(), json!(value));
            }
            "apparmor" => {
                note("apparmor");
                body.insert("apparmor_profile".to_owned(), json!(value));
            }
            "label" => {
                if !self.labels.iter().any(|label| label == value) {
                    self.labels.push(value.to_owned());
                }
            }
            "mask" => self.masks.extend(value.split(':').map(str::to_owned)),
            _ => self.unmasks.extend(value.split(':').map(str::to_owned)),
        }
    }

    pub(super) fn finish(mut self, body: &mut Map<String, Value>) {
        if !self.labels.is_empty() {
            self.annotations.insert("io.podman.annotations.label".to_owned(), self.labels.join(LABELS));
        }
        for (key, values) in [("selinux_opts", self.labels), ("mask", self.masks), ("unmask", self.unmasks)] {
            if !values.is_empty() {
                body.insert(key.to_owned(), json!(values));
            }
        }
        if !self.annotations.is_empty() {
            body.insert("annotations".to_owned(), json!(self.annotations));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_row() {
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!((row.option as usize, row.option.row().key), (place, row.key));
        }
    }
}
