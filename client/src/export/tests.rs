//! Compares exported files with those in `tests/`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stacks;

use std::path::Path;

use super::kube::Workload;
use super::*;
use crate::plan::tests::config;
use crate::secret::Secret;

/// Every setting.
const EVERYTHING: &str = r#"
[runtime]
network_name = "lab"
host_gateway = "workstation"
restart_policy = "on-failure"
gpu_device_flag = "nvidia.com/gpu=all"
[runtime.network]
driver = "bridge"
subnet = "10.77.0.0/24"
gateway = "10.77.0.1"
dns_servers = ["192.0.2.53"]
ipv6 = true
internal = true
mtu = 1380
[cli]
stop_timeout = 20
startup_timeout = 60
startup_check_interval = 1.5
[services.ollama]
enabled = false
[services.open-webui]
enabled = false
[services.comfyui]
enabled = false
[services.model]
image = "docker.io/lab/model:1"
network_aliases = ["model", "llm"]
pids_limit = 99
ports = [{ host = 7001, container = 80 }, { host = 7002, container = 81 }]
volumes.weights = { source = "lab_weights", target = "/weights" }
volumes.own = { source = "bind://own", target = "/own" }
volumes.shared = { source = "/srv/my models", target = "/models" }
resources = { memory = "1536m", cpus = 1.5 }
health = { path = "/up", expected_status = [200, 204] }
entrypoint_override = ["/bin/model", "--in place"]
command_args = ["serve", "$(URL) 50%"]
sysctls = { "net.core.somaxconn" = 1024, "net.ipv4.ip_local_port_range" = "1024 65000" }
env = { QUOTED = "\"$HOME\" 50%", URL = "http://{{runtime.host_gateway}}:{{services.model.ports.0.host}}" }
[services.web]
image = "docker.io/lab/web:1"
pod = "front"
network_aliases = ["web"]
ports = { host = 7003, container = 80 }
gpu.enabled = false
needs_webui_secret = true
secret_env = { OPENAI_API_KEY = "file:/keys/openai", HF_TOKEN = "podman:hf" }
working_dir = "/app"
tmpfs = ["/cache:size=64m", "/scratch"]
ulimits = { nofile = 65536 }
privileged = true
[services.side]
image = "docker.io/lab/side:1"
pod = "front"
ports = { host = 7004, container = 82 }
gpu.enabled = false
env = { MODEL = "http://llm/", WEB = "http://web" }
[services.paint]
image = "docker.io/lab/paint:1"
network_mode = "host"
ports = { host = 7005, container = 7005 }
gpu.enabled = false
health = { path = "/", interval = "10s", timeout = "3s", retries = 5, start_period = "5m" }
"#;

