//! `airpods net clamp` against a private bus: the calls that reach the helper, and the output for
//! every answer and every absence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bus;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airpods_dbus::{ClampState, ClampStatus, ErrorKind, Mode, Origin, Status, Unclampable};
use airpods_lab::documents;
use bus::{Bus, Call, StandIn};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::Notify;

/// How one run of the command ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
    took: Duration,
}

async fn run(address: &str, arguments: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airpods"));
    command.args(arguments.split_whitespace()).env("DBUS_SYSTEM_BUS_ADDRESS", address);
    finish(&mut command).await
}

async fn finish(command: &mut Command) -> Ran {
    let begin = Instant::now();
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
    documents::judge_output(command.as_std(), &output).unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        took: begin.elapsed(),
    }
}

fn clamped() -> Status {
    let clamp = ClampStatus {
        link: "wg0".to_owned(),
        state: ClampState::Active,
        mode: Mode::Route,
        origin: Origin::Named,
        persist: false,
        mtu: None,
        link_mtu: Some(1380),
        route_mtu: None,
        link_kind: Some("wireguard".to_owned()),
    };
    Status { version: "0.1.0".to_owned(), clamps: vec![clamp], ..Status::default() }
}

fn plain(words: &str) -> Call {
    Call { words: words.to_owned(), asking: false }
}

