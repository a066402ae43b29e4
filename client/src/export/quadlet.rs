//! Quadlet units, from which podman's generator makes systemd services (podman-systemd.unit(5)).
//!
//! They are written for podman 4.9 and later, or 5.0 if there are pods. Settings without a key in
//! those versions are passed as options of podman.

mod unit;

use std::time::Duration;

use super::{Export, ExportSet, File, is_success, missing_gpus};
use crate::config::Pull;
use crate::health::{HealthCheck, HttpCheck};
use crate::plan::{Launch, is_own_label, ordered};
use crate::podman::{
    ContainerSpec, Endpoint, HealthTiming, Mount, NetworkSpec, Networking, OptionShape, PodSpec, Relabel, Restart,
};
use crate::port::port_ranges;
use crate::secret::Secret;
pub use unit::unknown_keys;
use unit::{Unit, is_plain};

/// How long systemd lets a service start, in seconds. Its image may have to be pulled first.
const PULL_SECONDS: u64 = 900;

/// The name of the network's unit.
const NETWORK: &str = "airpods_network.network";

/// The units of the services, and the files with their secrets if those are known.
#[must_use]
pub fn export(set: &ExportSet<'_>) -> Export {
    let desired = &set.desired;
    let mut export = Export::default();
    let external = desired.network.external;
    if !external && desired.launches.iter().any(|launch| launch.container.networking != Networking::Host) {
        export.add(NETWORK.to_owned(), network(&desired.network));
    }
    for pod in desired.pods.values() {
        export.add(pod_file(&pod.name), pod_unit(pod, external));
    }
    for launch in &desired.launches {
        let name = unit_name(&launch.service);
        export.add(format!("{name}.container"), container(set, launch));
        secrets(set, launch, &mut export);
        export.warnings.extend(unexpressed(launch).into_iter().chain(missing_gpus(launch)));
    }
    export
}

impl Export {
    fn add(&mut self, name: String, unit: Unit) {
        self.files.push(File { name, text: unit.into_text(), private: false });
    }
}

/// Whether a text is a unit written by an export.
#[must_use]
pub fn is_own(text: &str) -> bool {
    text.lines().any(|line| line == NETWORK_DESCRIPTION || line.starts_with("Description=airpods "))
}

/// The description in the network's unit.
const NETWORK_DESCRIPTION: &str = "Description=The network of the airpods services";

/// The name of a service's unit. The prefix keeps it apart from a native unit, such as ollama's
/// own.
fn unit_name(service: &str) -> String {
    format!("airpods-{service}")
}

/// The file of a pod's unit. Its `_` keeps the generated systemd service apart from those of
/// services, like the network's.
fn pod_file(pod: &str) -> String {
    format!("airpods_{pod}.pod")
}

/// The name of the file with a service's secret variables.
fn secret_file(launch: &Launch) -> String {
    format!("{}.env", unit_name(&launch.service))
}

fn secrets(set: &ExportSet<'_>, launch: &Launch, export: &mut Export) {
    let variables = || launch.container.secrets_of_ours();
    let value = |source| set.secrets.get(source).map(Secret::expose);
    for (variable, _) in variables().filter(|(_, source)| value(source).is_some_and(|value| value.contains('\n'))) {
        export.warnings.push(format!(
            "`services.{}.secret_env.{variable}`: a file of variables has no value with several lines; make a secret of podman's, and \
             name it `podman:NAME`",
            launch.service
        ));
    }
    let lines = variables().map(|(variable, source)| {
        let value = value(source)?;
        Some(if value.contains('\n') { String::new() } else { format!("{variable}={value}\n") })
    });
    match lines.collect::<Option<String>>() {
        Some(text) if !text.is_empty() => {
            export.files.push(File { name: secret_file(launch), text, private: true });
        }
        Some(_) => {}
        None => export.warnings.push(format!(
            "`{}` needs a file `{}` with its secret beside its unit: `--dir` writes it, for its owner alone",
            launch.service,
            secret_file(launch)
        )),
    }
}

