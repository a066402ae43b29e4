//! One exit code for one cause: each cause is met by every command that can meet it.

use std::fs;
use std::path::Path;

use crate::airpods;

/// The commands that read the configuration, and stop if it is wrong.
const CONFIGURED: [&str; 14] = [
    "start",
    "start --dry-run",
    "start --pre-fetch",
    "stop",
    "restart",
    "status",
    "open open-webui",
    "logs",
    "clean --pods --yes",
    "config validate",
    "config show",
    "config get cli.verbose",
    "export quadlet",
    "export kube",
];

/// The code that a command ends with, which says what is wrong in one line, and the hint below it.
#[track_caller]
fn ends(home: &Path, command: &str, code: i32, words: &str) {
    // There is no podman in this PATH, and no bus.
    let bus = format!("unix:path={}/no-bus", home.display());
    let output = airpods(home, command).env("PATH", home).env("DBUS_SYSTEM_BUS_ADDRESS", bus).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "airpods {command}: {stderr}");
    assert!(stderr.contains("error: ") && stderr.contains(words), "airpods {command}: {stderr}");
}

fn home_with(config: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/airpods");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), config).unwrap();
    home
}

#[test]
fn a_wrong_configuration_is_10_for_every_command_that_needs_it() {
    let (not_toml, wrong) = (home_with("cli = = 3"), home_with("cli = 3"));
    for command in CONFIGURED {
        ends(not_toml.path(), command, 10, "this is not TOML");
        ends(wrong.path(), command, 10, "`cli`");
    }
    ends(not_toml.path(), "config set cli.verbose true", 10, "this is not TOML");
}

#[test]
fn a_missing_configuration_is_10_by_option_and_by_variable() {
    let home = tempfile::tempdir().unwrap();
    for command in CONFIGURED.into_iter().chain(["config set cli.verbose true"]) {
        ends(home.path(), &format!("--config /nonexistent.toml {command}"), 10, "`--config`");
    }
}

#[test]
fn a_name_that_does_not_exist_is_2_for_every_command_that_takes_one() {
    let home = home_with("");
    let of_services =
        ["start", "start --pre-fetch", "restart", "open", "logs", "net check", "export quadlet", "export kube"];
    for command in of_services {
        ends(home.path(), &format!("{command} nope"), 2, "there is no service `nope`");
    }
    for (command, words) in [
        ("config get nope", "`nope` has no value"),
        ("config get services.nope", "`services.nope` has no value"),
        ("import nope.yml", "nope.yml"),
        ("completions nope", "nope"),
        ("net clamp on no/pe", "no/pe"),
        ("net clamp off no/pe", "no/pe"),
        ("status --nope", "--nope"),
        ("nope", "nope"),
    ] {
        ends(home.path(), command, 2, words);
    }
}

#[test]
fn a_podman_that_is_missing_is_1_for_every_command_that_needs_it() {
    let home = home_with("");
    for command in &CONFIGURED[..9] {
        ends(home.path(), command, 1, "podman is not installed");
    }
}

#[test]
fn a_bus_that_is_missing_is_3_for_every_command_that_needs_the_helper() {
    let home = home_with("");
    for command in [
        "net clamp on",
        "net clamp on wg0",
        "net clamp off",
        "net clamp off wg0",
        "net clamp reset",
        "net clamp status",
    ] {
        ends(home.path(), command, 3, "bus");
    }
}

#[test]
fn a_question_without_a_terminal_is_2_and_a_file_in_the_way_is_1() {
    let home = home_with("");
    fs::write(home.path().join("c.yml"), "services: { a: { image: docker.io/x/y:1 } }").unwrap();
    fs::write(home.path().join("there"), "").unwrap();
    ends(home.path(), "config reset", 2, "confirmation");
    for command in ["config init", "import c.yml -o there", "export kube -o there"] {
        ends(home.path(), command, 1, "exists");
    }
}
