//! The main job from end to end, as `make demo` shows it. The demo checks every sentence of its
//! own. These tests check that it reaches its end, and that it cleans up when it is interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use airpods_lab::Program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn demo() -> Command {
    let mut demo = Command::new(Program::Lab.path().unwrap());
    demo.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    demo
}

/// The pid namespaces of a process's descendants, which include that of its sandbox.
fn namespaces_below(process: u32) -> Vec<PathBuf> {
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .map(|child| child.parse().unwrap())
        .flat_map(|child: u32| {
            fs::read_link(format!("/proc/{child}/ns/pid")).into_iter().chain(namespaces_below(child))
        })
        .filter(|namespace| *namespace != own)
        .collect()
}

fn processes_in(namespaces: &[PathBuf]) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.filter(|process| fs::read_link(process.join("ns/pid")).is_ok_and(|ns| namespaces.contains(&ns))).collect()
}

/// Reads the demo until a line that contains `cue`.
fn read_until(demo: &mut Child, cue: &str) {
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains(cue)), "the demo never came to `{cue}`");
    // Keep reading, so that the demo can write its further lines.
    std::thread::spawn(move || lines.count());
}

#[test]
fn the_demo_runs_to_its_end() {
    let told = demo().output().unwrap();
    let (demo, complaints) = (String::from_utf8(told.stdout).unwrap(), String::from_utf8(told.stderr).unwrap());
    assert!(told.status.success(), "{demo}\n{complaints}");
    assert_eq!(complaints, "");
    let beats = [
        "$ airpods start",
        "timed out",
        "with MSS 1460",
        "$ airpods net clamp on",
        "all 1048576 bytes",
        "with MSS 1340",
        "$ airpods net clamp status",
        "$ airpods net clamp off",
        "$ airpods stop",
    ];
    let mut rest = demo.as_str();
    for beat in beats {
        rest = rest.split_once(beat).unwrap_or_else(|| panic!("`{beat}` is missing or out of order in\n{demo}")).1;
    }
    assert!(!demo.contains('\u{1b}'), "colour where there is no terminal:\n{demo}");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for (signal, cue) in [(Signal::SIGINT, "$ airpods start"), (Signal::SIGTERM, "/download")] {
        let mut demo = demo().spawn().unwrap();
        read_until(&mut demo, cue);
        let namespaces = namespaces_below(demo.id());
        assert!(!processes_in(&namespaces).is_empty(), "there is a sandbox");
        kill(Pid::from_raw(demo.id().cast_signed()), signal).unwrap();
        let ended = demo.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(processes_in(&namespaces), Vec::<PathBuf>::new(), "{signal}");
    }
}