fn network(spec: &NetworkSpec) -> Unit {
    let mut unit = Unit::default();
    unit.section("Unit");
    unit.set("Description", NETWORK_DESCRIPTION.trim_start_matches("Description="));
    unit.section("Network");
    unit.set("NetworkName", &spec.name);
    unit.set("Driver", &spec.driver);
    spec.subnet.iter().for_each(|subnet| unit.set("Subnet", subnet));
    spec.gateway.iter().for_each(|gateway| unit.set("Gateway", gateway));
    for (key, _) in [("IPv6", spec.ipv6), ("Internal", spec.internal)].into_iter().filter(|(_, on)| *on) {
        unit.set(key, true);
    }
    spec.mtu.iter().for_each(|mtu| unit.set("Options", format_args!("mtu={mtu}")));
    unit
}

fn pod_unit(spec: &PodSpec, external: bool) -> Unit {
    let mut unit = Unit::default();
    unit.section("Unit");
    unit.set("Description", format_args!("airpods pod {}", spec.name));
    unit.section("Pod");
    unit.set("PodName", &spec.name);
    connection(&mut unit, &spec.endpoint, external);
    spec.endpoint.hosts.iter().for_each(|host| unit.word("PodmanArgs", &format!("--add-host={host}")));
    // The `[Pod]` section of podman 5.0 has no keys for these.
    spec.endpoint.dns_servers.iter().for_each(|server| unit.word("PodmanArgs", &format!("--dns={server}")));
    install(&mut unit);
    unit
}

/// Writes the network with the aliases on it, the ports, and the additional name for the host.
fn connection(unit: &mut Unit, endpoint: &Endpoint, external: bool) {
    let aliases: Vec<_> = endpoint.aliases.iter().map(|alias| format!("alias={alias}")).collect();
    let options = if aliases.is_empty() { String::new() } else { format!(":{}", aliases.join(",")) };
    let network = if external { &endpoint.network } else { NETWORK };
    unit.set("Network", format_args!("{network}{options}"));
    endpoint.further.iter().for_each(|network| unit.set("Network", network));
    for ports in port_ranges(&endpoint.ports) {
        unit.set("PublishPort", ports);
    }
    endpoint.host_name.iter().for_each(|name| unit.word("PodmanArgs", &format!("--add-host={name}:host-gateway")));
}

fn container(set: &ExportSet<'_>, launch: &Launch) -> Unit {
    let spec = &launch.container;
    let mut unit = Unit::default();
    unit.section("Unit");
    unit.set("Description", format_args!("airpods service {}", launch.service));
    used(&mut unit, set, launch);
    unit.section("Container");
    unit.set("ContainerName", &spec.name);
    unit.set("Image", &spec.image);
    pull(&mut unit, launch.pull);
    match &spec.networking {
        Networking::Own(endpoint) => {
            connection(&mut unit, endpoint, set.desired.network.external);
            endpoint.dns_servers.iter().for_each(|server| unit.set("DNS", server));
        }
        Networking::Pod(pod) => unit.set("Pod", pod_file(pod)),
        Networking::Host => unit.set("Network", "host"),
    }
    settings(&mut unit, set, launch);
    let stop = set.timeouts.stop_timeout.get();
    unit.word("PodmanArgs", &format!("--stop-timeout={stop}"));
    unit.section("Service");
    unit.set("Restart", restart(spec.restart));
    // A container that ends at once is restarted again and again, as podman would. Without a delay
    // systemd gives up after five starts in 10 s.
    unit.set("RestartSec", 5);
    if launch.oneshot {
        unit.set("TimeoutStartSec", "infinity");
    } else {
        unit.set("TimeoutStartSec", PULL_SECONDS + startup_limit(set, &launch.health_times).as_secs());
    }
    // podman kills the container after its stop timeout. Give it 30 s more, or systemd would kill
    // podman.
    unit.set("TimeoutStopSec", stop + 30);
    launch.folders.iter().for_each(|folder| {
        // A file at this path is mounted as it is.
        let make = "[ -e \"$1\" ] || exec mkdir -p -- \"$1\"";
        unit.words("ExecStartPre", ["/bin/sh", "-c", make, "sh", &folder.to_string_lossy()]);
    });
    match &launch.health {
        Some(HealthCheck::Http(check)) => wait_for_health(&mut unit, set, check, &launch.health_times),
        Some(HealthCheck::Command(_)) => wait_for_command(&mut unit, set, launch),
        None => {}
    }
    if launch.oneshot {
        // Units ordered after it wait until it has ended. `RemainAfterExit` keeps it from running
        // again.
        unit.set("Type", "oneshot");
        unit.set("RemainAfterExit", "yes");
    }
    install(&mut unit);
    unit
}

