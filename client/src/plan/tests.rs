#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod half_left;
mod leftover;
mod needs;
mod paths;
mod reading;
mod replacing;
mod secrets;
mod spellings;

use super::*;
use crate::config::{Config, Source};
use crate::execute::{Pace, Silent, execute};
use crate::podman::{Call, ContainerState, Objects, SecretSource, Simulated, Version};
use crate::secret::{Secret, SecretValues};

pub(crate) const OLD: Version = Version { major: 4, minor: 3 };
pub(crate) const NEW: Version = Version { major: 5, minor: 4 };

/// Disables the built-in services, so that a test has only its own.
pub(crate) const ALONE: &str =
    "services.ollama.enabled = false\nservices.open-webui.enabled = false\nservices.comfyui.enabled = false\n";

/// Two services that can find each other, and one on the host's network.
pub(crate) const THREE: &str = r#"
services.ollama.enabled = false
services.open-webui.enabled = false
services.comfyui.enabled = false
[services.model]
image = "docker.io/lab/model:1"
network_aliases = ["model", "llm"]
ports = [{ host = 7001, container = 80 }]
volumes.weights = { source = "weights", target = "/weights" }
[services.web]
image = "docker.io/lab/web:1"
network_aliases = ["web"]
ports = [{ host = 7002, container = 8080 }]
[services.paint]
image = "docker.io/lab/paint:1"
network_mode = "host"
ports = [{ host = 7003, container = 7003 }]
"#;

pub(crate) fn config(toml: &str) -> Config {
    let source = Source::of_file("config.toml".into(), toml.to_owned());
    crate::config::parse(Some(source), Some("/data".as_ref())).unwrap().config
}

pub(crate) fn desired(toml: &str, services: &[&str], version: Version) -> Desired {
    let config = config(toml);
    let names: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
    Desired::from_config(&config, &chosen(&config, &names, false).unwrap(), version, &HostContext::default())
}

/// A simulated podman that has every image.
pub(crate) fn podman(version: Version) -> Simulated {
    let images = ["model", "web", "paint"].map(|name| format!("docker.io/lab/{name}:1"));
    Simulated::new(version, Objects { images: images.into(), ..Objects::default() })
}

pub(crate) const PACE: Pace = Pace {
    sequential: false,
    pulls: 2,
    startup: std::time::Duration::ZERO,
    interval: std::time::Duration::from_millis(1),
    ping: std::time::Duration::from_millis(10),
    stop_seconds: 1,
};

pub(crate) async fn plan(podman: &Simulated, toml: &str, services: &[&str]) -> Result<Plan, Conflict> {
    use crate::podman::Podman;
    let desired = desired(toml, services, podman.version());
    decide(&desired, &observed(podman, &desired).await, NetworkReset::Never)
}

pub(crate) async fn observed(podman: &Simulated, desired: &Desired) -> Observed {
    let mut observed = Observed::for_launch(podman, desired, NetworkReset::Never).await.unwrap();
    // The paths are read from the machine that runs the test.
    observed.paths.clear();
    observed
}

pub(crate) async fn start(podman: &Simulated, toml: &str, services: &[&str]) -> Plan {
    let mut plan = plan(podman, toml, services).await.unwrap();
    plan.ports.clear();
    execute(podman, &plan, &PACE, &Silent, std::future::pending()).await.unwrap();
    plan
}

fn calls(plan: &Plan) -> Vec<String> {
    plan.to_string().lines().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test]
async fn a_first_start_creates_everything_and_shows_the_order() {
    let plan = plan(&podman(NEW), THREE, &[]).await.unwrap();
    let expected = [
        "1. create the network `airpods_network` (bridge)",
        "2. create the volume `weights`",
        "3. create the container `model-0` from `docker.io/lab/model:1` on the network `airpods_network`, as model, llm, \
         ports 7001:80, at most 2048 processes, volume `weights` at /weights, restart unless-stopped (after 1, 2)",
        "4. start the container `model-0` (after 3)",
        "5. check every setting of the container `model-0` (after 4)",
        "6. create the container `web-0` from `docker.io/lab/web:1` on the network `airpods_network`, as web, \
         ports 7002:8080, at most 2048 processes, restart unless-stopped (after 1)",
        "7. start the container `web-0` (after 6)",
        "8. check every setting of the container `web-0` (after 7)",
        "9. create the container `paint-0` from `docker.io/lab/paint:1` on the host's network, \
         at most 2048 processes, restart unless-stopped",
        "10. start the container `paint-0` (after 9)",
        "11. check every setting of the container `paint-0` (after 10)",
    ];
    assert_eq!(calls(&plan), expected);
    let ports: Vec<HostPort> = plan.ports.iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, [7001, 7002, 7003].map(HostPort::tcp));
}

