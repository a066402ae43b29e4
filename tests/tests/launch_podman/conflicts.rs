//! Starts that must fail: each names the setting at fault, and leaves nothing behind.

use airpods_lab::Background;
use airpods_lab::Place;

use crate::host::{ALONE, Host, service};

fn two() -> String {
    format!("{ALONE}{}{}", service("one", 7001, ""), service("two", 7002, ""))
}

#[test]
fn a_port_that_another_program_has_is_named_before_anything_is_done() {
    let host = Host::new();
    let mut server = host.sandbox.command("lab-probe");
    server.args(["serve-http", "7002"]);
    let _server = Background::start_ready(&mut server, &host.sandbox.log_path("other")).unwrap();
    host.configure(&two());
    let output = host.refuse("start", 1, &["services.two.ports", "7002", "in use", "hint: "]);
    assert!(!output.err.contains("created"), "{}", output.err);
}

#[test]
fn a_port_that_another_container_has_is_named_with_the_container() {
    let host = Host::new();
    host.podman(&format!("run -d --name squatter -p 7001:80 {}", crate::host::IMAGE));
    host.configure(&two());
    host.refuse("start", 1, &["services.one.ports", "7001", "squatter"]);
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_and_nothing_is_half_started() {
    let host = Host::new();
    let broken = service("two", 7002, "").replace(crate::host::IMAGE, "127.0.0.1:1/nobody/nothing:1");
    host.configure(&format!("{ALONE}{}{broken}", service("one", 7001, "")));
    host.refuse("start", 1, &["services.two.image", "127.0.0.1:1/nobody/nothing:1", "connection refused"]);
}

#[test]
fn a_program_that_is_not_in_the_image_is_named_and_everything_is_undone() {
    let host = Host::new();
    let broken = service(
        "two",
        7002,
        "entrypoint_override = [\"/no/such/program\"]\npod = \"two\"\n\
                                       volumes.v = { source = \"fresh\", target = \"/v\" }",
    );
    host.configure(&format!("{ALONE}{}{broken}", service("one", 7001, "")));
    host.refuse("start", 1, &["services.two", "two-0", "/no/such/program"]);
}

#[test]
fn a_container_that_ends_at_once_is_reported_with_the_end_of_its_log() {
    let host = Host::new();
    let broken = service("two", 7002, "").replace("\"serve-http\", \"7002\"", "\"resolve\", \"nowhere.invalid\"");
    let both = format!("{}{broken}", service("one", 7001, ""));
    // A container that podman restarts no longer has its exit code.
    host.configure(&format!("{ALONE}{both}"));
    host.refuse("start", 1, &["services.two", "two-0", "ended", "log: "]);
    host.configure(&format!("runtime.restart_policy = \"no\"\n{ALONE}{both}"));
    host.refuse("start", 1, &["services.two", "two-0", "ended with exit code 1", "log: "]);
}

#[test]
fn names_of_foreign_objects_are_reported_and_left_alone() {
    let host = Host::new();
    host.configure(&two());
    host.podman(&format!("create --name one-0 {}", crate::host::IMAGE));
    host.refuse(
        "start",
        1,
        &["services.one.container", "one-0", "not made by airpods", "services.one.container one-0-airpods"],
    );
    host.podman("rm one-0; podman network create airpods_network");
    host.refuse(
        "start",
        1,
        &["runtime.network_name", "airpods_network", "runtime.network_name airpods_network-airpods"],
    );
}

#[test]
fn a_subnet_that_the_host_uses_is_reported() {
    let host = Host::new();
    host.configure(&format!("{}[runtime.network]\nsubnet = \"192.0.2.0/24\"\n", two()));
    host.refuse("start", 1, &["runtime.network", "192.0.2.0/24", "hint: "]);
}

#[test]
fn an_unknown_service_is_a_usage_error_with_the_nearest_name() {
    let host = Host::new();
    host.configure(&two());
    for command in ["start", "stop", "status", "logs"] {
        host.refuse(&format!("{command} twoo"), 2, &["twoo", "did you mean `two`?"]);
    }
    host.refuse("start comfyui", 2, &["switched off", "services.comfyui.enabled = true"]);
}

#[test]
fn removal_without_a_terminal_needs_the_yes_option() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    host.refuse("stop --remove", 2, &["--yes"]);
}

#[test]
fn without_podman_one_sentence_reports_it() {
    let host = Host::new();
    host.configure(&two());
    let mut command = host.user.command("env");
    command.args(["PATH=/nowhere", "/usr/bin/airpods", "status"]).env("AIRPODS_CONFIG", "/etc/airpods-test.toml");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(stderr.starts_with("error: podman is not installed\nhint: "), "{stderr}");
}
