//! The labels that mark objects as made by airpods.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::Reference;

/// The service that a container runs.
pub(super) const SERVICE: &str = "io.airpods.service";

/// The network name in the configuration that a container was made from, even if the container uses
/// the host's network. It distinguishes the containers of several configurations.
pub(super) const NETWORK: &str = "io.airpods.network";

/// The ids of the podman secrets that a container was made with: `VARIABLE=ID`, separated by
/// spaces.
pub(super) const SECRETS: &str = "io.airpods.secrets";

/// A digest of the settings that an object was made with: the version of the canonical form, a
/// colon, and 64 bits in hexadecimal.
pub(super) const SETTINGS: &str = "io.airpods.settings";

/// Whether a label is one of ours.
#[must_use]
pub fn is_own(label: &str) -> bool {
    label.starts_with("io.airpods.")
}

/// Whether airpods made the object with these labels.
pub(super) fn is_ours(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(SETTINGS)
}

/// The service that a container with these labels was made for, if airpods made it.
#[must_use]
pub fn service_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    labels.get(SERVICE).filter(|_| is_ours(labels)).map(String::as_str)
}

/// Whether an object of ours was made with the settings of this one.
pub(super) fn same_settings(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> bool {
    wanted.get(SETTINGS) == found.get(SETTINGS)
}

/// The version of [`canonical`]. A test pins its output: containers made by an older airpods must
/// not look changed.
const VERSION: u32 = 1;

/// The labels of an object made with these settings.
pub(super) fn labels<T: Serialize>(settings: &T) -> BTreeMap<String, String> {
    // 64 bits are enough to tell settings apart; users have no reason to forge their own labels.
    let digest = Sha256::digest(canonical(settings)).first_chunk().copied().map_or(0, u64::from_be_bytes);
    BTreeMap::from([(SETTINGS.to_owned(), format!("{VERSION}:{digest:016x}"))])
}

/// The canonical form of settings: JSON with sorted keys, without unset values (`null`, `false`,
/// empty lists and tables), and with the full image name. So a setting that a later version adds
/// changes nothing until a user sets it.
fn canonical<T: Serialize>(settings: &T) -> String {
    // Serializing our own plain values cannot fail. If it did, the digests would be equal and the
    // container would be kept.
    let mut value = serde_json::to_value(settings).unwrap_or_default();
    if let Some(Value::String(image)) = value.get_mut("image") {
        *image = Reference::of(image).to_string();
    }
    let mut text = String::new();
    write(&value, &mut text);
    text
}

fn write(value: &Value, to: &mut String) {
    match value {
        Value::Object(entries) => {
            let sorted: BTreeMap<&String, &Value> = entries.iter().filter(|(_, value)| is_set(value)).collect();
            to.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                to.push_str(if index == 0 { "" } else { "," });
                to.push_str(&Value::from(key.as_str()).to_string());
                to.push(':');
                write(value, to);
            }
            to.push('}');
        }
        Value::Array(items) => {
            to.push('[');
            for (index, item) in items.iter().enumerate() {
                to.push_str(if index == 0 { "" } else { "," });
                write(item, to);
            }
            to.push(']');
        }
        plain => to.push_str(&plain.to_string()),
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => entries.values().any(is_set),
        _ => true,
    }
}

/// The labels of a container made with these settings, for a service of a configuration with this
/// network.
pub(super) fn of_container<T: Serialize>(settings: &T, service: &str, network: &str) -> BTreeMap<String, String> {
    let mut labels = labels(settings);
    labels.extend([(SERVICE, service), (NETWORK, network)].map(|(label, value)| (label.to_owned(), value.to_owned())));
    labels
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::plan::tests::{NEW, THREE, desired};

    #[test]
    fn the_canonical_form_is_sorted_and_has_only_what_is_set() {
        let settings = json!({
            "z": 0, "name": "web", "image": "docker.io/debian",
            "a": { "no": false, "none": null, "empty": [], "also": {} }, "list": [{ "b": 1, "a": "" }], "on": true,
        });
        assert_eq!(
            canonical(&settings),
            r#"{"image":"docker.io/library/debian:latest","list":[{"a":"","b":1}],"name":"web","on":true,"z":0}"#
        );
    }

    #[test]
    fn a_new_setting_that_is_unset_does_not_change_the_digest() {
        let before = json!({ "name": "web", "limits": { "pids": 9 } });
        let after = json!({ "limits": { "pids": 9, "files": null }, "devices": [], "init": false, "name": "web" });
        assert_eq!(labels(&before), labels(&after));
        assert_ne!(labels(&before), labels(&json!({ "name": "web", "limits": { "pids": 9 }, "init": true })));
    }

    /// Golden: if it fails, the next start would replace every existing container. Restore the
    /// form, or raise [`VERSION`] and keep writing this form for objects that have its label.
    #[test]
    fn the_digests_of_version_1_stay_as_they_are() {
        let desired = desired(THREE, &[], NEW);
        let digest = |labels: &BTreeMap<String, String>| labels.get(SETTINGS).cloned().unwrap();
        let found: Vec<String> = desired.launches.iter().map(|launch| digest(&launch.container.labels)).collect();
        assert_eq!(
            (found, digest(&desired.network.labels)),
            (GOLDEN.map(str::to_owned).to_vec(), GOLDEN_NETWORK.to_owned())
        );
    }

    const GOLDEN: [&str; 3] = ["1:9595467f3daced8b", "1:5dc1700bbea7a48b", "1:33fe913c0490bbde"];
    const GOLDEN_NETWORK: &str = "1:3e4e688d3ed6684e";
}