#[tokio::test]
async fn a_second_start_has_nothing_to_do() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let again = plan(&podman, THREE, &[]).await.unwrap();
    assert!(again.is_empty(), "{again}");
    assert_eq!(again.kept.len(), 4, "{:?}", again.kept);
    assert_eq!(again.ports, []);
}

#[tokio::test]
async fn a_stopped_container_with_the_same_settings_is_only_started() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    podman.end("web-0", 0);
    let again = plan(&podman, THREE, &["web"]).await.unwrap();
    assert_eq!(again.to_json()["steps"][0]["action"], "start");
    assert_eq!(again.steps.len(), 2);
}

#[tokio::test]
async fn one_changed_setting_recreates_one_container() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let changed = THREE.replace("[services.web]", "[services.web]\npids_limit = 9");
    start(&podman, &changed, &[]).await;
    let (spec, state) = podman.objects().containers["web-0"].clone();
    assert_eq!((spec.limits.pids, state), (9, ContainerState::Running));
    let removed = podman.calls().into_iter().filter(|call| matches!(call, Call::RemoveContainer(_)));
    assert_eq!(removed.collect::<Vec<_>>(), [Call::RemoveContainer("web-0-former".into())]);
}

#[tokio::test]
async fn nothing_is_stopped_before_the_new_image_is_there() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let plan = plan(&podman, &THREE.replace("lab/web:1", "lab/web:2"), &["web"]).await.unwrap();
    let aside = plan.steps.iter().find(|step| matches!(step.action, Action::SetAside { .. })).unwrap();
    assert_eq!(aside.after, [0]);
    assert_eq!(plan.steps[0].action, Action::Pull("docker.io/lab/web:2".into()));
}

#[tokio::test]
async fn a_pod_is_recreated_together_with_its_containers() {
    let podded = THREE.replace("[services.model]", "[services.model]\npod = \"both\"");
    let podded = podded.replace("[services.web]", "[services.web]\npod = \"both\"");
    let podman = podman(NEW);
    start(&podman, &podded, &[]).await;
    assert_eq!(podman.objects().pods["both"].endpoint.ports.len(), 2);
    start(&podman, &podded.replace("7001", "7009"), &["model"]).await;
    let objects = podman.objects();
    assert_eq!(objects.pods["both"].endpoint.ports[0].host, HostPort::tcp(7009));
    assert_eq!(objects.containers["web-0"].1, ContainerState::Running, "its neighbour did not come back");
}

#[tokio::test]
async fn an_empty_pod_is_removed() {
    let podman = podman(NEW);
    start(&podman, &THREE.replace("[services.web]", "[services.web]\npod = \"alone\""), &[]).await;
    start(&podman, THREE, &[]).await;
    let objects = podman.objects();
    assert!(objects.pods.is_empty());
    assert_eq!(objects.containers["web-0"].1, ContainerState::Running);
}

#[tokio::test]
async fn only_an_old_podman_with_dns_servers_needs_fixed_addresses() {
    let with_dns = format!("runtime.network.dns_servers = [\"192.0.2.53\"]\n{THREE}");
    for (toml, version, pinned) in [(THREE, OLD, false), (&with_dns, NEW, false), (&with_dns, OLD, true)] {
        let desired = desired(toml, &[], version);
        let pins = desired.launches.iter().filter(|launch| match &launch.container.networking {
            crate::podman::Networking::Own(endpoint) => endpoint.fixed_place.is_some(),
            _ => false,
        });
        assert_eq!(pins.count() > 0, pinned, "{version}");
    }
}

#[test]
fn found_servers_are_given_only_with_auto_in_the_configuration() {
    let host_context = HostContext { dns_servers: vec!["192.0.2.53".parse().unwrap()], ..HostContext::default() };
    for (servers, expected) in [("'auto'", "192.0.2.53"), ("['192.0.2.1']", "192.0.2.1"), ("[]", "")] {
        let config = config(&format!("runtime.network.dns_servers = {servers}\n{THREE}"));
        let services = chosen(&config, &["web".to_owned()], false).unwrap();
        let desired = Desired::from_config(&config, &services, NEW, &host_context);
        let crate::podman::Networking::Own(endpoint) = &desired.launches[0].container.networking else { panic!() };
        let given: Vec<_> = endpoint.dns_servers.iter().map(ToString::to_string).collect();
        assert_eq!(given.join(" "), expected, "{servers}");
    }
}

