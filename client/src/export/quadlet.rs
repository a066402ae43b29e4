//! Quadlet: units from which podman's generator makes services of systemd (podman-systemd.unit(5)).
//!
//! Written for podman 4.9 and later, and 5.0 where there are pods. Settings for which older versions have no key are given as podman's
//! own options.

mod unit;

use std::path::Path;

use super::{Export, File, Subject, is_success};
use crate::plan::{HealthCheck, Launch, ordered};
use crate::podman::{ContainerSpec, Endpoint, Mount, NetworkSpec, Networking, PodSpec, Restart};

use unit::{Unit, is_plain};

/// How long systemd lets a service start, in seconds: its image may have to be pulled first.
const PULL_SECONDS: u32 = 900;

/// The unit of the network.
const NETWORK: &str = "airpods_network.network";

/// The units for the services, and the files with their secrets where these are known.
#[must_use]
pub fn export(subject: &Subject<'_>) -> Export {
    let desired = &subject.desired;
    let mut export = Export::default();
    if desired.launches.iter().any(|launch| launch.container.networking != Networking::Host) {
        export.add(NETWORK.to_owned(), network(&desired.network));
    }
    for pod in desired.pods.values() {
        export.add(pod_file(&pod.name), pod_unit(pod));
    }
    for launch in &desired.launches {
        let name = unit_name(&launch.service);
        export.add(format!("{name}.container"), container(subject, launch));
        secrets(subject, launch, &mut export);
        export.warnings.extend(unexpressed(launch));
    }
    export
}

impl Export {
    fn add(&mut self, name: String, unit: Unit) {
        self.files.push(File { name, text: unit.into_text(), private: false });
    }
}

/// The name of a service's unit. A native unit of the same service may be there, such as ollama's own.
fn unit_name(service: &str) -> String {
    format!("airpods-{service}")
}

/// The unit of a pod. As that of the network, it makes no service of systemd that a service of ours could make as well.
fn pod_file(pod: &str) -> String {
    format!("airpods_{pod}.pod")
}

/// The name of the file with a service's secret variables.
fn secret_file(launch: &Launch) -> String {
    format!("{}.env", unit_name(&launch.service))
}