/// The documented exit code of every error, read from the documentation.
fn documented(kind: ErrorKind) -> i32 {
    let text = include_str!("../../../docs/exit-codes.md");
    let row = format!("| `{}` | ", kind.name());
    let rest = text.split(&row).nth(1).unwrap_or_else(|| panic!("{} is not documented", kind.name()));
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// A bus gives up after 25 s, and so would a client that only waits for it.
const REPLY_LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_error_has_a_sentence_a_hint_and_its_documented_code() {
    for &kind in ErrorKind::ALL {
        let bus = Bus::start(&[]);
        let _helper = bus.serve(&StandIn::answering(Err(kind))).await;
        let ran = run(&bus.address, "net clamp on wg0").await;
        assert_eq!(ran.code, documented(kind), "{kind:?} {ran:?}");
        let lines: Vec<_> = ran.stderr.lines().filter(|line| !line.starts_with("note: ")).collect();
        let sentence = format!("error: the stand-in \\u{{1b}}[31m says {0} ({0})", kind.short_name());
        assert_eq!(lines[0], sentence);
        assert!(lines[1].starts_with("hint: ") && lines.len() == 2, "{lines:?}");
        assert_eq!(ran.stdout, "");
    }
}

#[tokio::test]
async fn a_missing_helper_is_reported_long_before_the_bus_timeout() {
    let bus = Bus::start(&[]);
    for arguments in ["net clamp on", "net clamp off wg0", "net clamp reset", "net clamp status --json"] {
        let ran = run(&bus.address, arguments).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(
            ran.stderr.starts_with("error: the helper `airpods-helper` is not installed\nhint: install"),
            "{ran:?}"
        );
        assert!(ran.took < REPLY_LIMIT, "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
}

#[tokio::test]
async fn a_program_of_another_user_with_the_helpers_name_is_reported_and_not_called() {
    let bus = Bus::start(&[]);
    let stand_in = StandIn { status: clamped(), ..StandIn::answering(Ok(true)) };
    let _impostor = bus.serve_as(65534, &stand_in).await;
    for arguments in ["net clamp on", "net clamp off wg0", "net clamp reset", "net clamp status --json"] {
        let ran = run(&bus.address, arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
        assert!(ran.stderr.contains("belongs to a program of uid 65534") && ran.stderr.contains("hint: "), "{ran:?}");
    }
    assert_eq!(stand_in.calls(), []);
}

#[tokio::test]
async fn a_bus_of_another_user_is_reported_and_nothing_on_it_is_believed() {
    let bus = Bus::start_as(65534);
    let stand_in = StandIn { status: clamped(), ..StandIn::answering(Ok(true)) };
    // This bus reports that root owns the name.
    let _impostor = bus.serve(&stand_in).await;
    for arguments in ["net clamp on", "net clamp reset", "net clamp status --json"] {
        let ran = run(&bus.address, arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
        let sentence = "error: user 65534 listens on the system bus, and not root or this user\nhint: ";
        assert!(ran.stderr.starts_with(sentence), "{ran:?}");
    }
    let ran = run(&bus.address, "version --json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["helper"]["state"], "unknown");
    assert_eq!(stand_in.calls(), []);
}

#[tokio::test]
async fn a_helper_that_cannot_start_is_reported_long_before_the_bus_timeout() {
    let activation = "[D-BUS Service]\nName=org.airpods.Helper1\nExec=/bin/false\n";
    let bus = Bus::start(&[("org.airpods.Helper1.service", activation)]);
    let ran = run(&bus.address, "net clamp status").await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.starts_with("error: the helper `airpods-helper` could not be started: "), "{ran:?}");
    assert!(ran.took < REPLY_LIMIT, "{ran:?}");
}

#[tokio::test]
async fn an_absent_bus_is_reported_long_before_the_bus_timeout() {
    let ran = run("unix:path=/nonexistent/bus", "net clamp on").await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.starts_with("error: the system bus cannot be reached: "), "{ran:?}");
    assert!(ran.stderr.contains("\nhint: "), "{ran:?}");
    assert!(ran.took < REPLY_LIMIT, "{ran:?}");
}

#[tokio::test]
async fn a_silent_bus_is_reported_long_before_the_bus_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("mute");
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let ran = run(&format!("unix:path={}", socket.display()), "net clamp on").await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.starts_with("error: the system bus does not answer"), "{ran:?}");
    assert!(ran.took < REPLY_LIMIT, "{ran:?}");
}

#[tokio::test]
async fn a_helper_that_ends_before_it_answers_is_reported() {
    let bus = Bus::start(&[]);
    let stand_in = StandIn { held: Some(Arc::default()), ..StandIn::answering(Ok(true)) };
    let helper = bus.serve(&stand_in).await;
    let leave = async {
        while stand_in.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        helper.close().await.unwrap();
    };
    let (ran, ()) = tokio::join!(run(&bus.address, "net clamp on"), leave);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.starts_with("error: the helper went away before it answered\nhint: "), "{ran:?}");
}

#[tokio::test]
async fn the_request_reaches_the_helper() {
    let bus = Bus::start(&[]);
    let stand_in = StandIn { status: clamped(), ..StandIn::answering(Ok(true)) };
    let _helper = bus.serve(&stand_in).await;
    for arguments in ["on", "on wg0 --mtu 1280 --persist --any-link", "off", "off wg0", "reset", "status"] {
        let ran = run(&bus.address, &format!("net clamp {arguments}")).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let expected = ["on \"\" ", "on \"wg0\" any-link,mtu,persist", "off \"\"", "off \"wg0\"", "reset"];
    assert_eq!(stand_in.calls(), expected.map(plain));
}

/// A clamp on `wg0` to this value.
fn fixed(mtu: u32) -> Status {
    let mut status = clamped();
    (status.clamps[0].mode, status.clamps[0].mtu) = (Mode::Fixed, Some(mtu));
    status
}

/// The command that measures the path to a server, with this home.
fn measuring(bus: &Bus, home: &Path, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airpods"));
    command
        .args(["net", "clamp", "on", "wg0", "--mtu", "auto", "--url", url])
        .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home);
    command
}

#[tokio::test]
async fn after_a_measurement_without_a_change_nothing_is_restored_even_if_the_status_is_unknown() {
    let bus = Bus::start(&[]);
    let stand_in = StandIn { status: clamped(), reads: Arc::new(1.into()), ..StandIn::answering(Ok(true)) };
    let _helper = bus.serve(&stand_in).await;
    let home = tempfile::tempdir().unwrap();
    let ran = finish(&mut measuring(&bus, home.path(), "https://127.0.0.1:1")).await;
    assert_eq!((ran.code, stand_in.calls()), (9, vec![]), "{ran:?}");
    assert!(ran.stderr.contains("could not be measured") && !ran.stderr.contains("former state"), "{ran:?}");
}

#[tokio::test]
async fn a_fixed_clamp_that_is_lifted_to_measure_is_restored_after_any_signal_from_the_lift_on() {
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGTERM] {
        let bus = Bus::start(&[]);
        let held = Arc::new(Notify::new());
        let answering = StandIn::answering(Ok(true));
        let stand_in =
            StandIn { status: fixed(1300), changed_to: Some(clamped()), held: Some(held.clone()), ..answering };
        let _helper = bus.serve(&stand_in).await;
        let home = tempfile::tempdir().unwrap();
        let mut command = measuring(&bus, home.path(), "https://192.0.2.1");
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap());
        while stand_in.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The helper lifts the clamp, and has not answered yet.
        kill(pid, signal).unwrap();
        held.notify_one();
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
        let expected = ["on \"wg0\" ", "on \"wg0\" mtu"];
        assert_eq!(stand_in.calls(), expected.map(plain), "{signal} {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the former state is restored"), "{signal} {said}");
    }
}

