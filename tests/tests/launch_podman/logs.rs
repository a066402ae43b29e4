//! `airpods logs --follow`: several services at once, over restarts and re-creations.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use airpods_lab::terminal;
use serde_json::Value;

use crate::host::{ALONE, Host, service, signal};

fn two() -> String {
    format!("{ALONE}{}{}", service("one", 7001, ""), service("second", 7002, ""))
}

/// Follows the logs, and passes on the lines of both streams.
fn follow(host: &Host, arguments: &str) -> (Child, Receiver<String>) {
    let mut child =
        host.command(&format!("logs -f {arguments}")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (tell, told) = channel();
    let streams: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for stream in streams {
        let tell = tell.clone();
        std::thread::spawn(move || {
            BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(tell.send(line)));
        });
    }
    (child, told)
}

/// Waits for `count` lines that contain a text, and returns all received lines.
#[track_caller]
fn until(lines: &Receiver<String>, text: &str, count: usize) -> Vec<String> {
    let (start, mut all) = (Instant::now(), Vec::new());
    while all.iter().filter(|line: &&String| line.contains(text)).count() < count {
        let left = Duration::from_secs(60).saturating_sub(start.elapsed());
        all.push(lines.recv_timeout(left).unwrap_or_else(|_| panic!("no {count} lines with {text:?}: {all:?}")));
    }
    all
}

#[track_caller]
fn end(mut child: Child) {
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn following_goes_on_over_a_restart_and_a_re_creation_and_shows_each_line_once() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let (child, lines) = follow(&host, "");
    let first = until(&lines, "listening", 2);
    assert!(first.iter().any(|line| line.starts_with("one    | ")), "{first:?}");
    assert!(first.iter().any(|line| line.starts_with("second | ")), "{first:?}");
    host.succeed("restart one");
    let again = until(&lines, "listening", 1);
    let listening =
        |lines: &[String]| lines.iter().filter(|line| line.contains("listening")).cloned().collect::<Vec<_>>();
    assert_eq!(listening(&again), ["one    | listening on [::]:7001"], "{again:?}");
    host.configure(&two().replace("[services.second]", "[services.second]\npids_limit = 77"));
    host.succeed("start --yes");
    let anew = until(&lines, "listening", 1);
    assert!(
        anew.iter().filter(|line| line.contains("listening")).all(|line| line.starts_with("second | ")),
        "{anew:?}"
    );
    host.succeed("stop --remove --yes");
    host.succeed("start");
    until(&lines, "listening", 2);
    std::thread::sleep(Duration::from_secs(2));
    let late: Vec<String> = lines.try_iter().filter(|line| line.contains("listening")).collect();
    assert_eq!(late, Vec::<String>::new(), "a line was shown twice");
    end(child);
}

#[test]
fn json_has_an_object_a_line_with_stream_and_time() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let output = host.succeed("logs --json");
    let lines: Vec<Value> = output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(output.err, "");
    let second = lines.iter().find(|line| line["service"] == "second").unwrap();
    assert_eq!(second["container"], "second-0");
    assert!(["stdout", "stderr"].iter().any(|name| second["stream"] == *name), "{second}");
    assert!(second["time"].as_str().unwrap().starts_with("20"), "{second}");
    assert!(second["line"].as_str().unwrap().starts_with("listening"), "{second}");
    assert_eq!(host.succeed("logs --json --since 2000-01-01 -n 1 one").out.lines().count(), 1);
    host.refuse("logs --since yesterday", 2, &["yesterday", "10m"]);
}

#[test]
fn names_are_coloured_on_a_terminal_unless_colours_are_off() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let shown = |colour: &str| {
        let line = format!("export AIRPODS_CONFIG=/etc/airpods-test.toml TERM=xterm {colour}; airpods logs");
        terminal::in_a_terminal(&host.user, &line, "").unwrap()
    };
    let coloured = shown("");
    assert!(coloured.contains("\u{1b}[36mone    | \u{1b}[0mlistening"), "{coloured:?}");
    assert!(coloured.contains("\u{1b}[33msecond | \u{1b}[0mlistening"), "{coloured:?}");
    assert!(!shown("NO_COLOR=1").contains('\u{1b}'));
}

#[test]
fn a_log_is_that_of_the_services_own_container_under_any_name() {
    let host = Host::new();
    host.configure(&two());
    host.succeed("start");
    let renamed = two().replace("[services.one]", "[services.one]\ncontainer = \"uno\"");
    host.configure(&renamed);
    let line: Value = serde_json::from_str(&host.succeed("logs --json -n 1 one").out).unwrap();
    assert_eq!((&line["service"], &line["container"]), (&"one".into(), &"one-0".into()));
    let (child, lines) = follow(&host, "one");
    until(&lines, "listening", 1);
    host.succeed("start --yes");
    until(&lines, "listening", 1);
    end(child);
    host.succeed("stop --remove --yes");
    host.podman(&format!("run -d --name uno {} serve-http 80", crate::host::IMAGE));
    host.refuse("logs one", 1, &["was never started", "airpods start one"]);
}
