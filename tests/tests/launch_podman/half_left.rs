//! The state after a hard reset: in podman's database a container runs, but its processes are gone.

use airpods_lab::Place;
use serde_json::Value;

use crate::host::{ALONE, Host, service};

/// Kills a container's process, and first conmon, which would report the exit to podman.
fn reset(host: &Host, container: &str) {
    for field in [".State.ConmonPid", ".State.Pid"] {
        host.sandbox.sh(&format!("kill -9 {}", host.field(container, field))).unwrap();
    }
}

fn state(host: &Host, service: &str) -> Value {
    let status = host.status();
    let rows = status["services"].as_array().unwrap();
    rows.iter().find(|row| row["service"] == service).unwrap()["status"].clone()
}

#[test]
fn a_start_gets_over_containers_and_pods_whose_processes_vanished_and_status_and_doctor_say_so() {
    let host = Host::new();
    let in_pod = format!("{}{}", service("two", 7002, "pod = \"pair\""), service("three", 7003, "pod = \"pair\""));
    host.configure(&format!("{ALONE}{}{in_pod}", service("one", 7001, "")));
    host.succeed("start");
    let infra = host.podman("pod inspect pair --format '{{.InfraContainerID}}'");
    for container in [infra.trim(), "one-0", "two-0", "three-0"] {
        reset(&host, container);
    }
    assert_eq!(host.field("one-0", ".State.Status"), "running", "podman has noticed by itself");

    assert_eq!(state(&host, "one"), "lost");
    let doctor = host.airpods("doctor --json").json().unwrap();
    let codes: Vec<&Value> = doctor["findings"].as_array().unwrap().iter().map(|finding| &finding["code"]).collect();
    assert!(codes.iter().any(|code| **code == "state-improper"), "{codes:?}");

    host.succeed("start --yes");
    for (name, port) in [("one", 7001), ("two", 7002), ("three", 7003)] {
        assert_eq!(state(&host, name), "running");
        host.user.sh(&format!("lab-probe get http://127.0.0.1:{port}/")).unwrap();
    }
    assert!(host.succeed("start --dry-run").out.contains("nothing to do"));
}

#[test]
fn a_frozen_container_needs_confirmation_and_runs_again() {
    let host = Host::new();
    host.configure(&format!("{ALONE}{}", service("one", 7001, "")));
    host.succeed("start");
    host.podman("pause one-0");
    assert_eq!(state(&host, "one"), "paused");
    let (refused, started) = (host.airpods("start"), host.airpods("start --yes"));
    // Unpause first, because a frozen process cannot be killed and the sandbox would never end.
    host.user.sh("podman unpause --all").unwrap();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("paused"), "{refused:?}");
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(state(&host, "one"), "running");
}
