//! Settings of a container that go to podman under one name, in one written form, and are read back as such.
//!
//! One row of [`ROWS`] carries a setting through reading, showing, `podman run` and Quadlet; how libpod's API
//! writes it is in `rest/option.rs`, and what Kubernetes has for it in `export/kube/option.rs`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

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
}

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// On, or not there.
    Switch,
    /// One text.
    Text,
    /// Several texts.
    List,
}

/// How a setting is called.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The setting.
    pub option: ContainerOption,
    /// Its key in a service's table, as compose has it.
    pub key: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// The option of `podman run` (podman-run(1)).
    pub flag: &'static str,
    /// The key in a `.container` unit of podman 4.9 (podman-systemd.unit(5)); none: `PodmanArgs=`.
    pub unit: Option<&'static str>,
    /// Whether the containers of a pod have it in common, so that one alone cannot have it.
    pub of_pod: bool,
}

/// Every setting of this kind.
pub const ROWS: [Row; 11] = {
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
    ]
};

impl ContainerOption {
    /// How it is called.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // The rows are in the order of the settings; a test holds them to it.
        &ROWS[self as usize]
    }
}

/// The settings that a container is given, each in its one written form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<ContainerOption, Vec<String>>);

impl Options {
    /// Gives a setting its values; none takes it away.
    pub fn set(&mut self, option: ContainerOption, values: Vec<String>) {
        if values.is_empty() {
            self.0.remove(&option)
        } else {
            self.0.insert(option, values)
        };
    }

    /// The values of a setting, none where it is not given.
    #[must_use]
    pub fn get(&self, option: ContainerOption) -> &[String] {
        self.0.get(&option).map_or(&[], Vec::as_slice)
    }

    /// The settings that are given, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Row, &[String])> {
        self.0.iter().map(|(option, values)| (option.row(), values.as_slice()))
    }
}

impl Serialize for Options {
    /// By their keys, each with a value of its shape.
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