fn exported(names: &[&str], with_secret: bool, export: impl Fn(&ExportSet<'_>) -> Export) -> Export {
    let config = config(EVERYTHING);
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut set = ExportSet::of(&config, &names, &HostContext::default()).unwrap();
    if with_secret {
        let value = |source| (Secret::new("5ec4e7".to_owned()), source);
        set.secrets = set.desired.secret_sources().into_iter().map(value).collect();
    }
    export(&set)
}

/// Compares with a file in `tests/`. `UPDATE=1 cargo test` writes that file, so that a diff shows
/// the change.
#[track_caller]
fn is_as_in(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export/tests").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
}

fn together(export: &Export) -> String {
    let files = export
        .files
        .iter()
        .map(|file| format!("# {}{}\n{}", file.name, if file.private { ", private" } else { "" }, file.text));
    let warnings = export.warnings.iter().map(|warning| format!("# warning: {warning}\n")).collect::<Vec<_>>().concat();
    files.chain([warnings]).collect::<Vec<_>>().join("\n")
}

#[test]
fn quadlet_units_carry_every_setting() {
    is_as_in("quadlet.txt", &together(&exported(&[], true, quadlet::export)));
}

/// The `Wants=` and `After=` lines of a service's unit.
fn order(export: &Export, service: &str) -> Vec<String> {
    let name = format!("airpods-{service}.container");
    let unit = export.files.iter().find(|file| file.name == name).unwrap();
    let lines = unit.text.lines().filter(|line| line.starts_with("Wants=") || line.starts_with("After="));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_unit_is_started_with_and_after_those_of_the_services_that_it_uses() {
    let export = exported(&[], true, quadlet::export);
    let used = "airpods-model.service airpods-web.service";
    assert_eq!(order(&export, "side"), [format!("Wants={used}"), format!("After={used}")]);
    assert_eq!(order(&export, "model"), [] as [&str; 0]);
    let alone = exported(&["side", "web"], true, quadlet::export);
    assert_eq!(order(&alone, "side"), ["Wants=airpods-web.service", "After=airpods-web.service"], "no unit of `model`");
}

/// systemd leaves a unit out if each of two has to start after the other.
#[test]
fn of_two_units_that_use_each_other_only_one_is_started_after_the_other() {
    let config = config("services.ollama.env.WEB = 'http://open-webui:8080'");
    let names = ["ollama", "open-webui"].map(str::to_owned);
    let export = quadlet::export(&ExportSet::of(&config, &names, &HostContext::default()).unwrap());
    let (first, second) = (order(&export, "open-webui"), order(&export, "ollama"));
    assert_eq!(first, ["Wants=airpods-ollama.service"]);
    assert_eq!(second, ["Wants=airpods-open-webui.service", "After=airpods-open-webui.service"]);
}

#[test]
fn kubernetes_pods_carry_every_setting_that_they_can() {
    is_as_in("pods.yaml", &together(&exported(&[], true, |set| kube::export(set, Workload::Pod))));
}

#[test]
fn deployments_carry_the_same() {
    let deployments = exported(&["model"], false, |set| kube::export(set, Workload::Deployment));
    is_as_in("deployment.yaml", &together(&deployments));
}

#[test]
fn the_built_in_services_look_as_the_documentation_shows_them() {
    let config = crate::config::parse(None, None).unwrap().config;
    let set = ExportSet::of(&config, &["ollama".to_owned()], &HostContext::default()).unwrap();
    let documentation = include_str!("../../../docs/export.md");
    for file in quadlet::export(&set).files {
        assert!(documentation.contains(&format!("```ini\n# {}\n\n{}```", file.name, file.text)), "{}", file.text);
    }
}

#[test]
fn a_secret_stands_in_private_files_only_and_is_missed_where_there_are_none() {
    type Exporter = fn(&ExportSet<'_>) -> Export;
    let exporters: [Exporter; 2] = [quadlet::export, |set| kube::export(set, Workload::Pod)];
    for export in exporters {
        let with = exported(&["web"], true, export);
        assert!(with.files.iter().any(|file| file.text.contains("5ec4e7")));
        assert!(with.files.iter().all(|file| file.private == file.text.contains("5ec4e7")));
        let without = exported(&["web"], false, export);
        assert!(without.files.iter().all(|file| !file.private));
        assert!(without.warnings.iter().any(|warning| warning.contains("its owner alone")), "{:?}", without.warnings);
        let other = exported(&["model"], true, export);
        assert!(other.files.iter().all(|file| !file.private), "a service that has no secret");
    }
}

#[test]
fn services_that_are_not_asked_for_leave_nothing_behind_in_a_common_pod() {
    let export = exported(&["web"], true, quadlet::export);
    let names: Vec<_> = export.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["airpods_network.network", "airpods_front.pod", "airpods-web.container", "airpods-web.env"]);
    assert!(!together(&export).contains("7004"));
}

#[test]
fn services_on_the_hosts_network_alone_need_no_other() {
    let export = exported(&["paint"], false, quadlet::export);
    assert_eq!(export.files.len(), 1);
    let export = exported(&["paint"], false, |set| kube::export(set, Workload::Pod));
    assert_eq!(export.warnings.len(), 1, "the limit of processes alone: {:?}", export.warnings);
}

#[test]
fn servers_looked_up_at_every_start_are_reported() {
    assert_eq!(warnings(&config("runtime.network.dns_servers = 'auto'")).len(), 1);
    assert_eq!(warnings(&config("")).len(), 0);
}

#[test]
fn ambiguous_texts_are_quoted_in_yaml() {
    for text in [
        "true",
        "1.5",
        "0x1f",
        "null",
        "~",
        "yes",
        "on",
        "1e3",
        "0o17",
        "2026-11-25",
        "a: b",
        "# x",
        "- x",
        " x",
        "",
        "@x",
    ] {
        let written = serde_saphyr::to_string(&serde_json::json!({ "key": text })).unwrap();
        assert!(written.contains(['"', '\'']), "{written}");
    }
}

#[test]
fn a_label_is_what_kubernetes_takes() {
    for (name, expected) in [
        ("open-webui", "open-webui"),
        ("airpods_ollama_data", "airpods-ollama-data"),
        ("My.Service_", "my-service"),
        ("___", "x"),
    ] {
        assert_eq!(kube::label(name), expected);
    }
    assert_eq!(kube::label(&"a".repeat(80)).len(), 63);
}

#[test]
fn paths_that_look_alike_have_labels_of_their_own() {
    let [one, other] = ["/srv/models/a", "/srv/models_a"].map(|path| kube::of_path(Path::new(path)));
    assert_ne!(one, other);
    assert!(one.starts_with("srv-models-a-"), "{one}");
    assert!(kube::of_path(Path::new(&format!("/{}", "ä".repeat(100)))).len() <= kube::MAX);
}