#[tokio::test]
async fn a_vpn_link_that_cannot_be_clamped_is_named_and_ends_with_1() {
    let bus = Bus::start(&[]);
    let unclampable = Unclampable { link: "wg*".to_owned(), reason: "its name ends in an asterisk".to_owned() };
    let status = Status { auto: true, unclampable: vec![unclampable], ..clamped() };
    let _helper = bus.serve(&StandIn { status, ..StandIn::answering(Ok(true)) }).await;
    for arguments in ["net clamp on", "net clamp on --no-proof", "net clamp on --no-proof --json"] {
        let ran = run(&bus.address, arguments).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        let line = "every VPN link but `wg*` is clamped, now and whenever one appears: its name ends in an asterisk";
        assert!(ran.stderr.lines().any(|said| said == line), "{ran:?}");
    }
    for arguments in ["net clamp on wg0 --no-proof", "net clamp off", "net clamp status"] {
        assert_eq!(run(&bus.address, arguments).await.code, 0, "{arguments}");
    }
}

#[tokio::test]
async fn a_change_is_reported_on_stderr_and_as_json_on_stdout() {
    let bus = Bus::start(&[]);
    let _helper = bus.serve(&StandIn { status: clamped(), ..StandIn::answering(Ok(true)) }).await;
    let ran = run(&bus.address, "net clamp on wg0").await;
    let lines = ran.stderr.lines().filter(|line| !line.starts_with("note: this host has no link")).collect::<Vec<_>>();
    assert_eq!((ran.stdout.as_str(), lines), ("", vec!["`wg0` is clamped to the route MTU (currently 1380)"]));
    let ran = run(&bus.address, "net clamp on wg0 --json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["changed"], true);
    assert_eq!(json["status"]["clamps"][0]["link-mtu"], 1380);
}

#[tokio::test]
async fn the_status_is_data_on_stdout_for_people_and_as_json() {
    let bus = Bus::start(&[]);
    let status = clamped();
    let _helper = bus.serve(&StandIn { status, ..StandIn::answering(Ok(true)) }).await;
    let ran = run(&bus.address, "net clamp status").await;
    assert!(ran.stdout.contains("\nwg0   active  route"), "{ran:?}");
    assert_eq!(ran.stderr, "");
    let ran = run(&bus.address, "net clamp status --json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["clamps"][0]["state"], "active");
    assert_eq!(json["auto"], false);
}

#[tokio::test]
async fn a_hostile_status_cannot_steer_the_terminal() {
    let bus = Bus::start(&[]);
    let mut status = clamped();
    status.clamps[0].link = "wg0\u{1b}]0;x\u{7}".to_owned();
    status.clamps[0].link_kind = Some("a\r\u{9b}b".to_owned());
    status.refusal = Some("\u{1b}[2J\n".to_owned());
    status.unclampable = vec![Unclampable { link: "\u{1b}[1m".to_owned(), reason: "\u{202e}b\u{9b}".to_owned() }];
    let _helper = bus.serve(&StandIn { status, ..StandIn::answering(Ok(true)) }).await;
    for arguments in ["net clamp status", "net clamp on", "net clamp off", "net clamp status --json"] {
        let ran = run(&bus.address, arguments).await;
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
}

#[tokio::test]
async fn no_prompt_appears_if_none_is_needed() {
    let bus = Bus::start(&[]);
    let stand_in = StandIn { status: clamped(), ..StandIn::answering(Ok(true)) };
    let _helper = bus.serve(&stand_in).await;
    run(&bus.address, "net clamp on wg0").await;
    assert_eq!(stand_in.calls(), [plain("on \"wg0\" ")]);
}

#[tokio::test]
async fn asking_is_allowed_only_when_needed_and_never_with_no_ask() {
    let bus = Bus::start(&[]);
    let stand_in = StandIn {
        plain: Err(ErrorKind::InteractiveAuthorizationRequired),
        status: clamped(),
        ..StandIn::answering(Ok(true))
    };
    let _helper = bus.serve(&stand_in).await;
    let ran = run(&bus.address, "net clamp on wg0 --no-ask").await;
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(stand_in.calls(), [plain("on \"wg0\" ")]);
    let ran = run(&bus.address, "net clamp on wg0").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let asking = Call { asking: true, ..plain("on \"wg0\" ") };
    assert_eq!(stand_in.calls()[1..], [plain("on \"wg0\" "), asking]);
}

#[tokio::test]
async fn a_helper_that_leaves_is_called_once_more_and_polkit_that_is_not_there_is_not_waited_for() {
    let (leaving, no_polkit) = (ErrorKind::ShuttingDown, ErrorKind::AuthUnavailable);
    for (refusing, code, calls) in [((1, leaving), 0, 2), ((2, leaving), 8, 2), ((1, no_polkit), 6, 1)] {
        let bus = Bus::start(&[]);
        let stand_in = StandIn { refusing, status: clamped(), ..StandIn::answering(Ok(true)) };
        let _helper = bus.serve(&stand_in).await;
        let ran = run(&bus.address, "net clamp on wg0").await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert_eq!(stand_in.calls(), vec![plain("on \"wg0\" "); calls]);
    }
}

/// A stand-in for pkttyagent that notes how it was called and ended, and behaves as the real one
/// does: it closes the descriptor once it is registered, and stays.
const AGENT: &str = "#!/bin/sh\necho \"$@ for $PPID\" >>\"$AGENT_LOG\"\ntrap 'echo ended >>\"$AGENT_LOG\"; exit' TERM\n\
                     exec >&-\nwhile :; do sleep 0.05; done\n";

#[tokio::test]
async fn in_a_terminal_an_agent_is_there_during_a_prompt() {
    let bus = Bus::start(&[("pkttyagent", AGENT)]);
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bus.folder().join("pkttyagent"), open).unwrap();
    let log = bus.folder().join("agent-log");
    std::fs::write(&log, "").unwrap();
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o666)).unwrap();
    // The command as an ordinary user can execute it, wherever the checkout lies.
    let program = bus.folder().join("airpods");
    std::fs::copy(env!("CARGO_BIN_EXE_airpods"), &program).unwrap();
    let stand_in = StandIn {
        plain: Err(ErrorKind::InteractiveAuthorizationRequired),
        status: clamped(),
        ..StandIn::answering(Ok(true))
    };
    let _helper = bus.serve(&stand_in).await;
    // A terminal, by script(1), for an ordinary user: root is never prompted.
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "script"]);
        command
    } else {
        Command::new("script")
    };
    command
        .args(["--quiet", "--return", "--command", &format!("{} net clamp on wg0", program.display()), "/dev/null"])
        .env("PATH", format!("{}:/usr/bin:/bin", bus.folder().display()))
        .env("AGENT_LOG", &log)
        .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    let ran = finish(&mut command).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let asking = Call { asking: true, ..plain("on \"wg0\" ") };
    assert_eq!(stand_in.calls(), [plain("on \"wg0\" "), asking]);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.starts_with("--fallback --notify-fd=1 for ") && log.ends_with("\nended\n"), "{log:?}");
}

