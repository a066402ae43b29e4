//! The draft that an import fills: one TOML table per service, and a note for everything that it
//! could not carry over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use indexmap::IndexMap;
use serde::Serialize;
use toml_edit::{Array, InlineTable, Item, Table, Value, value};

use crate::config::Reference;

/// Inner tables that get a heading of their own, because they are long.
const HEADED: [&str; 3] = ["env", "labels", "volumes"];

/// A setting of the file that `config.toml` leaves out or changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The line in the file, counted from 1.
    pub line: u64,
    /// The key, with dots, from the top of the file.
    pub key: String,
    /// Why it is not carried over, and what to do instead.
    pub why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}`: {}", self.line, self.key, self.why)
    }
}

/// The result of reading one file, or several Quadlet units.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) services: Vec<Service>,
    pub(super) notes: Vec<Note>,
    /// `[runtime.network]`.
    pub(super) network: Table,
}

/// The place in the imported file where something was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The line, counted from 1.
    pub(super) line: u64,
    /// The key, with dots, from the top of the file.
    pub(super) key: String,
}

impl Origin {
    /// A note about this place.
    pub(super) fn note(&self, why: impl Into<String>) -> Note {
        Note { line: self.line, key: self.key.clone(), why: why.into() }
    }
}

/// One service, in the keys of `config.toml`.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    table: Table,
    inner: IndexMap<&'static str, InlineTable>,
    volume_names: BTreeSet<String>,
    /// The place that is being read now.
    here: Origin,
    /// The places where values were read, by key within the service; a list has one place per item.
    origins: BTreeMap<String, Vec<Origin>>,
}

impl Service {
    /// An empty service. It uses no GPU unless the file asks for one.
    pub(super) fn new(name: &str) -> Self {
        let mut service = Self {
            name: name.to_owned(),
            table: Table::new(),
            inner: IndexMap::new(),
            volume_names: BTreeSet::new(),
            here: Origin::default(),
            origins: BTreeMap::new(),
        };
        service.set_in("gpu", "enabled", false);
        service
    }

    /// Sets the place that the next values are read from.
    pub(super) fn at(&mut self, line: u64, key: String) {
        self.here = Origin { line, key };
    }

    /// Sets a key to a value.
    pub(super) fn set(&mut self, key: &str, to: impl Into<Value>) {
        self.origins.insert(key.to_owned(), vec![self.here.clone()]);
        self.table.insert(key, value(to));
    }

    /// Sets the image by its full reference: `ollama/ollama` is `docker.io/ollama/ollama:latest` to
    /// docker and compose.
    pub(super) fn image(&mut self, reference: &str) {
        self.set("image", full_reference(reference));
    }

    /// Whether a key is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key) || self.inner.contains_key(key)
    }

    /// Whether a key is set to this text.
    pub(super) fn has_value(&self, key: &str, text: &str) -> bool {
        self.table.get(key).and_then(Item::as_str) == Some(text)
    }

    /// Whether it is disabled.
    pub(super) fn is_off(&self) -> bool {
        self.table.get("enabled").and_then(Item::as_bool) == Some(false)
    }

    /// Removes a key, and returns the place where it was read.
    pub(super) fn unset(&mut self, key: &str) -> Option<Origin> {
        self.table.remove(key);
        self.inner.shift_remove(key);
        self.origins.remove(key).and_then(|origins| origins.into_iter().next())
    }

    /// Appends to a list.
    pub(super) fn push(&mut self, key: &str, item: impl Into<Value>) {
        self.origins.entry(key.to_owned()).or_default().push(self.here.clone());
        let list = self.table.entry(key).or_insert_with(|| value(Array::new()));
        if let Some(list) = list.as_array_mut() {
            list.push(item);
        }
    }

    /// Sets a key of an inner table, such as `health` or `resources`.
    pub(super) fn set_in(&mut self, table: &'static str, key: &str, to: impl Into<Value>) {
        self.origins.insert(format!("{table}.{key}"), vec![self.here.clone()]);
        self.inner.entry(table).or_default().insert(key, to.into());
    }

    /// The services that it depends on, with their conditions.
    pub(super) fn dependencies(&self) -> Vec<(String, String)> {
        let table = self.inner.get("depends_on").into_iter().flat_map(InlineTable::iter);
        table.filter_map(|(name, how)| Some((name.to_owned(), how.as_str()?.to_owned()))).collect()
    }

    /// Adds a volume, named after its target: `data` for `/app/data`. `options` are those of the
    /// short form, such as `ro,Z`. Returns the options that are not carried over.
    pub(super) fn volume<'a>(&mut self, source: &str, target: &str, options: &'a str) -> Vec<&'a str> {
        let mut volume = InlineTable::new();
        volume.insert("source", source.into());
        volume.insert("target", target.into());
        let mut left = Vec::new();
        for option in options.split(',') {
            match option {
                "ro" | "readonly" => drop(volume.insert("read_only", true.into())),
                "z" => drop(volume.insert("relabel", "shared".into())),
                "Z" => drop(volume.insert("relabel", "private".into())),
                // These are defaults, or hints for Docker on macOS.
                "" | "rw" | "cached" | "delegated" | "consistent" => {}
                other => left.push(other),
            }
        }
        let name = self.volume_name(target);
        self.set_in("volumes", &name, volume);
        left
    }

    /// Requests every GPU, or those in `devices`.
    pub(super) fn gpu(&mut self, devices: impl IntoIterator<Item = String>) {
        self.set_in("gpu", "enabled", true);
        let more: Array = devices.into_iter().collect();
        if more.is_empty() {
            return;
        }
        let gpu = self.inner.entry("gpu").or_default();
        match gpu.get_mut("device").and_then(Value::as_array_mut) {
            Some(devices) => devices.extend(more),
            None => drop(gpu.insert("device", more.into())),
        }
        self.origins.insert("gpu.device".to_owned(), vec![self.here.clone()]);
    }

    /// Sets an environment variable. Braces are escaped, because they would begin a template in
    /// `config.toml`.
    pub(super) fn variable(&mut self, name: &str, text: &str) {
        self.set_in("env", name, text.replace("{{", "{{\"{{\"}}"));
    }

    /// Makes relative paths absolute, starting from `folder`, where the imported file is.
    pub(super) fn rebase(&mut self, folder: &Path) {
        let is_relative = |path: &str| path.starts_with("./") || path.starts_with("../") || path == "." || path == "..";
        let absolute = |path: &str| folder.join(path).to_string_lossy().into_owned();
        for (_, volume) in self.inner.get_mut("volumes").into_iter().flat_map(InlineTable::iter_mut) {
            let source = volume.as_inline_table_mut().and_then(|volume| volume.get_mut("source"));
            if let Some(source) = source.filter(|source| source.as_str().is_some_and(is_relative)) {
                *source = absolute(source.as_str().unwrap_or_default()).into();
            }
        }
        for file in self.table.get_mut("env_file").and_then(Item::as_array_mut).into_iter().flat_map(Array::iter_mut) {
            let path = file.as_str().filter(|path| !path.starts_with(['/', '~', '$'])).map(absolute);
            if let Some(path) = path {
                *file = path.into();
            }
        }
    }

    /// Removes the value of a key within the service, such as `ports.0` or `labels.a.b`, and
    /// returns the place where it was read.
    pub(super) fn take(&mut self, key: &str) -> Option<Origin> {
        let (first, rest) = key.split_once('.').unwrap_or((key, ""));
        if let Some(list) = self.table.get_mut(first).and_then(Item::as_array_mut) {
            let index: usize = rest.split('.').next()?.parse().ok()?;
            (index < list.len()).then(|| list.remove(index))?;
            let origins = self.origins.get_mut(first)?;
            return (index < origins.len()).then(|| origins.remove(index));
        }
        if let Some(inner) = self.inner.get_mut(first) {
            let name =
                [rest, rest.split('.').next().unwrap_or_default()].into_iter().find(|name| inner.contains_key(name));
            let name = name.map(ToOwned::to_owned).or_else(|| Some(inner.iter().next()?.0.to_owned()))?;
            inner.remove(&name)?;
            if inner.is_empty() {
                self.inner.shift_remove(first);
            }
            return self.origins.remove(&format!("{first}.{name}")).and_then(|origins| origins.into_iter().next());
        }
        self.table.remove(first)?;
        self.origins.remove(first).and_then(|origins| origins.into_iter().next())
    }

    fn volume_name(&mut self, target: &str) -> String {
        let last = target.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let plain: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let base = plain.trim_matches('_').to_ascii_lowercase();
        let base = if base.is_empty() { "data".to_owned() } else { base };
        let mut name = base.clone();
        let mut count = 1;
        while !self.volume_names.insert(name.clone()) {
            count += 1;
            name = format!("{base}_{count}");
        }
        name
    }

    /// The table as it is written: long inner tables get a heading of their own.
    pub(super) fn to_table(&self) -> Table {
        let mut table = self.table.clone();
        for (key, inner) in &self.inner {
            let inner = inner.clone();
            let item = if HEADED.contains(key) { Item::Table(inner.into_table()) } else { value(inner) };
            table.insert(key, item);
        }
        table
    }
}

/// A reference with its registry and tag. One with a variable stays as it is, because the
/// variable's value is unknown here. The configuration completes it when it is loaded.
fn full_reference(reference: &str) -> String {
    if reference.contains('$') {
        return reference.to_owned();
    }
    Reference::of(reference).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_image_gets_its_registry_and_tag() {
        for (short, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("ollama/ollama", "docker.io/ollama/ollama:latest"),
            ("ollama/ollama:0.5", "docker.io/ollama/ollama:0.5"),
            ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
            ("localhost/a:1", "localhost/a:1"),
            ("registry:5000/a", "registry:5000/a:latest"),
            ("a/b@sha256:00", "docker.io/a/b@sha256:00"),
            ("${IMAGE:-a/b}", "${IMAGE:-a/b}"),
        ] {
            assert_eq!(full_reference(short), full);
        }
    }
}
