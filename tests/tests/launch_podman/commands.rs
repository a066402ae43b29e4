//! `stop`, `restart` and `status`, in a terminal and in scripts.

use std::io::BufRead;

use airpods_lab::{CommandOutput, Place, terminal};
use serde_json::Value;

use crate::host::{ALONE, Host, service, signal};

fn two() -> String {
    let second = "env.BACKEND = \"http://one-0:7001/\"";
    format!("{ALONE}{}{}", service("two", 7002, second), service("one", 7001, "network_aliases = [\"one\"]"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn stop_shows_its_plan_and_does_what_it_showed() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let before = host.inventory();
    let planned = json(&host.succeed("stop one --remove --dry-run --json").out);
    assert_eq!(host.inventory(), before, "a dry run did something");
    assert_eq!((&planned["steps"][0]["action"], &planned["steps"][0]["service"]), (&"stop".into(), &"one".into()));
    let done = json(&host.succeed("stop one --remove --yes --json").out);
    let names = |list: &Value| list.as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&done["done"]), names(&planned["steps"]));
    assert_eq!(done["refused"], Value::Array(Vec::new()));
    assert_eq!(json(&host.succeed("stop one --json").out)["idle"], json("[\"one\"]"));
}

#[test]
fn ctrl_c_during_a_slow_stop_names_what_is_left() {
    let host = Host::new();
    host.configure(&format!("{ALONE}{}", service("one", 7001, "")));
    host.succeed("start");
    // A suspended process does not react to SIGTERM.
    host.sandbox.sh(&format!("kill -STOP {}", host.field("one-0", ".State.Pid"))).unwrap();
    let mut stopping =
        host.command("stop --remove --yes --timeout 20").stderr(std::process::Stdio::piped()).spawn().unwrap();
    let begin = std::time::Instant::now();
    while host.field("one-0", ".State.Status") == "running" {
        assert!(begin.elapsed() < std::time::Duration::from_secs(60), "it does not begin to stop");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    signal(&stopping, "INT");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(stopping.try_wait().unwrap().is_none(), "what is under way is waited for");
    signal(&stopping, "INT");
    let output = stopping.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("Ctrl-C again stops waiting"), "{stderr}");
    assert!(stderr.contains("left: the container `one-0` was not removed"), "{stderr}");
    assert!(stderr.contains("may still happen: stop the container `one-0`"), "{stderr}");
    assert!(host.podman("ps -a --format '{{.Names}}'").contains("one-0"));
}

#[test]
fn a_restart_keeps_the_containers_and_reports_changed_settings() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let ids = || [host.field("one-0", ".Id"), host.field("two-0", ".Id")];
    let started = || [host.field("one-0", ".State.StartedAt"), host.field("two-0", ".State.StartedAt")];
    let (id, at) = (ids(), started());
    let planned = host.succeed("restart --dry-run").out;
    assert!(planned.contains("1. stop the container `two-0`\n  2. stop the container `one-0` (after 1)"), "{planned}");
    assert_eq!(started(), at, "a dry run did something");
    host.configure(&two().replace("[services.two]", "[services.two]\npids_limit = 77"));
    let output = host.succeed("restart --json");
    assert_eq!(ids(), id);
    let now = started();
    assert!(now[0] != at[0] && now[1] != at[1] && now[0] < now[1], "{at:?} {now:?}");
    let services = &json(&output.out)["services"];
    let told = |name: &str| services.as_array().unwrap().iter().find(|one| one["service"] == name).unwrap().clone();
    assert_eq!((&told("one")["healthy"], &told("one")["settings_differ"]), (&true.into(), &false.into()));
    assert_eq!(told("two")["settings_differ"], true);
    assert!(output.err.contains("hint: `airpods start two` applies them"), "{}", output.err);
    assert_eq!(host.inside("two-0", "pids-max").out.trim(), "2048");
}

#[test]
fn a_second_start_checks_the_health_of_running_services() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let id = host.field("one-0", ".Id");
    let told = |output: &CommandOutput| json(&output.out)["services"][0]["healthy"].clone();
    assert_eq!(told(&host.succeed("start one --json")), true);
    // The service answers, but not with the status that is now expected.
    let unwell = two().replace("path = \"/\"", "path = \"/\", expected_status = [500, 599]");
    host.configure(&format!("cli.startup_timeout = 10\n{unwell}"));
    let output = host.airpods("start one --json");
    assert_eq!((output.code, told(&output)), (1, false.into()), "{}", output.err);
    assert!(output.err.contains("`one` runs but did not answer at http://127.0.0.1:"), "{}", output.err);
    assert_eq!(told(&host.succeed("start one --json --no-wait")), serde_json::Value::Null);
    assert_eq!((host.field("one-0", ".Id"), host.field("one-0", ".State.Status")), (id, "running".into()));
}

