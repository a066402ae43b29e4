//! `[services.NAME]`: one container and all that belongs to it, and reading it.

use std::net::IpAddr;

use indexmap::IndexMap;
use serde::Serialize;

use super::device::{Gpu, device, gpu};
use super::earlier;
use super::health::{Health, health};
use super::model::is_false;
use super::name::{ImageName, NetworkAlias, ObjectName, ServiceName};
use super::option::options;
use super::places::Places;
use super::port::{PortMapping, ports};
use super::problem::Problem;
use super::process::{EnvFile, command, env_file, optional_words, secret_env};
use super::quantity::{Cpus, Memory, PidsLimit};
use super::runtime::{RESTART_POLICIES, RestartPolicy};
use super::section::{
    Mismatch, Read, Section, boolean, entries, list, number, one_or_list, owned_text, parsed, text, whole, word,
};
use super::tree::{Node, Value};
use super::volume::{Volume, volumes};
use crate::podman::{Options, SecretSource};
use crate::port::HostPort;

/// One container that is launched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Whether `start` without names starts it.
    pub enabled: bool,
    /// Its image, with its registry.
    pub image: ImageName,
    /// The pod that it shares with every service that names the same one; `None`, or `network_mode`
    /// host: no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// Its container's name, unique among the services.
    pub container: ObjectName,
    /// The network it is on.
    pub network_mode: NetworkMode,
    /// The names by which other services reach it. Empty with [`NetworkMode::Host`], which has no
    /// such names.
    pub network_aliases: Vec<NetworkAlias>,
    /// Upper bound on its processes and threads.
    pub pids_limit: PidsLimit,
    /// The ports that lead into it. With [`NetworkMode::Host`] it listens on the host itself, on
    /// the `container` ports; see [`Service::host_ports`].
    pub ports: Vec<PortMapping>,
    /// Its volumes, by their names in the file.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub volumes: IndexMap<String, Volume>,
    /// Whether it gets the GPU.
    pub gpu: Gpu,
    /// Its health check; without one, airpods only knows whether it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its environment, templates replaced.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Files with further variables; those of `env` take precedence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_file: Vec<EnvFile>,
    /// Variables whose values are secret, and where each is kept. They take precedence over those
    /// of `env_file`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub secret_env: IndexMap<String, SecretSource>,
    /// Its limits.
    #[serde(skip_serializing_if = "Resources::is_unlimited")]
    pub resources: Resources,
    /// The settings that podman takes as they are.
    #[serde(flatten)]
    pub options: Options,
    /// Labels of its container.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// Devices in addition to the GPU's: CDI names, or paths as `HOST[:CONTAINER[:rwm]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Names in its `/etc/hosts`, as `NAME:ADDRESS`; the address may be `host-gateway`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Existing networks that it joins as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<ObjectName>,
    /// The services that are started before it, and the condition that each must meet.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub depends_on: IndexMap<ServiceName, Condition>,
    /// When podman restarts it by itself; `None` is `runtime.restart_policy`, and never for a
    /// one-shot service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Whether it does something once and ends.
    #[serde(skip_serializing_if = "is_false")]
    pub oneshot: bool,
    /// The model for templates to name; it has no effect by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// Keys of the built-in defaults that are removed from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// When its image is pulled.
    #[serde(skip_serializing_if = "Pull::is_missing")]
    pub pull: Pull,
    /// Whether it gets `WEBUI_SECRET_KEY`, see [`crate::webui_secret`].
    pub needs_webui_secret: bool,
    /// Arguments in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_args: Option<Vec<String>>,
    /// The program, with its first arguments, in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint_override: Option<Vec<String>>,
}

impl Service {
    /// Every port of the host that it occupies, with the index of its mapping. If it shares the
    /// host's network, these are the container's own ports.
    pub fn placed_ports(&self) -> impl Iterator<Item = (usize, HostPort)> {
        let of_mapping = |mapping: PortMapping| -> Vec<HostPort> {
            match self.network_mode {
                NetworkMode::Pod => mapping.pairs().map(|(host, _)| host).collect(),
                NetworkMode::Host => mapping.own().collect(),
            }
        };
        let mappings = self.ports.iter().copied().enumerate();
        mappings.flat_map(move |(index, mapping)| of_mapping(mapping).into_iter().map(move |port| (index, port)))
    }

    /// Every port of the host that it occupies.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort> {
        self.placed_ports().map(|(_, port)| port)
    }
}

/// The condition that a service must meet before one that depends on it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It was started.
    Started,
    /// It is healthy.
    Healthy,
    /// It has ended successfully.
    Completed,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// If it is missing.
    #[default]
    Missing,
    /// Whenever a container is made from it.
    Always,
    /// Never: it must be there.
    Never,
}

impl Pull {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_missing(&self) -> bool {
        *self == Self::Missing
    }
}

/// The network that a service is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The network of the services.
    Pod,
    /// The host's own.
    Host,
}

/// The limits of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Resources {
    /// Memory; `None` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// CPUs; `None` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
}

