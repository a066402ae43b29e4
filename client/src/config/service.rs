//! Reading one `[services.NAME]`.

use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;

use super::model::{Gpu, Health, NetworkMode, PortMapping, Resources, Service, Volume, VolumeSource};
use super::name::ServiceName;
use super::problem::Problem;
use super::quantity::{Cpus, PidsLimit, StatusCode, StatusRange};
use super::section::{Mismatch, Read, Section, boolean, entries, list, number, owned_text, parsed, text, whole, word};
use super::tree::{Node, Value};

const NETWORK_MODES: &[(&str, NetworkMode)] = &[("pod", NetworkMode::Pod), ("host", NetworkMode::Host)];

/// Reads a service. Its `env` still has its templates; `data_folder` is where `bind://` volumes lie.
pub(super) fn service(name: &ServiceName, section: Section<'_>, data_folder: Option<&Path>) -> Option<Service> {
    let enabled = section.or("enabled", true, boolean);
    let image = section.required("image", parsed);
    let pod = section.optional("pod", parsed);
    let container = section.optional("container", parsed).unwrap_or_else(|| name.default_container());
    let network_mode = section.or("network_mode", NetworkMode::Pod, word(NETWORK_MODES));
    let mut network_aliases = section.list_or("network_aliases", Vec::new(), list(parsed));
    if network_mode == NetworkMode::Host {
        warn_of_aliases(&section, !network_aliases.is_empty());
        network_aliases.clear();
    }
    let pids_limit = section.or("pids_limit", PidsLimit::DEFAULT, whole);
    let ports = ports(&section);
    let volumes = volumes(&section, data_folder);
    let gpu = gpu(&section);
    let health = health(&section);
    let env = section.or("env", Vec::new(), |node| entries(node, env_value));
    let resources = resources(&section);
    let needs_webui_secret = section.or("needs_webui_secret", false, boolean);
    let command_args = optional_words(&section, "command_args");
    let entrypoint_override = optional_words(&section, "entrypoint_override");
    section.finish();
    Some(Service {
        enabled,
        image: image?,
        pod,
        container,
        network_mode,
        network_aliases,
        pids_limit,
        ports,
        volumes,
        gpu,
        health,
        env: IndexMap::from_iter(env),
        resources,
        needs_webui_secret,
        command_args,
        entrypoint_override,
    })
}

/// Aliases that a person gave to a service on the host's network are a misunderstanding; those that come from the
/// built-in defaults are simply not used.
fn warn_of_aliases(section: &Section<'_>, any: bool) {
    if let Some(at) = section.at("network_aliases").filter(|at| any && at.is_users()) {
        let place = section.place("network_aliases");
        let warning = Problem::warning(format!("`{place}` has no effect with network_mode `host`"));
        section.push(warning.at(at.clone()).hint("other services reach this one by the host's name"));
    }
}

fn ports(section: &Section<'_>) -> Vec<PortMapping> {
    let one = |port: Section<'_>| {
        let host = port.required("host", whole);
        let container = port.required("container", whole);
        port.finish();
        Some(PortMapping { host: host?, container: container? })
    };
    section.may_be_list_or_one("ports");
    match section.node("ports").map(|node| (&node.value, node)) {
        None => Vec::new(),
        Some((Value::Array(items), _)) => items
            .iter()
            .enumerate()
            .filter_map(|(index, node)| section.item("ports", index, node).and_then(one))
            .collect(),
        Some(_) => section.section("ports").and_then(one).into_iter().collect(),
    }
}

fn gpu(section: &Section<'_>) -> Gpu {
    let default = Gpu { enabled: true, force_cpu: false };
    let Some(section) = section.section("gpu") else { return default };
    let enabled = section.or("enabled", default.enabled, boolean);
    let force_cpu = section.or("force_cpu", default.force_cpu, boolean);
    section.finish();
    Gpu { enabled, force_cpu }
}

fn health(section: &Section<'_>) -> Option<Health> {
    let section = section.section("health")?;
    let path = section.optional("path", |node| match text(node)? {
        path if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(path.to_owned()),
        path => Err(Mismatch::new(format_args!("`{path}` is not the path of a URL, such as `/health`"))),
    });
    let expected_status = section.list_or("expected_status", StatusRange::SUCCESS, status_range);
    if let (Some(at), None) = (section.at("expected_status"), section.at("path")) {
        let (place, path) = (section.place("expected_status"), section.place("path"));
        let warning = Problem::warning(format!("`{place}` has no effect without `{path}`"));
        section.push(warning.at(at.clone()).hint("where no path is set, nothing is asked for"));
    }
    section.finish();
    Some(Health { path: path?, expected_status })
}