#[test]
fn a_restart_starts_what_is_named_and_nothing_that_was_never_started() {
    let host = Host::new();
    host.configure(&two());
    host.refuse("restart one", 1, &["was never started", "airpods start one"]);
    assert!(host.succeed("restart").err.contains("no service was running"));
    host.succeed("start one");
    host.succeed("stop one");
    assert!(host.succeed("restart").err.contains("no service was running"));
    host.succeed("restart one --no-wait");
    assert_eq!(host.field("one-0", ".State.Status"), "running");
}

#[test]
fn a_watched_status_fits_the_terminal_and_gives_it_back() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let line = "export AIRPODS_CONFIG=/etc/airpods-test.toml TERM=xterm; trap : INT; stty rows 24 cols 100; \
                airpods status --watch 0.3; echo code=$?; stty -a";
    // Narrow the window after the first table.
    let narrow = || {
        host.user
            .sh("stty cols 30 rows 5 < /dev/pts/0 || stty cols 30 rows 5 < $(ls -t /dev/pts/[0-9]* | head -1)")
            .unwrap();
        std::thread::sleep(std::time::Duration::from_secs(2));
        "\u{3}".to_owned()
    };
    let screen = terminal::once_shown(&host.user, line, "HTTP 200", narrow).unwrap();
    let (_, shown) = screen.split_once("\u{1b}[?1049h\u{1b}[?25l").expect(&screen);
    let (shown, after) = shown.split_once("\u{1b}[?25h\u{1b}[?1049l").expect(&screen);
    let frames: Vec<&str> = shown.split("\u{1b}[H").skip(1).collect();
    assert!(frames[0].contains("every 0.3 s, Ctrl-C ends") && frames[0].contains("HTTP 200"), "{screen}");
    let last = frames.last().unwrap().split("\u{1b}[J").next().unwrap();
    let lines: Vec<&str> = last.split("\u{1b}[K").map(|line| line.trim_matches(['\r', '\n'])).collect();
    assert!(lines.len() <= 6 && lines.iter().all(|line| line.chars().count() <= 30), "{lines:?}");
    assert!(after.contains("Service  Status") && after.contains("HTTP 200"), "the last table stays: {after}");
    assert!(after.contains("code=130") && after.contains(" echo ") && !after.contains(" -echo "), "{after}");
}

#[test]
fn a_watched_status_in_a_pipe_is_one_table_after_the_other_or_a_document_a_line() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let shell = |arguments: &str| {
        let line = format!(
            "AIRPODS_CONFIG=/etc/airpods-test.toml timeout -s INT 4 airpods status --watch 0.5 {arguments} || true"
        );
        host.user.sh(&line).unwrap()
    };
    let tables = shell("");
    assert!(tables.matches("Service  Status").count() >= 2 && tables.contains("\n\nService  Status"), "{tables}");
    assert!(!tables.contains('\u{1b}'), "{tables}");
    let documents = shell("--json");
    let all: Vec<Value> = documents.lines().map(json).collect();
    assert!(all.len() >= 2 && all.iter().all(|one| one["services"][0]["status"] == "running"), "{documents}");
    // A reader that closes the pipe ends the command, which is no failure.
    let mut watching = host.command("status -w 0.2 --json").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    std::io::BufReader::new(watching.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}

#[test]
fn a_leftover_service_is_reported_and_can_be_stopped_except_on_another_network() {
    let host = Host::new();
    host.configure(&format!("runtime.network_name = \"theirs\"\n{ALONE}{}", service("far", 7003, "")));
    host.succeed("start");
    host.configure(&two());
    host.succeed("start");
    host.configure(&format!("{ALONE}{}", service("one", 7001, "network_aliases = [\"one\"]")));
    let output = host.succeed("start").err;
    assert!(
        output.contains("warning: `two` runs and is not in the configuration; `airpods stop two` ends it"),
        "{output}"
    );
    assert!(!output.contains("`far`"), "{output}");
    let table = host.succeed("status").out;
    // The note is below its row if the table would be wider than 80 columns.
    let row = table.split("\ntwo ").nth(1).unwrap_or_else(|| panic!("{table}"));
    assert!(row.contains("not in the configuration"), "{table}");
    assert!(!table.contains("far"), "{table}");
    assert_eq!(host.status()["services"][1]["configured"], false);
    let ran = |name: &str| host.field(name, ".State.Status") == "running";
    let output = host.succeed("stop --json");
    assert!(
        json(&output.out)["warnings"][0].as_str().unwrap().contains("`airpods stop two` ends it"),
        "{}",
        output.out
    );
    assert!(output.err.contains("warning: `two` runs and is not in the configuration"), "{}", output.err);
    assert_eq!((ran("one-0"), ran("two-0")), (false, true), "it may be another configuration's");
    assert!(host.succeed("stop two --remove --yes").err.contains("stopped `two`"));
    host.succeed("stop --remove --yes");
    assert_eq!(host.podman("ps -a --format '{{.Names}}'"), "far-0");
    host.refuse("stop two", 2, &["there is no service `two` in the configuration"]);
    host.refuse("stop far", 2, &["there is no service `far` in the configuration"]);
}