/// Starts the services that this one uses with it and before it, in the order of `start`: a program
/// may resolve their names only once. In a cycle one service is first, because systemd would leave
/// one unit of an ordering cycle out. Quadlet itself orders a unit only after its network and its
/// pod.
fn used(unit: &mut Unit, set: &ExportSet<'_>, launch: &Launch) {
    let launches: Vec<_> = set.desired.launches.iter().collect();
    let order = ordered(&launches);
    let before = order.iter().take_while(|other| other.service != launch.service).count();
    for (key, others) in [("Wants", order.as_slice()), ("After", order.get(..before).unwrap_or_default())] {
        let used = others.iter().filter(|other| launch.uses.contains_key(&other.service));
        let units: Vec<_> = used.map(|other| format!("{}.service", unit_name(&other.service))).collect();
        if !units.is_empty() {
            unit.words(key, units.iter().map(String::as_str));
        }
    }
}

fn settings(unit: &mut Unit, set: &ExportSet<'_>, launch: &Launch) {
    let spec = &launch.container;
    spec.env.iter().for_each(|(name, value)| unit.word("Environment", &format!("{name}={value}")));
    if spec.secrets_of_ours().next().is_some() {
        unit.word("EnvironmentFile", &secret_file(launch));
    }
    spec.podman_secrets().for_each(|(variable, name)| {
        unit.set("Secret", format_args!("{name},type=env,target={variable}"));
    });
    spec.mounts.iter().for_each(|mount| volume(unit, mount));
    unit.set("PidsLimit", spec.limits.pids);
    spec.limits.memory.iter().for_each(|bytes| unit.word("PodmanArgs", &format!("--memory={bytes}b")));
    spec.limits.cpus.iter().for_each(|cpus| unit.word("PodmanArgs", &format!("--cpus={cpus}")));
    spec.gpu.iter().chain(&spec.devices).for_each(|device| unit.word("AddDevice", device));
    options(unit, spec);
    spec.hosts.iter().for_each(|host| unit.word("PodmanArgs", &format!("--add-host={host}")));
    let labels = spec.labels.iter().filter(|(label, _)| !is_own_label(label));
    labels.for_each(|(label, value)| unit.word("Label", &format!("{label}={value}")));
    if spec.label_disable {
        unit.set("SecurityLabelDisable", true);
    }
    if let Some(command) = &spec.health {
        health_command(unit, command, set, &launch.health_times);
    }
    if let Some(entrypoint) = &spec.entrypoint {
        // podman takes one word or JSON here.
        unit.word("PodmanArgs", &format!("--entrypoint={}", serde_json::json!(entrypoint)));
    }
    if let Some(words) = spec.command.as_ref().filter(|words| !words.is_empty()) {
        unit.words("Exec", words.iter().map(String::as_str));
    }
}

fn volume(unit: &mut Unit, mount: &Mount) {
    match mount {
        Mount::Volume { name, .. } => bind(unit, name, mount, Relabel::No),
        Mount::Bind { source, relabel, .. } => bind(unit, &source.to_string_lossy(), mount, *relabel),
    }
}

/// Writes a bind mount. `Volume=` cannot express a path with a space or a colon, so that becomes
/// `--mount`.
fn bind(unit: &mut Unit, source: &str, mount: &Mount, relabel: Relabel) {
    let (target, read_only) = (mount.target().to_string_lossy(), mount.is_read_only());
    let plain = |path: &str| is_plain(path) && !path.contains([':', ',']);
    if plain(source) && plain(&target) {
        let options: Vec<_> = read_only.then_some("ro").into_iter().chain(relabel.option()).collect();
        let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
        unit.set("Volume", format_args!("{source}:{target}{options}"));
    } else {
        let kind = if source.starts_with('/') { "bind" } else { "volume" };
        let shared = match relabel {
            Relabel::No => "",
            Relabel::Shared => ",relabel=shared",
            Relabel::Private => ",relabel=private",
        };
        let shared = if read_only { format!(",ro{shared}") } else { shared.to_owned() };
        let field = |key: &str, path: &str| format!("\"{key}={}\"", path.replace('"', "\"\""));
        let mount =
            format!("--mount=type={kind},{},{}{shared}", field("source", source), field("destination", &target));
        unit.word("PodmanArgs", &mount);
    }
}

