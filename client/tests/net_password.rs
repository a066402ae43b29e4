//! `airpods net clamp` with the real helper, the real polkitd and polkit's real text agent, on a
//! throw-away host: a user without rights in a terminal, as over ssh, where there is no session and
//! no agent but ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Stdio;

use airpods_lab::{Place, Sandbox, terminal};

fn host() -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.install_helper().unwrap();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox
}

/// Runs a shell line in a terminal of its own, and presses `keys` at the password prompt. Returns
/// the text on the screen.
#[track_caller]
fn in_a_terminal(place: &impl Place, line: &str, keys: &str) -> String {
    terminal::in_a_terminal(place, line, keys).unwrap()
}

fn clamped(sandbox: &Sandbox) -> String {
    let json = sandbox.sh("airpods net clamp status --json").unwrap();
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    status["clamps"].as_array().unwrap().iter().map(|clamp| clamp["link"].as_str().unwrap()).collect()
}

/// The shell survives Ctrl-C, which reaches everybody in the terminal.
const CLAMP_ON: &str = "trap : INT; airpods net clamp on wg0; echo code=$?; stty -a";

#[test]
fn a_user_types_an_administrators_password_and_the_link_is_clamped() {
    let sandbox = host();
    let screen = in_a_terminal(&sandbox.as_user("alice"), CLAMP_ON, "password\n");
    assert!(screen.contains("note: this host has no link `wg0`; it has no VPN link"), "{screen}");
    assert!(screen.contains("`wg0` is not up: nothing is clamped now, and it will be"), "{screen}");
    assert!(screen.contains("code=0"), "{screen}");
    assert_eq!(clamped(&sandbox), "wg0");
}

#[test]
fn a_wrong_password_is_a_denial_and_changes_nothing() {
    let sandbox = host();
    let screen = in_a_terminal(&sandbox.as_user("alice"), CLAMP_ON, "not this\n");
    assert!(screen.contains("(AccessDenied)") && screen.contains("code=4"), "{screen}");
    assert_eq!(clamped(&sandbox), "");
}

#[test]
fn control_c_at_the_prompt_ends_it_and_leaves_a_terminal_that_echoes() {
    let sandbox = host();
    let screen = in_a_terminal(&sandbox.as_user("alice"), CLAMP_ON, "\u{3}");
    assert!(screen.contains("code=130") && screen.contains("error: interrupted"), "{screen}");
    assert!(screen.contains(" echo ") && !screen.contains(" -echo "), "{screen}");
    assert_eq!(clamped(&sandbox), "");
}

#[test]
fn without_a_terminal_or_with_no_ask_a_needed_password_is_reported() {
    let sandbox = host();
    for line in ["airpods net clamp on wg0", "airpods net clamp on wg0 --no-ask"] {
        let output = sandbox.as_user("alice").command("sh").args(["-c", line]).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{told}");
        assert!(told.contains("(InteractiveAuthorizationRequired)\nhint: a password is needed"), "{told}");
    }
    assert_eq!(clamped(&sandbox), "");
}

#[test]
fn without_polkit_a_user_is_refused_with_that_reason_and_reads_the_status() {
    let sandbox = host();
    sandbox.stop_polkit().unwrap();
    let alice = sandbox.as_user("alice");
    let output = alice.command("airpods").args(["net", "clamp", "on"]).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{told}");
    assert!(told.contains("(AuthUnavailable)\nhint: start polkit"), "{told}");
    assert_eq!(alice.sh("airpods net clamp status").unwrap().lines().next(), Some("auto: off"));
}
