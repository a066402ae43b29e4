//! Runs the real command behind a fault, as an ordinary user, and judges its answer.

use std::time::{Duration, Instant};

use airpods_lab::path::Direction;
use airpods_lab::{PathWorld, client, documents};
use serde_json::Value;

use crate::fault::{Fault, Size};

/// Codes for paths that could not be measured.
const UNMEASURED: [&str; 3] = ["not-measured", "down-not-measured", "up-not-measured"];

/// Attempts for a row, each in a new world. On a busy machine the command may have too little time
/// to be sure.
const ATTEMPTS: u64 = 3;

/// Attempts for a row in which chance chooses the path of each connection, or the packets that are
/// lost. The verdict is missed in some of three searches.
const BY_CHANCE: u64 = 10;

/// Checks that the verdict is right and the sizes are exact. An unsure answer is retried; a wrong
/// one fails at once.
pub(crate) fn exactly(name: &str, fault: fn() -> Fault) {
    let attempts = if ["link-loses", "mixed-paths"].contains(&fault().verdict) { BY_CHANCE } else { ATTEMPTS };
    for attempt in 1..=attempts {
        let fault = fault();
        let answer = ask(name, &fault, attempt);
        never_above_the_truth(&fault, &answer);
        let missing = missing(&fault, &answer);
        if missing.is_empty() {
            return;
        }
        if fault.may_stay_open && UNMEASURED.contains(&answer.verdict()) {
            return;
        }
        // By chance no packet may be lost, or every connection take the same path.
        let is_spared = match fault.verdict {
            "link-loses" => answer.verdict() == "fine",
            "mixed-paths" => ["fine", "path-narrow"].contains(&answer.verdict()),
            _ => false,
        };
        let is_wrong = answer.verdict() != fault.verdict && answer.is_sure() && !is_spared;
        assert!(!is_wrong && attempt < attempts, "{name}: {}\n{:#}", missing.join("; "), answer.0);
    }
}

/// Checks that with loss the verdict is right or missing, and that no size is above the truth.
pub(crate) fn with_loss(name: &str, fault: fn() -> Fault) {
    let fault = fault().with_loss();
    let answer = ask(&format!("lossy::{name}"), &fault, 1);
    never_above_the_truth(&fault, &answer);
    let verdict = answer.verdict();
    let is_right = match fault.verdict {
        // "The link loses packets of any size" is also true here.
        "fine" | "link-slow" | "quic-blocked" => [fault.verdict, "link-loses"].contains(&verdict),
        // Losses may leave no time to ask the second server.
        "far-end-narrow" => verdict == "far-end-narrow" || (verdict == "path-narrow" && !answer.is_sure()),
        "link-loses" => ["link-loses", "fine"].contains(&verdict),
        "mixed-paths" => ["mixed-paths", "link-loses", "fine", "path-narrow"].contains(&verdict),
        right => verdict == right,
    };
    let is_open = UNMEASURED.contains(&verdict);
    assert!(is_right || is_open, "{name}: expected {}\n{:#}", fault.verdict, answer.0);
}

/// The document that `airpods net check --json` printed.
struct Answer(Value);

impl Answer {
    fn verdict(&self) -> &str {
        self.0["verdict"].as_str().unwrap()
    }

    fn is_sure(&self) -> bool {
        self.0["confidence"] == "sure"
    }

    /// Each path's object for a direction, from all places in the answer.
    fn each(&self, direction: Direction) -> impl Iterator<Item = &Value> {
        self.paths().map(move |path| &path[key(direction)])
    }

    /// The same for measurements on the host, the only ones that an ordinary user without
    /// containers can make.
    fn measured(&self, direction: Direction, fault: &Fault) -> impl Iterator<Item = &Value> {
        let replaced = usize::from(fault.replaced.is_some());
        self.host_paths().skip(replaced).map(move |path| &path[key(direction)])
    }

    fn paths(&self) -> impl Iterator<Item = &Value> {
        self.0["places"].as_array().unwrap().iter().flat_map(|place| place["paths"].as_array().unwrap())
    }

    fn host_paths(&self) -> impl Iterator<Item = &Value> {
        let host = self.0["places"].as_array().unwrap().iter().filter(|place| place["place"] == "host");
        host.flat_map(|place| place["paths"].as_array().unwrap())
    }
}

fn key(direction: Direction) -> &'static str {
    if direction == Direction::Up { "up" } else { "down" }
}