#[tokio::test]
async fn the_version_of_a_running_helper_is_printed_without_starting_it() {
    let started = tempfile::tempdir().unwrap();
    let mark = started.path().join("mark");
    let activation = format!("[D-BUS Service]\nName=org.airpods.Helper1\nExec=/usr/bin/touch {}\n", mark.display());
    let bus = Bus::start(&[("org.airpods.Helper1.service", &activation)]);
    let version = async |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airpods"));
        command.args(["version", "--json"]).env("DBUS_SYSTEM_BUS_ADDRESS", address).env("PATH", "/nonexistent");
        let ran = finish(command.env_remove("CONTAINER_HOST").env("XDG_RUNTIME_DIR", "/nonexistent")).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    let idle = version(&bus.address).await;
    assert_eq!((&idle["helper"]["state"], &idle["helper"]["version"]), (&"idle".into(), &serde_json::Value::Null));
    assert!(!mark.exists(), "the helper was started");
    let _helper = bus.serve(&StandIn { status: clamped(), ..StandIn::answering(Ok(true)) }).await;
    let running = version(&bus.address).await;
    assert_eq!((&running["helper"]["state"], &running["helper"]["version"]), (&"running".into(), &"0.1.0".into()));
    assert_eq!(running["airpods"], env!("CARGO_PKG_VERSION"));
    let absent = version("unix:path=/nonexistent/bus").await;
    assert_eq!(absent["helper"]["state"], "unknown");
}
