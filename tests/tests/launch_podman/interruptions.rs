//! A start that is interrupted by Ctrl-C, by a service manager, or by a closed terminal. Afterwards
//! the host is as before, or the command has named what is left.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use airpods_lab::Place;

use crate::host::{ALONE, Host, assert_no_process, service, signal};

/// Three services that need every kind of object: a network, a pod, a volume, folders, containers.
fn three() -> String {
    [
        ALONE.to_owned(),
        service("one", 7001, "pod = \"shared\"\nvolumes.v = { source = \"kept\", target = \"/v\" }"),
        service("two", 7002, "volumes.d = { source = \"bind://new/folder\", target = \"/d\" }"),
        service("three", 7003, "network_mode = \"host\""),
    ]
    .concat()
}

/// Everything that a start makes, including the folders of services and of its own podman.
fn traces(host: &Host) -> String {
    let folders = "ls -d /tmp/airpods-* /run/airpods-* /run/user/*/airpods-* 2>/dev/null || true;
        find ~ -path '*/airpods*' 2>/dev/null || true";
    format!("{}\n{}", host.inventory(), host.user.sh(folders).unwrap())
}

/// Removes what a start made, volumes and folders included.
fn clear(host: &Host) {
    host.succeed("stop --remove --yes");
    host.podman("volume rm kept");
    host.user.sh("rm -r ~/.local/share/airpods").unwrap();
}

/// Interrupts a start after `delay`, and returns its exit code and output. With `reader_closed` the
/// reader closes the pipe first.
fn interrupt(host: &Host, delay: Duration, name: &str, reader_closed: bool) -> (Option<i32>, String) {
    let mut starting = host.command("start").stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = starting.stderr.take().unwrap();
    std::thread::sleep(delay);
    let mut output = String::new();
    if reader_closed {
        drop(stderr);
        signal(&starting, name);
    } else {
        signal(&starting, name);
        stderr.read_to_string(&mut output).unwrap();
    }
    (starting.wait().unwrap().code(), output)
}

/// The test for the user and the podman of `host`, also used by `podman_5.rs`. It makes `tries`
/// attempts for each signal. The times of the signal are spread evenly over a start and a little
/// more.
pub(crate) fn leave_all_as_it_was(host: &Host, tries: u32) {
    host.configure(&three());
    let before = traces(host);
    let start = Instant::now();
    host.succeed("start");
    // The first start takes the longest. A start that finishes before its signal lowers the
    // estimate.
    let mut whole = start.elapsed();
    clear(host);
    assert_eq!(traces(host), before);
    let (mut undone, mut finished) = (0, 0);
    for (signal, reader_closed) in [("INT", false), ("TERM", false), ("HUP", true)] {
        for number in 0..tries {
            let delay = whole.mul_f64((f64::from(number) + f64::from(tries) * 0.1) / f64::from(tries));
            let (code, output) = interrupt(host, delay, signal, reader_closed);
            let context = format!("{signal} after {delay:?} of {whole:?}: exit code {code:?}\n{output}");
            assert_no_process(host, "podman system service");
            // A signal after the last step ends only the questions that follow, such as the one to
            // the name servers. A closed reader cannot say so.
            let all_run = || ["one-0 runs", "two-0 runs", "three-0 runs"].iter().all(|it| traces(host).contains(it));
            if code == Some(0) || output.contains("started 3 services") || (reader_closed && all_run()) {
                finished += 1;
                whole = whole.min(delay);
                clear(host);
            } else {
                undone += 1;
                assert!(matches!(code, Some(130) | None), "{context}");
            }
            assert_eq!(traces(host), before, "{context}");
        }
    }
    assert!(undone > tries, "{undone} starts were interrupted, {finished} had finished");
}

#[test]
fn a_start_ended_at_any_moment_leaves_all_as_it_was() {
    leave_all_as_it_was(&Host::new(), 7);
}

#[test]
fn a_start_ended_at_any_moment_leaves_all_as_it_was_rootless() {
    leave_all_as_it_was(&Host::of("alice"), 4);
}