fn ask(name: &str, fault: &Fault, seed: u64) -> Answer {
    let mut world = PathWorld::new(fault.rules.clone(), seed).unwrap();
    for server in fault.servers() {
        world.serve(server).unwrap();
    }
    if fault.quic {
        world.serve_quic(fault.server).unwrap();
    }
    if let Some(prepare) = fault.prepare {
        prepare(&world);
    }
    let start = Instant::now();
    let mut command = client::command(&world.sandbox().as_user("alice"), "net check --json");
    if !fault.quic {
        command.arg("--no-proof");
    }
    if fault.second.is_some() {
        client::configure(world.sandbox(), &services(fault)).unwrap();
    } else {
        client::configure(world.sandbox(), "").unwrap();
        command.args(["--url", &format!("https://{}/", fault.name_of(fault.server))]);
    }
    let output = command.output().unwrap();
    documents::judge_output(&command, &output).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout);
    let answer = Answer(document.unwrap_or_else(|error| panic!("{name}: {error}: {}: {stderr}", output.status)));
    let sizes = |direction| {
        answer.measured(direction, fault).map(|measured| measured["proven"].to_string()).collect::<Vec<_>>().join(" ")
    };
    let (up, down) = (sizes(Direction::Up), sizes(Direction::Down));
    let (took, connections) = (start.elapsed().as_secs_f64(), &answer.0["connections"]);
    println!("{name}: {} up {up} down {down}, {took:.1} s, {connections} connections", answer.verdict());
    assert!(start.elapsed() < TIMEOUT, "{name} took {took} s");
    assert_eq!(output.status.code(), Some(exit_code(answer.verdict())), "{name}: {}\n{stderr}", answer.verdict());
    answer
}

/// A service for each server, whose image comes from there.
fn services(fault: &Fault) -> String {
    let service = |(number, server)| {
        let name = fault.name_of(server);
        format!("[services.model-{number}]\nimage = \"{name}/lab/model:1\"\n")
    };
    fault.servers().enumerate().map(service).fold(client::ALONE.to_owned(), |toml, service| toml + &service)
}

/// Time limit, far more than a check takes, because this machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The exit code: 0 if nothing needs a cure, 9 without a verdict, 1 for a fault.
fn exit_code(verdict: &str) -> i32 {
    const FINE: [&str; 8] =
        ["fine", "clamped", "pmtud-works", "pmtu-learnt", "link-loses", "link-slow", "proxy-between", "quic-blocked"];
    match verdict {
        verdict if FINE.contains(&verdict) => 0,
        "server-down" | "server-silent" => 9,
        verdict if UNMEASURED.contains(&verdict) => 9,
        _ => 1,
    }
}

/// Checks that no reported size is above the size that the path carries.
fn never_above_the_truth(fault: &Fault, answer: &Answer) {
    for path in answer.paths() {
        let (truth, proven) = (u64::from(fault.truth(Direction::Up)), path["udp"]["proven"].as_u64());
        assert!(proven.is_none_or(|size| size <= truth), "UDP above {truth}\n{:#}", answer.0);
    }
    for (path, second) in answer.paths().filter(|path| path["verdict"] == "mixed-paths").zip(fault.rules.unequal) {
        let value = path["narrow-to"].as_u64();
        assert!(value.is_none_or(|size| size <= second as u64), "the value is above {second}\n{:#}", answer.0);
    }
    for direction in [Direction::Up, Direction::Down] {
        let truth = u64::from(fault.truth(direction));
        for measured in answer.each(direction) {
            let proven = measured["proven"].as_u64();
            assert!(proven.is_none_or(|size| size <= truth), "{direction:?} above {truth}\n{:#}", answer.0);
            let failed = measured["failed"].as_u64();
            // Where connections take different paths, the end depends on the path of each.
            let may_vary = measured["confidence"] != "sure" || fault.rules.unequal.is_some();
            assert!(
                may_vary || failed.is_none_or(|size| size == truth + 1),
                "{direction:?} is sure, and not of {truth}\n{:#}",
                answer.0
            );
        }
    }
}

/// The row's expectations that the answer does not meet.
fn missing(fault: &Fault, answer: &Answer) -> Vec<String> {
    let mut missing = Vec::new();
    if answer.verdict() != fault.verdict {
        missing.push(format!("the verdict is {}, not {}", answer.verdict(), fault.verdict));
    }
    if let Some(replaced) = fault.replaced {
        let first = &answer.host_paths().next().unwrap()["verdict"];
        if first != replaced {
            missing.push(format!("the verdict on the first server is {first}, not {replaced}"));
        }
    }
    let is_inexact = |path: &Value| path["udp"]["proven"] != fault.truth(Direction::Up);
    if fault.verdict == "udp-narrow" && answer.host_paths().any(is_inexact) {
        missing.push("the size of UDP is not exact".to_owned());
    }
    for (direction, size) in [(Direction::Up, fault.up), (Direction::Down, fault.down)] {
        let expected = match size {
            Size::Exact => fault.truth(direction),
            Size::Limited(limit) => limit,
            Size::AtMost | Size::Any => 0,
        };
        if size == Size::Any {
            continue;
        }
        if answer.measured(direction, fault).next().is_none() {
            missing.push("no path was measured".to_owned());
        }
        for measured in answer.measured(direction, fault) {
            let proven = measured["proven"].as_u64().unwrap_or_default();
            if proven < u64::from(expected) || (size == Size::AtMost && proven == 0) {
                missing.push(format!("{direction:?}: {proven} of {expected} is proven"));
            }
            if size == Size::Exact && measured["confidence"] != "sure" {
                missing.push(format!("{direction:?} is not sure"));
            }
        }
    }
    missing
}