#[tokio::test]
async fn fixed_addresses_are_in_every_hosts_file_and_independent_of_the_started_services() {
    let toml = format!("runtime.network.dns_servers = [\"192.0.2.53\"]\n{THREE}");
    let podman = podman(OLD);
    start(&podman, &toml, &["web"]).await;
    let alone = podman.objects().containers["web-0"].0.clone();
    let crate::podman::Networking::Own(endpoint) = &alone.networking else { panic!("{alone:?}") };
    let fixed = endpoint.fixed.clone().unwrap();
    assert_eq!(fixed.address.to_string(), "10.89.0.253");
    let hosts: Vec<String> = fixed.hosts.iter().map(|(name, address)| format!("{name}={address}")).collect();
    assert_eq!(
        hosts,
        ["model=10.89.0.254", "llm=10.89.0.254", "model-0=10.89.0.254", "web=10.89.0.253", "web-0=10.89.0.253"]
    );
    start(&podman, &toml, &[]).await;
    assert_eq!(podman.objects().containers["web-0"].0, alone);
}

#[tokio::test]
async fn a_network_with_other_settings_is_a_conflict_that_names_each() {
    let podman = podman(NEW);
    start(&podman, &format!("runtime.network.subnet = \"10.7.0.0/24\"\n{THREE}"), &[]).await;
    let other = format!("runtime.network = {{ subnet = \"10.8.0.0/24\", internal = true }}\n{THREE}");
    let conflict = plan(&podman, &other, &[]).await.unwrap_err();
    assert_eq!(
        conflict.to_string(),
        "the network `airpods_network` exists with other settings: \
         `runtime.network.internal` is `true` in the configuration and `false` in podman, \
         `runtime.network.subnet` is `10.8.0.0/24` in the configuration and `10.7.0.0/24` in podman"
    );
    // A setting that is left to podman matches any value.
    assert!(plan(&podman, THREE, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_foreign_object_under_our_name_is_a_conflict() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let mut objects = podman.objects();
    objects.containers.get_mut("web-0").unwrap().0.labels.clear();
    let conflict = plan(&Simulated::new(NEW, objects), THREE, &["web"]).await.unwrap_err();
    let name = "web-0".to_owned();
    assert_eq!(conflict, Conflict::NotOurs { place: "services.web.container".into(), kind: Kind::Container, name });
}

#[tokio::test]
async fn a_port_of_a_foreign_container_is_a_conflict_and_our_own_is_not() {
    let podman = podman(NEW);
    start(&podman, THREE, &["model"]).await;
    let changed = THREE.replace("[services.model]", "[services.model]\npids_limit = 9");
    assert_eq!(plan(&podman, &changed, &["model"]).await.unwrap().ports, []);
    let stolen = THREE
        .replace("host = 7002", "host = 7001")
        .replace("host = 7001, container = 80 }]\nvol", "host = 7009, container = 80 }]\nvol");
    let conflict = plan(&podman, &stolen, &["web"]).await.unwrap_err();
    assert_eq!(
        conflict,
        Conflict::PortHeld { service: "web".into(), port: HostPort::tcp(7001), holder: "model-0".into() }
    );
}

#[tokio::test]
async fn an_additional_port_of_a_recreated_pod_must_be_free() {
    let podded = THREE.replace("[services.model]", "[services.model]\npod = \"alone\"");
    let podman = podman(NEW);
    start(&podman, &podded, &["model"]).await;
    let same = podded.replace("[services.model]", "[services.model]\nnetwork_aliases = [\"other\"]");
    let same = same.replace("network_aliases = [\"model\", \"llm\"]\n", "");
    assert_eq!(plan(&podman, &same, &["model"]).await.unwrap().ports, []);
    let moved = plan(&podman, &podded.replace("7001", "7009"), &["model"]).await.unwrap();
    assert_eq!(moved.ports, [("model".to_owned(), HostPort::tcp(7009))]);
}

#[tokio::test]
async fn a_network_that_a_foreign_container_uses_is_not_recreated() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let mut objects = podman.objects();
    let mut strangers = objects.containers["web-0"].clone();
    strangers.0.name = "strangers".into();
    strangers.0.labels.clear();
    objects.containers.insert("strangers".into(), strangers);
    let podman = Simulated::new(NEW, objects);
    let desired = desired(&format!("runtime.network.internal = true\n{THREE}"), &[], NEW);
    let conflict = decide(&desired, &observed(&podman, &desired).await, NetworkReset::Proposed).unwrap_err();
    assert_eq!(
        conflict.to_string(),
        "the network `airpods_network` cannot be recreated: the container `strangers` is on it"
    );
}

#[test]
fn an_unknown_service_is_reported_with_the_nearest_name() {
    let config = config(THREE);
    let unknown = |name: &str| chosen(&config, &[name.to_owned()], false).unwrap_err();
    assert_eq!(unknown("modle"), UnknownService::Unknown { name: "modle".into(), nearest: Some("model".into()) });
    assert_eq!(unknown("zebra-crossing"), UnknownService::Unknown { name: "zebra-crossing".into(), nearest: None });
    assert_eq!(unknown("comfyui"), UnknownService::Disabled("comfyui".into()));
}

#[tokio::test]
async fn stopping_ends_what_runs_and_removal_ends_with_the_network() {
    let podman = podman(NEW);
    start(&podman, &THREE.replace("[services.web]", "[services.web]\npod = \"alone\""), &["web", "model"]).await;
    let observed = Observed::of(&podman, [].into()).await.unwrap();
    let services = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let shown = |plan: &Stop| plan.stages.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
    let config = config(THREE);
    let stopping = |names: &[&str], remove: bool| {
        let present = Present::of(&config, &services(names), &observed.containers).unwrap();
        stop(&present, &observed, remove, "airpods_network")
    };
    let plan = stopping(&["web", "paint"], false);
    let stopped = Teardown::Stop { service: "web".into(), container: "web-0".into(), started_at: Some(1_000_000_000) };
    assert_eq!(plan.stages, [vec![stopped], vec![Teardown::StopPod("alone".into())]]);
    assert_eq!(plan.idle, services(&["paint"]));
    let part = shown(&stopping(&["web"], true));
    assert_eq!(part[1..], ["remove the container `web-0`", "remove the pod `alone`"]);
    let all = shown(&stopping(&["web", "model", "paint"], true));
    assert_eq!(all.last().map(String::as_str), Some("remove the network `airpods_network`"));
}

#[test]
fn a_secret_is_in_no_plan_until_it_is_given() {
    let toml = THREE.replace("[services.web]", "[services.web]\nneeds_webui_secret = true");
    let desired = desired(&toml, &["web"], NEW);
    let mut plan = decide(&desired, &Observed::default(), NetworkReset::Never).unwrap();
    let variable = crate::webui_secret::VARIABLE;
    assert_eq!(plan.secret_sources(), [SecretSource::WebUi].into());
    let labels = desired.launches[0].container.labels.clone();
    plan.give_secrets(&SecretValues::from_iter([(Secret::new("s3cret".to_owned()), SecretSource::WebUi)]));
    assert!(!plan.to_string().contains("s3cret") && !plan.to_json().to_string().contains("s3cret"));
    let made = plan.steps.iter().find_map(|step| match &step.action {
        Action::CreateContainer(spec) => Some(spec),
        _ => None,
    });
    assert_eq!(made.unwrap().env[variable], "s3cret");
    assert_eq!(made.unwrap().labels, labels, "its digest must not depend on the secret");
}

#[tokio::test]
async fn every_image_is_pulled_before_anything_is_made() {
    let podman =
        Simulated::new(NEW, Objects { images: ["docker.io/lab/web:1".to_owned()].into(), ..Objects::default() });
    let toml =
        THREE.replace("network_aliases = [\"web\"]", "volumes.kept = \"kept:/kept\"\nvolumes.host = \"/srv/x:/host\"");
    let job = "[services.job]\nimage = \"docker.io/lab/job:1\"\npod = \"p\"\n";
    let plan = plan(&podman, &format!("{toml}{job}"), &[]).await.unwrap();
    assert_eq!(plan.pull_size().images, 3, "{plan}");
    let mut made = 0;
    for (index, step) in plan.steps.iter().enumerate() {
        if let Action::CreateNetwork(_) | Action::CreateVolume(_) | Action::CreateFolder(_) | Action::CreatePod(_) =
            step.action
        {
            made += 1;
            let pulls = before(&plan, index).into_iter().filter(|&at| matches!(plan.steps[at].action, Action::Pull(_)));
            assert_eq!(pulls.count(), 3, "{}: {plan}", step.action);
        }
    }
    assert_eq!(made, 4, "{plan}");
}

/// The steps that a step waits for, directly or through others.
fn before(plan: &Plan, index: usize) -> BTreeSet<usize> {
    let mut all = BTreeSet::new();
    let mut open = plan.steps[index].after.clone();
    while let Some(next) = open.pop() {
        if all.insert(next) {
            open.extend(&plan.steps[next].after);
        }
    }
    all
}
