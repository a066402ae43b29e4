//! `services.NAME.volumes`: data that outlives a container, and reading them.

use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use serde::{Serialize, Serializer};

use super::model::is_false;
use super::name::ObjectName;
use super::places::Places;
use super::problem::{Problem, Problems};
use super::section::{Mismatch, Read, Section, boolean, text, word};
use super::tree::{Node, Table, Value};
use crate::podman::Relabel;

/// Data that outlives the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Where it lies.
    pub source: VolumeSource,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether the container must not write there.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// The `SELinux` label it gets. `None`: a folder of airpods gets the label that all containers
    /// share, any other keeps its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relabel: Option<Relabel>,
}

/// Where a volume lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A folder under the data folder, `bind://relative` in the file. airpods owns it and makes it
    /// if it is missing.
    Data {
        /// The absolute path, checked to lie under the data folder.
        path: PathBuf,
        /// The path below the data folder.
        relative: PathBuf,
    },
    /// A folder or file of the host, absolute. airpods never makes it and never relabels it.
    Host(PathBuf),
    /// A volume that podman keeps.
    Named(ObjectName),
}

impl Serialize for VolumeSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Data { relative, .. } => serializer.collect_str(&format_args!("bind://{}", relative.display())),
            Self::Host(path) => path.serialize(serializer),
            Self::Named(name) => name.serialize(serializer),
        }
    }
}

const RELABELS: &[(&str, Relabel)] = &[("no", Relabel::No), ("shared", Relabel::Shared), ("private", Relabel::Private)];

/// Volumes of the built-in defaults for which the Python airpods has folders of the same name and
/// content.
const WITH_FOLDERS: [&str; 2] = ["airpods_ollama_data", "airpods_webui_data"];

/// Reads `volumes`; `places` resolves their paths.
pub(super) fn volumes(section: &Section<'_>, places: &Places) -> IndexMap<String, Volume> {
    let Some(section) = section.section("volumes") else { return IndexMap::new() };
    let one = |(name, node): (&str, &Node)| {
        let volume = match &node.value {
            Value::String(_) => section.read_at(name, node, |node| short_volume(node, places)),
            _ => section.below(name, node).and_then(|table| volume(table, places)),
        };
        let volume = volume?;
        warn_of_two_folders(&section, name, &volume, places);
        Some((name.to_owned(), volume))
    };
    section.nodes().filter_map(one).collect()
}

/// Warns if both folders have data of this name, since only one of them is used.
fn warn_of_two_folders(section: &Section<'_>, name: &str, volume: &Volume, places: &Places) {
    let VolumeSource::Data { path, relative } = &volume.source else { return };
    let Some(other) = places.earlier(relative).filter(|other| other != path) else { return };
    let warning = Problem::warning(format!("`{}` is `{}`", section.place(name), path.display()));
    let hint = format!("the earlier airpods has `{}`, which is not used: move one of the two away", other.display());
    section.push(warning.at(section.at(name).cloned()).hint(hint));
}

fn volume(table: Section<'_>, places: &Places) -> Option<Volume> {
    let source = table.required("source", |node| {
        let source = volume_source(text(node)?, places)?;
        // The Python airpods keeps in a folder what the built-in defaults keep in a volume of this
        // name.
        match &source {
            VolumeSource::Named(name) if !node.at.is_users() && WITH_FOLDERS.contains(&name.as_str()) => {
                let relative = PathBuf::from(name.as_str());
                let path = places.earlier(&relative);
                Ok(path.map_or(source, |path| VolumeSource::Data { path, relative }))
            }
            _ => Ok(source),
        }
    });
    let target = table.required("target", |node| volume_target(text(node)?));
    let read_only = table.or("read_only", false, boolean);
    let relabel = table.optional("relabel", word(RELABELS));
    table.finish();
    Some(Volume { source: source?, target: target?, read_only, relabel })
}

/// `SOURCE:TARGET[:OPTIONS]` (compose-spec, "Short syntax" of `volumes`).
fn short_volume(node: &Node, places: &Places) -> Read<Volume> {
    let text = text(node)?;
    let wrong = |why: &str| Mismatch::new(format_args!("`{text}` {why}")).hint("it is such as `./data:/data:ro`");
    // `bind://` has a colon of its own.
    let scheme = if text.starts_with("bind://") { "bind://".len() } else { 0 };
    let (source, rest) =
        text[scheme..].split_once(':').ok_or_else(|| wrong("does not say where it is in the container"))?;
    let source = volume_source(&text[..scheme + source.len()], places)?;
    let (target, options) = rest.split_once(':').unwrap_or((rest, ""));
    let mut volume = Volume { source, target: volume_target(target)?, read_only: false, relabel: None };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => volume.read_only = true,
            "rw" => volume.read_only = false,
            "z" => volume.relabel = Some(Relabel::Shared),
            "Z" => volume.relabel = Some(Relabel::Private),
            _ => return Err(wrong("has an option that is none of `ro`, `rw`, `z` and `Z`")),
        }
    }
    Ok(volume)
}

