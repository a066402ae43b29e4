//! Runs the real command behind a fault, as an ordinary user, and judges its answer.

use std::time::{Duration, Instant};

use airpods_lab::path::Direction;
use airpods_lab::{PathWorld, Place, documents};
use serde_json::Value;

use crate::fault::{Fault, Size};

/// Codes for paths that could not be measured.
const UNMEASURED: [&str; 3] = ["not-measured", "down-not-measured", "up-not-measured"];

/// Attempts for a row, each in a new world. On a busy machine the command may have too little time
/// to be sure.
const ATTEMPTS: u64 = 3;

/// Checks that the verdict is right and the sizes are exact. An unsure answer is retried; a wrong
/// one fails at once.
pub(crate) fn exactly(name: &str, fault: fn() -> Fault) {
    for attempt in 1..=ATTEMPTS {
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
        let is_wrong = answer.verdict() != fault.verdict && answer.is_sure();
        assert!(!is_wrong && attempt < ATTEMPTS, "{name}: {}\n{:#}", missing.join("; "), answer.0);
    }
}

/// Checks that with loss the verdict is right or missing, and that no size is above the truth.
pub(crate) fn with_loss(name: &str, fault: fn() -> Fault) {
    let fault = fault().with_loss();
    let answer = ask(&format!("lossy::{name}"), &fault, 1);
    never_above_the_truth(&fault, &answer);
    let verdict = answer.verdict();
    // "The link loses packets of any size" is also true here.
    let is_right = verdict == fault.verdict || (fault.verdict == "fine" && verdict == "link-loses");
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
        ways(self.0["places"].as_array().unwrap(), direction)
    }

    /// The same for measurements on the host, the only ones that an ordinary user without
    /// containers can make.
    fn measured(&self, direction: Direction) -> impl Iterator<Item = &Value> {
        let places = self.0["places"].as_array().unwrap();
        ways(places.iter().filter(|place| place["place"] == "host"), direction)
    }
}

fn ways<'a>(places: impl IntoIterator<Item = &'a Value>, direction: Direction) -> impl Iterator<Item = &'a Value> {
    let key = if direction == Direction::Up { "up" } else { "down" };
    let paths = places.into_iter().flat_map(|place| place["paths"].as_array().unwrap());
    paths.map(move |path| &path[key])
}

fn ask(name: &str, fault: &Fault, seed: u64) -> Answer {
    let mut world = PathWorld::new(fault.rules.clone(), seed).unwrap();
    world.serve(fault.server).unwrap();
    if let Some(prepare) = fault.prepare {
        prepare(&world);
    }
    let start = Instant::now();
    let mut command = world.sandbox().as_user("alice").command("airpods");
    let output = command.args(["net", "check", "--json", "--no-proof", "--url", &fault.url()]).output().unwrap();
    documents::judge_output(&command, &output).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout);
    let answer = Answer(document.unwrap_or_else(|error| panic!("{name}: {error}: {}: {stderr}", output.status)));
    let sizes = |direction| {
        answer.measured(direction).map(|measured| measured["proven"].to_string()).collect::<Vec<_>>().join(" ")
    };
    let (up, down) = (sizes(Direction::Up), sizes(Direction::Down));
    let (took, connections) = (start.elapsed().as_secs_f64(), &answer.0["connections"]);
    println!("{name}: {} up {up} down {down}, {took:.1} s, {connections} connections", answer.verdict());
    assert!(start.elapsed() < TIMEOUT, "{name} took {took} s");
    assert_eq!(output.status.code(), Some(exit_code(answer.verdict())), "{name}: {}\n{stderr}", answer.verdict());
    answer
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
    for direction in [Direction::Up, Direction::Down] {
        let truth = u64::from(fault.truth(direction));
        for measured in answer.each(direction) {
            let proven = measured["proven"].as_u64();
            assert!(proven.is_none_or(|size| size <= truth), "{direction:?} above {truth}\n{:#}", answer.0);
            let failed = measured["failed"].as_u64();
            assert!(
                measured["confidence"] != "sure" || failed.is_none_or(|size| size == truth + 1),
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
    for (direction, size) in [(Direction::Up, fault.up), (Direction::Down, fault.down)] {
        let expected = match size {
            Size::Exact => fault.truth(direction),
            Size::Limited(limit) => limit,
            Size::AtMost | Size::Any => 0,
        };
        if size == Size::Any {
            continue;
        }
        if answer.measured(direction).next().is_none() {
            missing.push("no path was measured".to_owned());
        }
        for measured in answer.measured(direction) {
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