fn secrets(subject: &Subject<'_>, launch: &Launch, export: &mut Export) {
    let variables = &launch.container.secret_env;
    let known: Option<String> = variables
        .iter()
        .map(|variable| subject.secrets.get(variable).map(|secret| format!("{variable}={secret}\n")))
        .collect();
    match known {
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
    unit.set("Description", "The network of the airpods services");
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

fn pod_unit(spec: &PodSpec) -> Unit {
    let mut unit = Unit::default();
    unit.section("Unit");
    unit.set("Description", format_args!("airpods pod {}", spec.name));
    unit.section("Pod");
    unit.set("PodName", &spec.name);
    connection(&mut unit, &spec.endpoint);
    // A pod of podman 5.0 has no keys for these.
    spec.endpoint.dns_servers.iter().for_each(|server| unit.word("PodmanArgs", &format!("--dns={server}")));
    install(&mut unit);
    unit
}

/// The network with the names on it, the ports, and a name of its own for the host.
fn connection(unit: &mut Unit, endpoint: &Endpoint) {
    let aliases: Vec<_> = endpoint.aliases.iter().map(|alias| format!("alias={alias}")).collect();
    let options = if aliases.is_empty() { String::new() } else { format!(":{}", aliases.join(",")) };
    unit.set("Network", format_args!("{NETWORK}{options}"));
    endpoint.ports.iter().for_each(|port| unit.set("PublishPort", format_args!("{}:{}", port.host, port.container)));
    endpoint.host_name.iter().for_each(|name| unit.word("PodmanArgs", &format!("--add-host={name}:host-gateway")));
}

fn container(subject: &Subject<'_>, launch: &Launch) -> Unit {
    let spec = &launch.container;
    let mut unit = Unit::default();
    unit.section("Unit");
    unit.set("Description", format_args!("airpods service {}", launch.service));
    used(&mut unit, subject, launch);
    unit.section("Container");
    unit.set("ContainerName", &spec.name);
    unit.set("Image", &spec.image);
    match &spec.networking {
        Networking::Own(endpoint) => {
            connection(&mut unit, endpoint);
            endpoint.dns_servers.iter().for_each(|server| unit.set("DNS", server));
        }
        Networking::Pod(pod) => unit.set("Pod", pod_file(pod)),
        Networking::Host => unit.set("Network", "host"),
    }
    settings(&mut unit, spec, launch);
    let stop = subject.habits.stop_timeout.get();
    unit.word("PodmanArgs", &format!("--stop-timeout={stop}"));
    unit.section("Service");
    unit.set("Restart", restart(spec.restart));
    // One that ends at once is started again and again, as podman does it; systemd gives up after five times in 10 s.
    unit.set("RestartSec", 5);
    unit.set("TimeoutStartSec", PULL_SECONDS + subject.habits.startup_timeout.get());
    // podman kills the container when its time is over; systemd would kill podman.
    unit.set("TimeoutStopSec", stop + 30);
    launch.folders.iter().for_each(|folder| {
        unit.words("ExecStartPre", ["/usr/bin/mkdir", "-p", &folder.to_string_lossy()]);
    });
    launch.health.iter().for_each(|health| wait_for_health(&mut unit, subject, health));
    install(&mut unit);
    unit
}

/// What the service uses is started with it and before it, in the order of `start`: a name that does not resolve yet is no
/// name to a program that asks once. Where services use each other in a circle, one of them has to be first: units that are
/// all to be after each other are no order, and systemd leaves one out. Quadlet itself adds no more than the network and the pod,
/// of which a service that is used has its own.
fn used(unit: &mut Unit, subject: &Subject<'_>, launch: &Launch) {
    let launches: Vec<_> = subject.desired.launches.iter().collect();
    let order = ordered(&launches);
    let before = order.iter().take_while(|other| other.service != launch.service).count();
    for (key, others) in [("Wants", order.as_slice()), ("After", order.get(..before).unwrap_or_default())] {
        let used = others.iter().filter(|other| launch.uses.contains(&other.service));
        let units: Vec<_> = used.map(|other| format!("{}.service", unit_name(&other.service))).collect();
        if !units.is_empty() {
            unit.words(key, units.iter().map(String::as_str));
        }
    }
}

fn settings(unit: &mut Unit, spec: &ContainerSpec, launch: &Launch) {
    spec.env.iter().for_each(|(name, value)| unit.word("Environment", &format!("{name}={value}")));
    if !spec.secret_env.is_empty() {
        unit.word("EnvironmentFile", &secret_file(launch));
    }
    spec.mounts.iter().for_each(|mount| volume(unit, mount));
    unit.set("PidsLimit", spec.limits.pids);
    spec.limits.memory.iter().for_each(|bytes| unit.word("PodmanArgs", &format!("--memory={bytes}b")));
    spec.limits.cpus.iter().for_each(|cpus| unit.word("PodmanArgs", &format!("--cpus={cpus}")));
    spec.devices.iter().for_each(|device| unit.word("AddDevice", device));
    if spec.label_disable {
        unit.set("SecurityLabelDisable", true);
    }
    if let Some(entrypoint) = &spec.entrypoint {
        // podman takes a single word or JSON.
        unit.word("PodmanArgs", &format!("--entrypoint={}", serde_json::json!(entrypoint)));
    }
    if let Some(words) = spec.command.as_ref().filter(|words| !words.is_empty()) {
        unit.words("Exec", words.iter().map(String::as_str));
    }
}

fn volume(unit: &mut Unit, mount: &Mount) {
    match mount {
        Mount::Volume { name, target } => bind(unit, name, target, false),
        Mount::Bind { source, target, relabel } => bind(unit, &source.to_string_lossy(), target, *relabel),
    }
}

/// `Volume=` takes what stands there to the end of the line, which is no way to write a path with a space or a colon.
fn bind(unit: &mut Unit, source: &str, target: &Path, relabel: bool) {
    let target = target.to_string_lossy();
    let plain = |path: &str| is_plain(path) && !path.contains([':', ',']);
    if plain(source) && plain(&target) {
        unit.set("Volume", format_args!("{source}:{target}{}", if relabel { ":z" } else { "" }));
    } else {
        let kind = if source.starts_with('/') { "bind" } else { "volume" };
        let shared = if relabel { ",relabel=shared" } else { "" };
        let field = |key: &str, path: &str| format!("\"{key}={}\"", path.replace('"', "\"\""));
        let mount =
            format!("--mount=type={kind},{},{}{shared}", field("source", source), field("destination", &target));
        unit.word("PodmanArgs", &mount);
    }
}

/// Whoever depends on the service waits until it answers, from the host: the image may have no program that asks. One
/// that never answers is left running, as `airpods start` leaves it.
fn wait_for_health(unit: &mut Unit, subject: &Subject<'_>, health: &HealthCheck) {
    let habits = subject.habits;
    let interval = habits.startup_check_interval.ceil().to_string();
    let attempts = (f64::from(habits.startup_timeout.get()) / habits.startup_check_interval.ceil()).ceil().to_string();
    let patience = habits.ping_timeout.to_string();
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
            &patience,
            "--retry",
            &attempts,
            "--retry-delay",
            &interval,
            "--retry-all-errors",
            &url,
        ],
    );
}

fn restart(policy: Restart) -> &'static str {
    match policy {
        Restart::No => "no",
        Restart::OnFailure => "on-failure",
        // What somebody stopped stays stopped with systemd anyhow.
        Restart::Always | Restart::UnlessStopped => "always",
    }
}

fn install(unit: &mut Unit) {
    unit.section("Install");
    unit.set("WantedBy", "default.target");
}

fn unexpressed(launch: &Launch) -> Option<String> {
    let expected = launch.health.as_ref().map(|health| health.expected).filter(|range| !is_success(*range))?;
    Some(format!(
        "`services.{}.health.expected_status`: curl, which waits until the service answers, takes 200 to 399 for an answer and \
         not {expected}",
        launch.service
    ))
}
