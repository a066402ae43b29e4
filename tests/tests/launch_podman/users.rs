//! Rootless, and an ordinary user through the rootful socket.

use airpods_lab::{Image, Place, TIMEOUT};

use crate::host::{ALONE, Host, IMAGE, assert_no_process, service};

fn one(more: &str) -> String {
    format!("{ALONE}{more}{}", service("one", 7001, "pids_limit = 100"))
}

#[test]
fn an_ordinary_user_starts_services_with_a_podman_of_their_own() {
    starts_services_of_their_own(&Host::of("alice"));
}

/// The test for the podman of `host`, also used by `podman_5.rs`.
pub(crate) fn starts_services_of_their_own(host: &Host) {
    host.configure(&one(""));
    let output = host.succeed("start");
    assert_eq!(host.status()["services"][0]["health"]["code"], 200, "{}", output.err);
    assert_eq!(host.field("one-0", ".State.Status"), "running");
    let enforced = host.inside("one-0", "pids-max").out.trim() == "100";
    let warned = output.err.contains("warning: `services.one.pids_limit` is not enforced");
    assert!(enforced != warned, "enforced: {enforced}, and said: {}", output.err);
    assert_no_process(host, "podman system service");
    host.succeed("stop --remove --yes");
}

#[test]
fn an_ordinary_user_starts_services_through_the_rootful_socket() {
    start_services_through_the_rootful_socket(&Host::bare("alice"));
}

/// The test for the podman of `host`, also used by `podman_5.rs`. The user must be `alice`.
pub(crate) fn start_services_through_the_rootful_socket(host: &Host) {
    let root = host.sandbox.as_user("root");
    Image::serving(IMAGE, 80).import(&root).unwrap();
    let _service = host.sandbox.serve_podman(&root, "/run/shared/podman.sock", TIMEOUT).unwrap();
    host.configure(&one("runtime.podman_url = \"unix:///run/shared/podman.sock\"\n"));
    host.refuse("start", 1, &["runtime.podman_url", "/run/shared/podman.sock", "hint: "]);
    // Gives a group access to podman, as an administrator would.
    host.sandbox.sh("groupadd podman; usermod --append --groups podman alice").unwrap();
    host.sandbox.sh("chgrp podman /run/shared/podman.sock; chmod 660 /run/shared/podman.sock").unwrap();
    host.succeed("start");
    assert_eq!(root.sh("podman ps --format '{{.Names}}'").unwrap(), "one-0");
    let limit = root.sh("podman exec one-0 /lab-probe pids-max").unwrap();
    assert_eq!(limit, "100");
    host.succeed("stop --remove --yes");
    assert_eq!(root.sh("podman ps -a --format '{{.Names}}'").unwrap(), "");
}

#[test]
fn a_socket_from_the_environment_is_used_and_another_kind_of_address_reported() {
    let host = Host::bare("alice");
    host.configure(&one(""));
    let mut command = host.command("status");
    let output = command.env("CONTAINER_HOST", "ssh://far.example").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("CONTAINER_HOST") && stderr.contains("ssh://far.example"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}