/// Makes dependent units wait until the service answers. The host sends the request, because the
/// image may have no program for that. A service that never answers keeps running, as with `airpods
/// start`.
fn wait_for_health(unit: &mut Unit, set: &ExportSet<'_>, health: &HttpCheck, times: &HealthTiming) {
    let interval = interval(set, times);
    let attempts = (startup_limit(set, times).as_secs_f64() / interval).ceil().to_string();
    let interval = interval.to_string();
    let timeout = times.timeout_or(Duration::from_secs_f64(set.timeouts.ping_timeout)).as_secs_f64().to_string();
    let url = health.url();
    unit.words(
        "ExecStartPost",
        [
            "-/usr/bin/curl",
            "--silent",
            "--show-error",
            "--fail",
            "--output",
            "/dev/null",
            "--max-time",
            &timeout,
            "--retry",
            &attempts,
            "--retry-delay",
            &interval,
            "--retry-all-errors",
            &url,
        ],
    );
}

/// Writes the health command, which podman runs periodically here.
fn health_command(unit: &mut Unit, command: &[String], set: &ExportSet<'_>, times: &HealthTiming) {
    let text = match command.split_first() {
        Some((how, rest)) if how == "CMD-SHELL" => rest.join(" "),
        _ => serde_json::json!(command.get(1..).unwrap_or_default()).to_string(),
    };
    unit.word("HealthCmd", &text);
    match times.interval {
        Some(interval) => unit.set("HealthInterval", interval),
        None => unit.set("HealthInterval", format_args!("{}s", interval(set, times))),
    }
    times.timeout.iter().for_each(|timeout| unit.set("HealthTimeout", timeout));
    times.retries.iter().for_each(|retries| unit.set("HealthRetries", retries));
    match times.start_period {
        Some(period) => unit.set("HealthStartPeriod", period),
        None => unit.set("HealthStartPeriod", format_args!("{}s", set.timeouts.startup_timeout)),
    }
}

/// The seconds between two health checks, rounded up.
fn interval(set: &ExportSet<'_>, times: &HealthTiming) -> f64 {
    times.interval_or(Duration::from_secs_f64(set.timeouts.startup_check_interval)).as_secs_f64().ceil()
}

/// How long the service has to become healthy.
fn startup_limit(set: &ExportSet<'_>, times: &HealthTiming) -> Duration {
    let timeouts = set.timeouts;
    let of_all = Duration::from_secs(timeouts.startup_timeout.get().into());
    times.startup_limit(of_all, Duration::from_secs_f64(timeouts.startup_check_interval))
}

/// Makes dependent units wait until the health command succeeds.
fn wait_for_command(unit: &mut Unit, set: &ExportSet<'_>, launch: &Launch) {
    let seconds = startup_limit(set, &launch.health_times).as_secs().to_string();
    let name = &launch.container.name;
    let wait = ["-/usr/bin/timeout", &seconds, "/usr/bin/podman", "wait", "--condition=healthy", name];
    unit.words("ExecStartPost", wait);
}

/// Writes the settings that podman takes unchanged.
fn options(unit: &mut Unit, spec: &ContainerSpec) {
    for (row, values) in spec.options.iter() {
        match (row.shape, row.unit) {
            (OptionShape::Switch, Some(key)) => unit.set(key, true),
            (OptionShape::Switch, None) => unit.word("PodmanArgs", row.flag),
            (_, Some(key)) => values.iter().for_each(|value| unit.word(key, value)),
            (_, None) => values.iter().for_each(|value| unit.word("PodmanArgs", &format!("{}={value}", row.flag))),
        }
    }
}

fn pull(unit: &mut Unit, pull: Pull) {
    match pull {
        Pull::Missing => {}
        Pull::Always => unit.set("Pull", "always"),
        Pull::Never => unit.set("Pull", "never"),
    }
}

fn restart(policy: Restart) -> &'static str {
    match policy {
        Restart::No => "no",
        Restart::OnFailure => "on-failure",
        // systemd never restarts a unit that the user stopped.
        Restart::Always | Restart::UnlessStopped => "always",
    }
}

fn install(unit: &mut Unit) {
    unit.section("Install");
    unit.set("WantedBy", "default.target");
}

fn unexpressed(launch: &Launch) -> Option<String> {
    let Some(HealthCheck::Http(check)) = &launch.health else { return None };
    let expected = Some(check.expected).filter(|range| !is_success(*range))?;
    Some(format!(
        "`services.{}.health.expected_status`: curl, which waits until the service answers, takes 200 to 399 for an answer and \
         not {expected}",
        launch.service
    ))
}
