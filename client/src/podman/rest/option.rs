//! The settings of [`ROWS`](crate::podman::OPTION_ROWS) in libpod's JSON: as `specgen.SpecGenerator` takes them, and as an inspected
//! container tells them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::config::Memory;
use crate::podman::model::{ContainerOption, Options};

/// The annotation by which crun keeps the groups of whoever started podman; `--group-add keep-groups` sets it.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// What stands between several of `SELinux`'s labels where podman tells them as one.
const LABELS: &str = ",label=";

/// The group that stands for it.
const KEPT: &str = "keep-groups";

/// The fields of a specification, for settings and for whether `SELinux` is to leave the container alone.
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
                // What programs write to /tmp and /run is kept in memory, as with `podman run --read-only`.
                body.insert("read_write_tmpfs".to_owned(), json!(true));
                ("read_only_filesystem", json!(true))
            }
            ContainerOption::Userns => ("userns", namespace(first)),
            ContainerOption::Ipc => ("ipcns", namespace(first)),
            ContainerOption::ShmSize => ("shm_size", json!(first.parse::<Memory>().map_or(0, Memory::bytes))),
            ContainerOption::CapAdd => ("cap_add", json!(values)),
            ContainerOption::CapDrop => ("cap_drop", json!(values)),
            ContainerOption::GroupAdd if values.iter().any(|group| group == KEPT) => {
                security.annotations.insert(KEEP_GROUPS.to_owned(), "1".to_owned());
                continue;
            }
            ContainerOption::GroupAdd => ("groups", json!(values)),
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

/// `keep-id:uid=1000` as a namespace with a mode and a value.
fn namespace(text: &str) -> Value {
    let (mode, value) = text.split_once(':').unwrap_or((text, ""));
    if value.is_empty() { json!({ "nsmode": mode }) } else { json!({ "nsmode": mode, "value": value }) }
}

/// What `--security-opt` is taken apart into. podman's command notes what it was given in annotations, by which an inspected
/// container tells of it (`define.InspectAnnotation…`); the API leaves that to whoever calls it.
#[derive(Default)]
struct Security {
    labels: Vec<String>,
    masks: Vec<String>,
    unmasks: Vec<String>,
    annotations: BTreeMap<String, String>,
}

impl Security {
    fn add(&mut self, option: &str, body: &mut Map<String, Value>) {
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

    fn finish(mut self, body: &mut Map<String, Value>) {
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

/// What an inspected container tells, as far as the settings go.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
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
}

/// The settings that an inspected container has. Those with a value of podman's own where nothing was asked for have that.
pub(super) fn decode(told: Told) -> Options {
    let mut options = Options::default();
    let text = |text: String| if text.is_empty() { Vec::new() } else { vec![text] };
    let switch = |on: bool| text(if on { "true".to_owned() } else { String::new() });
    let kept = told.annotations.contains_key(KEEP_GROUPS).then(|| KEPT.to_owned());
    options.set(ContainerOption::GroupAdd, told.groups.into_iter().chain(kept).collect());
    options.set(ContainerOption::User, text(told.user));
    options.set(ContainerOption::Hostname, text(told.hostname));
    options.set(ContainerOption::Init, switch(told.init));
    options.set(ContainerOption::ReadOnly, switch(told.read_only));
    options.set(ContainerOption::Ipc, text(told.ipc));
    options.set(ContainerOption::Userns, text(told.userns));
    let size = if told.shm_size == 0 { String::new() } else { Memory::of(told.shm_size).to_string() };
    options.set(ContainerOption::ShmSize, text(size));
    options.set(ContainerOption::CapAdd, told.bounding);
    let security = told.security.iter().flat_map(|told| {
        let mut labels = told.split(LABELS);
        let first = labels.next().map(str::to_owned);
        first.into_iter().chain(labels.map(|label| format!("label={label}"))).collect::<Vec<_>>()
    });
    options.set(ContainerOption::SecurityOpt, security.collect());
    options
}
