//! `airpods config` and the ends of every command: what a person and a script see.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the command with `home` as everything the environment says.
fn airpods(home: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airpods"));
    command.args(arguments.split_whitespace()).env_clear().env("HOME", home).current_dir(home).stdin(Stdio::null());
    command
}

#[track_caller]
fn told(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let found = (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(found, (Some(code), stdout.to_owned(), stderr.to_owned()));
}

#[test]
fn init_writes_a_file_that_is_found_valid_and_the_same_as_the_defaults() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &str| airpods(home.path(), arguments).output().unwrap();
    told(&run("config path"), 0, "", "there is no configuration file, the built-in defaults are used\n");
    told(&run("config path --json"), 0, "{\n  \"file\": null\n}\n", "");
    let defaults = run("config show").stdout;

    let file = home.path().join(".config/airpods/config.toml").display().to_string();
    told(&run("config init"), 0, "", &format!("created {file}\n"));
    told(&run("config path"), 0, &format!("{file}\n"), "");
    told(&run("config init"), 1, "", &format!("error: `{file}` exists\nhint: `--force` replaces it\n"));
    fs::write(&file, "x").unwrap();
    told(&run("config init -f"), 0, "", &format!("created {file}\n"));

    told(&run("config show"), 0, &String::from_utf8(defaults).unwrap(), "");
    let files = fs::read_dir(home.path().join(".config/airpods")).unwrap().count();
    assert_eq!(files, 1, "nothing temporary is left");
}

#[test]
fn show_prints_json_in_both_spellings() {
    let home = tempfile::tempdir().unwrap();
    for arguments in ["config show --json", "config show -f json"] {
        let output = airpods(home.path(), arguments).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["services"]["open-webui"]["env"]["OLLAMA_BASE_URL"], "http://ollama:11434");
    }
}

#[test]
fn a_wrong_file_is_told_with_its_place_and_ends_with_its_own_code() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("my.toml"), "[runtime]\nnetwork_nme = \"x\"\n").unwrap();
    let expected = "error: unknown key `network_nme` in `runtime`\n  --> my.toml:2:1\n   |\n 2 | network_nme = \"x\"\n   \
                    | ^^^^^^^^^^^\nhint: did you mean `network_name`?\n";
    for arguments in ["config validate", "config show", "config validate --json", "start --dry-run", "status"] {
        let output = airpods(home.path(), &format!("--config my.toml {arguments}")).output().unwrap();
        told(&output, 10, "", expected);
    }
    told(&airpods(home.path(), "--config my.toml config path").output().unwrap(), 0, "my.toml\n", "");
}

#[test]
fn a_file_that_is_named_must_exist() {
    let home = tempfile::tempdir().unwrap();
    let output = airpods(home.path(), "config show").env("AIRPODS_CONFIG", "/nonexistent.toml").output().unwrap();
    let expected = "error: there is no file `/nonexistent.toml`, which `$AIRPODS_CONFIG` names\n\
                    hint: `airpods config init` creates one\n";
    told(&output, 10, "", expected);
}

#[test]
fn a_configuration_of_the_current_folder_is_never_taken() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".git")).unwrap();
    fs::write(home.path().join("config.toml"), "this is not TOML").unwrap();
    assert_eq!(airpods(home.path(), "config validate").output().unwrap().status.code(), Some(0));
}

#[test]
fn validate_counts_services_and_tells_warnings() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("my.toml"), "runtime.cuda_version = '12.8'\nservices.comfyui.enabled = false\n")
        .unwrap();
    let output = airpods(home.path(), "--config my.toml config validate --json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["valid"], &json["services"], &json["enabled"]), (&true.into(), &3.into(), &2.into()));
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("warning: `runtime.cuda_version` has no effect"));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_cannot_steer_the_terminal() {
    let home = tempfile::tempdir().unwrap();
    let output = airpods(home.path(), "net clamp on").arg("\u{1b}[31m\u{9b}").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8(output.stderr).unwrap().chars().any(|c| c.is_control() && c != '\n'));
    assert_eq!(airpods(home.path(), "nonsense").output().unwrap().status.code(), Some(2));
}

#[test]
fn a_pipe_that_is_closed_early_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = airpods(home.path(), "config show").stdout(writer).output().unwrap();
    told(&output, 0, "", "");
}

#[test]
fn the_version_is_told_on_stdout() {
    let home = tempfile::tempdir().unwrap();
    for arguments in ["-v", "--version"] {
        told(
            &airpods(home.path(), arguments).output().unwrap(),
            0,
            &format!("airpods {}\n", env!("CARGO_PKG_VERSION")),
            "",
        );
    }
}
