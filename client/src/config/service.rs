//! Reading one `[services.NAME]`.

use std::net::IpAddr;
use std::time::Duration;

use indexmap::IndexMap;

use super::earlier;
use super::model::{Condition, EnvFile, Gpu, Health, HealthTest, NetworkMode, Pull, Resources, Service};
use super::name::{NetworkAlias, ServiceName};
use super::option::options;
use super::places::Places;
use super::port::{PortMapping, ports};
use super::problem::Problem;
use super::process::{self, command, health_command, optional_words, secret_env};
use super::quantity::{Cpus, Period, PidsLimit, StatusCode, StatusRange};
use super::runtime::{GpuDevice, RESTART_POLICIES, gpu_device};
use super::section::{Mismatch, Read, Section, boolean, entries, list, number, owned_text, parsed, text, whole, word};
use super::tree::{Node, Value};
use super::volume::volumes;
use crate::podman::HealthTiming;

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

fn gpu(section: &Section<'_>) -> Gpu {
    let default = Gpu { enabled: true, force_cpu: false, device: Vec::new() };
    let Some(section) = section.section("gpu") else { return default };
    let enabled = section.or("enabled", default.enabled, boolean);
    let force_cpu = section.or("force_cpu", default.force_cpu, boolean);
    section.may_be_list_or_one("device");
    let device = section.or("device", Vec::new(), one_or_list(one_gpu));
    section.finish();
    Gpu { enabled, force_cpu, device }
}

/// A device, or one of the GPUs that airpods finds, by its number or CDI name.
fn one_gpu(node: &Node) -> Read<GpuDevice> {
    match &node.value {
        Value::Integer(number @ 0..) => Ok(GpuDevice::One(number.to_string())),
        Value::String(text) if is_gpu_id(text) => Ok(GpuDevice::One(text.clone())),
        _ => gpu_device(node),
    }
}

/// A number, one of NVIDIA's `GPU-…` and `MIG-…`, or an index within a partition such as `0:1`.
fn is_gpu_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-:".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    (first || text.starts_with("GPU-") || text.starts_with("MIG-")) && text.bytes().all(fits)
}

fn health(service: &Section<'_>, ports: &[PortMapping]) -> Option<Health> {
    let section = service.section("health")?;
    section.may_be_list_or_one("command");
    let command = section.optional("command", health_command);
    let is_ours = |key: &str| section.at(key).is_some_and(|at| !at.is_users());
    let has_port = ports.iter().any(|port| port.protocol.is_tcp());
    let built_in_path = is_ours("path");
    let path = section.optional("path", |node| match text(node)? {
        path if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(path.to_owned()),
        path => Err(Mismatch::new(format_args!("`{path}` is not the path of a URL, such as `/health`"))),
    });
    let expected_status = section.list_or("expected_status", StatusRange::SUCCESS, status_range);
    if let (Some(at), None, None) = (section.at("expected_status"), section.at("path"), section.at("command")) {
        let (place, path) = (section.place("expected_status"), section.place("path"));
        let warning = Problem::warning(format!("`{place}` has no effect without `{path}`"));
        section.push(warning.at(at.clone()).hint("where no path is set, nothing is asked for"));
    }
    let times = HealthTiming {
        interval: section.optional("interval", period),
        timeout: section.optional("timeout", period),
        retries: section.optional("retries", whole),
        start_period: section.optional("start_period", period),
    };
    // A user's command replaces a built-in path, and a service without TCP ports is not asked over
    // HTTP.
    if built_in_path && (command.is_some() || !has_port) {
        section.finish();
        return command.map(|command| Health { test: HealthTest::Command { command }, times });
    }
    if path.is_some() && command.is_some() {
        section.refuse("a service is asked by `path` or by `command`, not both");
    }
    section.finish();
    let test = match command {
        Some(command) => HealthTest::Command { command },
        None => HealthTest::Http { path: path?, expected_status },
    };
    Some(Health { test, times })
}

/// A text such as `30s`, or a number of seconds.
fn period(node: &Node) -> Read<Period> {
    if matches!(node.value, Value::String(_)) {
        return parsed(node);
    }
    let seconds = number(0.001, 86_400.0)(node)?;
    Period::new(Duration::from_secs_f64(seconds)).ok_or_else(|| Mismatch::new("this is no length of time"))
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

/// One value, or an array of them.
fn one_or_list<T>(one: impl Fn(&Node) -> Read<T>) -> impl Fn(&Node) -> Read<Vec<T>> {
    move |node| match &node.value {
        Value::Array(_) => list(&one)(node),
        _ => Ok(vec![one(node)?]),
    }
}

fn env_file(node: &Node, places: &Places) -> Read<EnvFile> {
    let text = text(node)?;
    let path = match places.beside_file(text) {
        Some(Ok(path)) => path,
        Some(Err(why)) => return Err(Mismatch::new(format_args!("`{text}` has no place: {why}"))),
        None => return Err(Mismatch::new(format_args!("`{text}` is not a path"))),
    };
    let content = (places.read)(&path)
        .map_err(|cause| Mismatch::new(format_args!("`{}` cannot be read: {cause}", path.display())))?;
    let variables = process::variables(&content)
        .map_err(|why| Mismatch::new(format_args!("`{}` is no file of variables: {why}", path.display())))?;
    Ok(EnvFile { path, variables })
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

/// A CDI name, or `HOST[:CONTAINER[:rwm]]` with absolute paths (podman-run(1), `--device`).
fn device(node: &Node) -> Read<String> {
    let text = text(node)?;
    let wrong = || {
        Mismatch::new(format_args!("`{text}` is no device"))
            .hint("it is such as `/dev/kfd`, `/dev/ttyUSB0:/dev/tty0:rw` or `amd.com/gpu=all`")
    };
    if !text.starts_with('/') {
        return match gpu_device(node)? {
            GpuDevice::Device(device) => Ok(device),
            _ => Err(wrong()),
        };
    }
    let parts: Vec<&str> = text.split(':').collect();
    let is_path = |part: &&str| part.starts_with('/') && !part.contains(char::is_whitespace);
    let is_access = |part: &str| !part.is_empty() && part.bytes().all(|byte| b"rwm".contains(&byte));
    let fits = match parts[..] {
        [host] => is_path(&host),
        [host, second] => is_path(&host) && (is_path(&second) || is_access(second)),
        [host, container, access] => is_path(&host) && is_path(&container) && is_access(access),
        _ => false,
    };
    if fits { Ok(text.to_owned()) } else { Err(wrong()) }
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