fn volume_source(text: &str, places: &Places) -> Read<VolumeSource> {
    if let Some(relative) = text.strip_prefix("bind://") {
        let relative = below(relative).ok_or_else(|| {
            Mismatch::new(format_args!("`{text}` does not lie under the data folder"))
                .hint("after `bind://` comes a relative path without `..`; for another folder write its absolute path")
        })?;
        let own = places.data_folder.as_ref().map(|folder| folder.join(&relative));
        let path = match (own, places.earlier(&relative)) {
            (Some(own), Some(_)) if (places.exists)(&own) => own,
            (_, Some(earlier)) => earlier,
            (Some(own), None) => own,
            (None, None) => {
                return Err(Mismatch::new("there is no data folder for `bind://`")
                    .hint("set `HOME`, `XDG_DATA_HOME` or `AIRPODS_HOME`"));
            }
        };
        return Ok(VolumeSource::Data { path, relative });
    }
    match places.host_path(text) {
        Some(Ok(path)) => return Ok(VolumeSource::Host(path)),
        Some(Err(why)) => return Err(Mismatch::new(format_args!("`{text}` has no place: {why}"))),
        None => {}
    }
    text.parse().map(VolumeSource::Named).map_err(|_| {
        Mismatch::new(format_args!("`{text}` is neither the name of a volume nor a path of the host"))
            .hint("a path begins with `/`, `~/` or `./`, which is beside the configuration; `bind://FOLDER` is a folder of ours")
    })
}

/// A relative path without `..`, with `.` and double slashes removed.
fn below(text: &str) -> Option<PathBuf> {
    let parts = Path::new(text).components().filter(|part| *part != Component::CurDir);
    let path = parts.map(|part| matches!(part, Component::Normal(_)).then_some(part)).collect::<Option<PathBuf>>()?;
    (!path.as_os_str().is_empty() && !text.contains('\0')).then_some(path)
}

fn volume_target(text: &str) -> Read<PathBuf> {
    let parts_fit = Path::new(text).components().all(|part| part != Component::ParentDir);
    if text.starts_with('/') && text != "/" && parts_fit && !text.contains(['\0', ':']) {
        Ok(PathBuf::from(text))
    } else {
        Err(Mismatch::new(format_args!("`{text}` is not an absolute path in a container")))
    }
}

/// Removes a built-in volume if the user's file has a volume with the same target, or with a target
/// within it.
pub(super) fn drop_overridden_volumes(tree: &mut Table, problems: &Problems) {
    let Some(Value::Table(services)) = tree.get_mut("services").map(|node| &mut node.value) else { return };
    for (service, node) in services.iter_mut() {
        let Value::Table(table) = &mut node.value else { continue };
        let Some(Value::Table(volumes)) = table.get_mut("volumes").map(|node| &mut node.value) else { continue };
        let all: Vec<(String, bool, PathBuf)> = volumes
            .iter()
            .filter_map(|(name, entry)| Some((name.to_owned(), is_users(&entry.node), target(&entry.node)?)))
            .collect();
        for (built_in, _, place) in all.iter().filter(|(_, users, _)| !users) {
            let covers = |(_, users, target): &&(String, bool, PathBuf)| *users && target.starts_with(place);
            let Some((own, _, _)) = all.iter().find(covers) else { continue };
            let at = volumes.get(own).map(|node| node.at.clone());
            let key = format!("services.{service}.volumes");
            let left = format!("`{key}.{built_in}` is left out: `{own}` has its place, `{}`", place.display());
            let hint = format!("to keep both, write `{key}.{built_in}` in the file as well");
            problems.push(Problem::warning(left).at(at).hint(hint));
            volumes.remove(built_in);
        }
    }
}

/// Whether the user's file sets anything of a volume.
fn is_users(node: &Node) -> bool {
    match &node.value {
        Value::Table(table) => table.iter().any(|(_, entry)| entry.node.at.is_users()),
        _ => node.at.is_users(),
    }
}

fn target(node: &Node) -> Option<PathBuf> {
    let text = match &node.value {
        Value::Table(table) => match &table.get("target")?.value {
            Value::String(target) => target.as_str(),
            _ => return None,
        },
        Value::String(short) => short.trim_start_matches("bind://").split(':').nth(1)?,
        _ => return None,
    };
    Some(PathBuf::from(text))
}
