//! The effect of `runtime.network.mss_clamp` behind a VPN that is narrower than the network.

use std::process::Stdio;
use std::time::{Duration, Instant};

use airpods_lab::{CommandOutput, Place, client, terminal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::Host;

/// The end of every confirmation prompt.
const QUESTION: &str = "[y/N]";

/// Types `airpods start` in a terminal, and these keys at the prompt.
fn at_the_question(host: &Host, keys: &str) -> String {
    terminal::once_shown(&host.user, &client::line("start"), QUESTION, || keys.to_owned()).unwrap()
}

#[test]
fn with_require_a_start_is_all_it_takes_for_large_transfers_and_with_off_they_hang() {
    let host = Host::new();
    host.configure("mss_clamp = \"off\"");
    let output = host.succeed("start").err;
    assert!(!output.contains("VPN"), "it was to be silent: {output}");
    assert!(host.transfers().all_hung());
    assert!(!host.clamped());
    assert!(host.succeed("status").out.contains("bridge -> wg0 (1380), not clamped"));
    host.configure("mss_clamp = \"require\"");
    let output = host.succeed("start").err;
    assert!(output.contains("`model` is running already") && output.contains("`wg0` is clamped"), "{output}");
    assert!(host.clamped());
    assert!(host.transfers().all_completed());
    let path = &host.status()["services"][0]["path"];
    let told = ["kind", "link", "mtu", "network_mtu", "verdict", "clamped"].map(|key| path[key].clone());
    assert_eq!(serde_json::json!(told), serde_json::json!(["bridge", "wg0", 1380, 1500, "clamp-helps", true]));
}

#[test]
fn on_a_terminal_a_start_asks_one_question_and_not_again_once_the_link_is_clamped() {
    let host = Host::new();
    host.configure("");
    let first = at_the_question(&host, "y\n");
    assert!(first.contains("code=0") && first.matches(QUESTION).count() == 1, "{first}");
    for part in ["`wg0` has MTU 1380", "1500", "transfers of model", "`wg0` is clamped"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(host.transfers().all_completed());
    let second = at_the_question(&host, "n\n");
    assert!(second.contains("code=0") && !second.contains(QUESTION), "{second}");
    host.succeed("net clamp off");
    let third = at_the_question(&host, "n\n");
    assert!(third.contains("code=0") && third.contains("hint: `airpods net clamp on`"), "{third}");
    assert!(!host.clamped(), "a no was taken for a yes");
}

#[test]
fn without_a_terminal_a_start_prints_the_next_step_and_changes_no_rule() {
    let host = Host::new();
    host.configure("");
    let planned = host.succeed("start --dry-run").err;
    assert!(planned.contains("would offer to clamp"), "{planned}");
    let output = host.succeed("start").err;
    for part in ["note: the VPN `wg0`", "hint: `airpods net clamp on`", "runtime.network.mtu 1380"] {
        assert!(output.contains(part), "{part}: {output}");
    }
    assert!(!host.clamped());
}

#[test]
fn without_the_helper_require_starts_nothing_and_auto_names_the_cure_that_needs_none() {
    let host = Host::without_helper("root");
    let before = host.inventory();
    host.configure("mss_clamp = \"require\"");
    let output = host.airpods("start");
    assert_eq!(output.code, 3, "{output:?}");
    for part in ["error: `runtime.network.mss_clamp` is \"require\" and `wg0` cannot be clamped", "hint: "] {
        assert!(output.err.contains(part), "{part}: {}", output.err);
    }
    assert_eq!(host.inventory(), before, "something was started");
    host.configure("mss_clamp = \"auto\"");
    let output = host.succeed("start").err;
    let cure = "`airpods config set runtime.network.mtu 1380`, then `airpods start --reset-network`";
    assert!(output.contains("it cannot be clamped: ") && output.contains(cure), "{output}");
    assert!(host.transfers().all_hung());
    // Applies the cure that airpods suggested.
    host.configure("mtu = 1380");
    let output = host.succeed("start --reset-network").err;
    assert!(!output.contains("VPN"), "there is nothing left to say: {output}");
    assert!(host.transfers().all_completed());
}

#[test]
fn without_the_right_to_clamp_require_fails_as_denied_and_starts_nothing() {
    let host = Host::new();
    host.configure("mss_clamp = \"require\"");
    // Lets an ordinary user use root's podman. polkit would need a password of that user.
    let sandbox = host.world.sandbox();
    let socket = "/run/podman/podman.sock";
    let _service = sandbox.serve_podman(sandbox.root_user(), socket, airpods_lab::TIMEOUT).unwrap();
    sandbox.sh("chmod 666 /run/podman/podman.sock").unwrap();
    let before = host.inventory();
    let mut start = client::command(&sandbox.as_user("alice"), "start");
    let output = CommandOutput::of(start.env("CONTAINER_HOST", "unix:///run/podman/podman.sock")).unwrap();
    assert!(output.code == 4 && output.err.contains("`wg0` cannot be clamped, so nothing was started"), "{output:?}");
    assert_eq!(host.inventory(), before, "something was started");
}

#[test]
fn rootless_traffic_and_the_hosts_own_are_reported_to_need_no_clamp() {
    let host = Host::without_helper("alice");
    host.configure("mss_clamp = \"require\"");
    let output = host.succeed("start").err;
    assert!(
        output.contains("by sockets of the host (slirp4netns), which know that MTU: no clamp is needed"),
        "{output}"
    );
    assert!(host.transfers().all_completed());
    let path = &host.status()["services"][0]["path"];
    assert_eq!(
        (path["kind"].as_str(), path["verdict"].as_str()),
        (Some("slirp4netns"), Some("host-sockets")),
        "{path}"
    );
}

#[test]
fn a_start_that_fails_after_clamping_reports_that_the_clamp_stays() {
    let host = Host::new();
    host.configure("mss_clamp = \"require\"");
    host.world.sandbox().sh("sed -i s/serve-http/serve-nothing/ /etc/airpods-test.toml").unwrap();
    let before = host.inventory();
    let failed = || {
        let output = host.airpods("start");
        assert!(output.code == 1 && output.err.contains("while it was starting"), "{output:?}");
        assert_eq!(host.inventory(), before, "something was left");
        output.err.contains("every VPN link is clamped now, and stays so; `airpods net clamp off` ends that")
    };
    assert!(failed());
    assert!(host.clamped());
    assert!(!failed(), "the second one has clamped nothing");
}

#[test]
fn ctrl_c_works_while_the_helper_does_not_answer() {
    let host = Host::new();
    host.configure("");
    host.succeed("net clamp status");
    let sandbox = host.world.sandbox();
    let owner =
        "busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s org.airpods.Helper1";
    sandbox.sh(&format!("kill -STOP $({owner} | cut -d' ' -f2)")).unwrap();
    let before = host.inventory();
    let mut start = client::command(&host.user, "start").stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(start.try_wait().unwrap().is_none(), "the premise: it waits for the helper");
    kill(Pid::from_raw(start.id().cast_signed()), Signal::SIGINT).unwrap();
    let asked = Instant::now();
    assert_eq!(start.wait().unwrap().code(), Some(130));
    // The bus would answer after 25 s.
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!(host.inventory(), before);
}
