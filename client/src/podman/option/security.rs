//! `security_opt` as libpod's API takes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The separator of several `SELinux` labels that podman reports as one text.
pub(super) const LABELS: &str = ",label=";

/// The parts of `--security-opt`. podman's command notes what it was given in annotations, by which an inspected
/// container tells of it (`define.InspectAnnotation…`); the API leaves that to whoever calls it.
#[derive(Default)]
pub(super) struct Security {
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