fn status_range(node: &Node) -> Read<StatusRange> {
    let codes: Vec<StatusCode> = list(whole)(node)?;
    match codes[..] {
        [first, last] => StatusRange::new(first, last),
        _ => None,
    }
    .ok_or_else(|| Mismatch::new("two status codes are needed, the smaller one first"))
}

fn resources(section: &Section<'_>) -> Resources {
    let Some(section) = section.section("resources") else { return Resources::default() };
    let memory = section.optional("memory", parsed);
    let cpus = section.optional("cpus", cpus);
    section.finish();
    Resources { memory, cpus }
}

/// A number, or a text that is one, as the earlier tool had it.
fn cpus(node: &Node) -> Read<Cpus> {
    let count = match &node.value {
        Value::String(text) => {
            text.parse().map_err(|_| Mismatch::new(format_args!("`{text}` is no number of CPUs")))?
        }
        _ => number(f64::MIN, f64::MAX)(node)?,
    };
    Cpus::new(count).ok_or_else(|| Mismatch::new(format_args!("{count} is no number of CPUs, such as 1.5")))
}

fn optional_words(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    section.may_be_list_or_one(key);
    section.optional(key, words)
}

/// Words of a command line; a single text is one word, never taken apart.
fn words(node: &Node) -> Read<Vec<String>> {
    match &node.value {
        Value::String(word) => Ok(vec![word.clone()]),
        _ => list(owned_text)(node),
    }
}

fn env_value(name: &str, node: &Node) -> Read<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Mismatch::new("this cannot be the name of an environment variable"));
    }
    match &node.value {
        Value::String(text) if text.contains('\0') => Err(Mismatch::new("an environment variable cannot hold NUL")),
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        other => Err(Mismatch::new(format_args!("a text is needed here, not {}", other.kind()))),
    }
}

fn volumes(section: &Section<'_>, data_folder: Option<&Path>) -> IndexMap<String, Volume> {
    let Some(section) = section.section("volumes") else { return IndexMap::new() };
    let one = |(name, volume): (&str, Section<'_>)| {
        let source = volume.required("source", |node| volume_source(node, data_folder));
        let target = volume.required("target", volume_target);
        volume.finish();
        Some((name.to_owned(), Volume { source: source?, target: target? }))
    };
    section.children().filter_map(one).collect()
}

fn volume_source(node: &Node, data_folder: Option<&Path>) -> Read<VolumeSource> {
    let text = text(node)?;
    if let Some(relative) = text.strip_prefix("bind://") {
        let relative = below(relative).ok_or_else(|| {
            Mismatch::new(format_args!("`{text}` does not lie under the data folder"))
                .hint("after `bind://` comes a relative path without `..`; for another folder write its absolute path")
        })?;
        let folder = data_folder.ok_or_else(|| {
            Mismatch::new("there is no data folder for `bind://`").hint("set `HOME`, `XDG_DATA_HOME` or `AIRPODS_HOME`")
        })?;
        return Ok(VolumeSource::Data { path: folder.join(&relative), relative });
    }
    if Path::new(text).is_absolute() {
        return Ok(VolumeSource::Host(PathBuf::from(text)));
    }
    text.parse().map(VolumeSource::Named).map_err(|_| {
        Mismatch::new(format_args!("`{text}` is neither the name of a volume nor an absolute path"))
            .hint("`bind://FOLDER` is a folder under the data folder")
    })
}

/// A relative path that only goes down, `.` and double slashes removed.
fn below(text: &str) -> Option<PathBuf> {
    let parts = Path::new(text).components().filter(|part| *part != Component::CurDir);
    let path = parts.map(|part| matches!(part, Component::Normal(_)).then_some(part)).collect::<Option<PathBuf>>()?;
    (!path.as_os_str().is_empty() && !text.contains('\0')).then_some(path)
}

fn volume_target(node: &Node) -> Read<PathBuf> {
    let text = text(node)?;
    let parts_fit = Path::new(text).components().all(|part| part != Component::ParentDir);
    if text.starts_with('/') && text != "/" && parts_fit && !text.contains(['\0', ':']) {
        Ok(PathBuf::from(text))
    } else {
        Err(Mismatch::new(format_args!("`{text}` is not an absolute path in a container")))
    }
}