impl Resources {
    fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

const PULLS: &[(&str, Pull)] = &[("missing", Pull::Missing), ("always", Pull::Always), ("never", Pull::Never)];

/// The conditions, in compose's words and in ours.
const CONDITIONS: &[(&str, Condition)] = &[
    ("started", Condition::Started),
    ("healthy", Condition::Healthy),
    ("completed", Condition::Completed),
    ("service_started", Condition::Started),
    ("service_healthy", Condition::Healthy),
    ("service_completed_successfully", Condition::Completed),
];

const NETWORK_MODES: &[(&str, NetworkMode)] = &[("pod", NetworkMode::Pod), ("host", NetworkMode::Host)];

/// Reads a service. Templates in its `env` are not replaced yet; `places` resolves its paths.
pub(super) fn service(name: &ServiceName, section: Section<'_>, places: &Places) -> Option<Service> {
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
    let volumes = volumes(&section, places);
    let gpu = gpu(&section);
    let health = health(&section, &ports);
    let env = section.or("env", Vec::new(), |node| entries(node, env_value));
    section.may_be_list_or_one("env_file");
    let env_file = section.or("env_file", Vec::new(), one_or_list(|node| env_file(node, places)));
    let secret_env = secret_env(&section, places);
    let resources = resources(&section);
    let labels = section.or("labels", Vec::new(), |node| entries(node, label));
    let devices = section.list_or("devices", Vec::new(), list(device));
    let extra_hosts = section.list_or("extra_hosts", Vec::new(), list(extra_host));
    let networks = section.list_or("networks", Vec::new(), list(parsed));
    section.may_be_list("depends_on");
    let depends_on = section.or("depends_on", Vec::new(), depends_on);
    let restart_policy = section.optional("restart_policy", word(RESTART_POLICIES));
    let oneshot = section.or("oneshot", false, boolean);
    let pull = section.or("pull", Pull::Missing, word(PULLS));
    let options = options(&section);
    let needs_webui_secret = section.or("needs_webui_secret", false, boolean);
    let command_args = command(&section);
    let entrypoint_override = optional_words(&section, "entrypoint_override");
    let default_model = section.optional("default_model", owned_text);
    earlier::service(&section);
    let unset = section.list_or("unset", Vec::new(), list(owned_text));
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
        env_file,
        secret_env,
        options,
        labels: IndexMap::from_iter(labels),
        devices,
        extra_hosts,
        networks,
        depends_on: IndexMap::from_iter(depends_on),
        restart_policy,
        oneshot,
        pull,
        default_model,
        unset,
        resources,
        needs_webui_secret,
        command_args,
        entrypoint_override,
    })
}

/// A user who gives aliases to a service on the host's network misunderstands it. Aliases from the
/// built-in defaults are dropped silently.
fn warn_of_aliases(section: &Section<'_>, any: bool) {
    if let Some(at) = section.at("network_aliases").filter(|at| any && at.is_users()) {
        let place = section.place("network_aliases");
        let warning = Problem::warning(format!("`{place}` has no effect with network_mode `host`"));
        section.push(warning.at(at.clone()).hint("other services reach this one by the host's name"));
    }
}

fn resources(section: &Section<'_>) -> Resources {
    let Some(section) = section.section("resources") else { return Resources::default() };
    let memory = section.optional("memory", parsed);
    let cpus = section.optional("cpus", cpus);
    section.finish();
    Resources { memory, cpus }
}

/// A number, or a text with one, as files of the Python airpods have it.
fn cpus(node: &Node) -> Read<Cpus> {
    let count = match &node.value {
        Value::String(text) => {
            text.parse().map_err(|_| Mismatch::new(format_args!("`{text}` is no number of CPUs")))?
        }
        _ => number(f64::MIN, f64::MAX)(node)?,
    };
    Cpus::new(count).ok_or_else(|| Mismatch::new(format_args!("{count} is no number of CPUs, such as 1.5")))
}

fn label(name: &str, node: &Node) -> Read<String> {
    if name.is_empty() || name.starts_with("io.airpods.") {
        return Err(
            Mismatch::new("this cannot be a label of yours").hint("those that begin with `io.airpods.` are our own")
        );
    }
    match &node.value {
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Integer(number) => Ok(number.to_string()),
        _ => owned_text(node),
    }
}

/// `NAME:ADDRESS`; `=` is accepted in place of the colon, as in compose.
fn extra_host(node: &Node) -> Read<String> {
    let text = text(node)?;
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let fits = |(name, address): (&str, &str)| -> Option<String> {
        let name: NetworkAlias = name.parse().ok()?;
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let address =
            if address == "host-gateway" { address.to_owned() } else { bare.parse::<IpAddr>().ok()?.to_string() };
        Some(format!("{name}:{address}"))
    };
    parts.and_then(fits).ok_or_else(|| {
        Mismatch::new(format_args!("`{text}` is not a name and its address"))
            .hint("such as `host.docker.internal:host-gateway`")
    })
}

/// Names of services, or a table with a condition for each, in compose's words or in ours.
fn depends_on(node: &Node) -> Read<Vec<(ServiceName, Condition)>> {
    let named = |name: &str| name.parse::<ServiceName>().map_err(Mismatch::new);
    match &node.value {
        Value::Array(_) => list(|node| Ok((named(text(node)?)?, Condition::Started)))(node),
        _ => entries(node, |name, node| {
            named(name)?;
            let condition = |node: &Node| word(CONDITIONS)(node);
            match &node.value {
                Value::Table(table) => match table.iter().find(|(key, _)| *key != "condition") {
                    Some((key, entry)) => {
                        Err(Mismatch::new("`condition` is all that can be said here").within(key, &entry.key_at))
                    }
                    None => table.get("condition").map_or(Ok(Condition::Started), condition),
                },
                _ => condition(node),
            }
        })?
        .into_iter()
        .map(|(name, condition)| Ok((named(&name)?, condition)))
        .collect(),
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
