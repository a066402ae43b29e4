//! The time and accuracy of measuring a path: `net check` beside echoes, tracepath and curl, on the
//! same paths.

use std::process::Command;
use std::time::Instant;

use airpods_lab::path::{Direction, LINK_MTU, Rules, Server};
use airpods_lab::{Family, PathWorld, Place};
use serde_json::Value;

use super::figures::Series;
use super::{BenchError, Result};

/// Worlds for each path, each with its own random seed.
const ROUNDS: u64 = 3;
/// The smallest packet of the echoes, in bytes: every IPv4 host accepts it (RFC 791).
const LEAST: u16 = 576;

/// The paths and their names.
fn paths() -> [(&'static str, Rules); 5] {
    let hole = || Rules::narrow(1300, 1300);
    [
        ("good", Rules::default()),
        ("hole at 1300", hole()),
        ("hole at 1300 downwards", Rules::default().with_limits(None, Some(1300))),
        ("hole at 1300, 150 ms", hole().with_round_trip(150)),
        ("hole at 1300, 5 % loss", hole().with_loss(0.05)),
    ]
}

/// The methods that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    NetCheck,
    /// `ping -M do`, halving the range of sizes, two echoes for each.
    Echoes,
    Tracepath,
    Curl,
}

impl Method {
    const ALL: [Self; 4] = [Self::NetCheck, Self::Echoes, Self::Tracepath, Self::Curl];

    fn name(self) -> &'static str {
        match self {
            Self::NetCheck => "airpods net check",
            Self::Echoes => "ping -M do, halving",
            Self::Tracepath => "tracepath",
            Self::Curl => "curl, 10 s at most",
        }
    }
}

/// The answer of a method about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The largest packet, in bytes.
    Size(u16),
    /// Whether a transfer works.
    Works(bool),
    /// No answer.
    Nothing,
}

impl Answer {
    /// Whether the answer is right; `None` without an answer. A size that is too small counts as
    /// wrong, even if the method calls it "at least".
    fn is_right(self, truth: u16) -> Option<bool> {
        match self {
            Self::Size(size) => Some(size == truth),
            Self::Works(works) => Some(works == (truth == LINK_MTU)),
            Self::Nothing => None,
        }
    }
}

/// One run.
struct Run {
    answer: Answer,
    seconds: f64,
    /// Connections and bytes sent, if known.
    cost: Option<(u64, u64)>,
}

/// Measures, and prints the table.
///
/// # Errors
/// [`BenchError`], when a world cannot be built or a program is missing.
pub(super) fn measure() -> Result<()> {
    println!(
        "| path | method | right / wrong / silent | median s | connections | kB sent |\n|---|---|---|--:|--:|--:|"
    );
    for (name, rules) in paths() {
        let truth = [Direction::Up, Direction::Down].into_iter().filter_map(|direction| rules.truth(direction)).min();
        let truth = truth.and_then(|size| u16::try_from(size).ok()).unwrap_or(LINK_MTU);
        for method in Method::ALL {
            let runs: Vec<Run> = (1..=ROUNDS).map(|seed| run(method, rules.clone(), seed)).collect::<Result<_>>()?;
            println!("{}", row(name, method, &runs, truth));
        }
    }
    Ok(())
}

fn row(path: &str, method: Method, runs: &[Run], truth: u16) -> String {
    let count = |wanted| runs.iter().filter(|run| run.answer.is_right(truth) == wanted).count();
    let median = |figures: Vec<f64>| Series::of("", figures).map(|series| series.median());
    let seconds = median(runs.iter().map(|run| run.seconds).collect()).unwrap_or_default();
    let cost = |part: fn((u64, u64)) -> u64| {
        let figures = runs.iter().filter_map(|run| run.cost).map(|cost| as_f64(part(cost))).collect();
        median(figures)
    };
    let connections = cost(|(connections, _)| connections).map_or("–".to_owned(), |median| format!("{median:.0}"));
    let kilobytes = cost(|(_, bytes)| bytes).map_or("–".to_owned(), |median| format!("{:.1}", median / 1000.0));
    let (right, wrong, silent) = (count(Some(true)), count(Some(false)), count(None));
    format!(
        "| {path} | {} | {right} / {wrong} / {silent} | {seconds:.1} | {connections} | {kilobytes} |",
        method.name()
    )
}

fn as_f64(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

fn run(method: Method, rules: Rules, seed: u64) -> Result<Run> {
    let mut world = PathWorld::new(rules, seed)?;
    world.serve(Server::Rsa)?;
    let start = Instant::now();
    let (answer, cost) = match method {
        Method::NetCheck => net_check(&world)?,
        Method::Echoes => (echoes(&world)?, None),
        Method::Tracepath => (tracepath(&world)?, None),
        Method::Curl => (curl(&world)?, None),
    };
    Ok(Run { answer, seconds: start.elapsed().as_secs_f64(), cost })
}

fn output(command: &mut Command) -> Result<std::process::Output> {
    command.output().map_err(|source| BenchError::Io { doing: "start a way of measuring", source })
}

/// Runs `net check` as an ordinary user.
fn net_check(world: &PathWorld) -> Result<(Answer, Option<(u64, u64)>)> {
    let url = format!("https://{}/", Server::Rsa.name_in(Family::V4));
    let mut command = world.sandbox().as_user("alice").command("airpods");
    let printed = output(command.args(["net", "check", "--json", "--no-proof", "--url", &url]))?;
    let document = serde_json::from_slice(&printed.stdout).map_err(|_| BenchError::NoNumber("airpods net check"))?;
    Ok(read_document(&document))
}

/// Reads the answer about the host's first path, and its cost in connections and bytes sent.
fn read_document(document: &Value) -> (Answer, Option<(u64, u64)>) {
    let path = &document["places"][0]["paths"][0];
    let proven = |direction: &str| path[direction]["proven"].as_u64().and_then(|size| u16::try_from(size).ok());
    let answer = proven("up").zip(proven("down")).map_or(Answer::Nothing, |(up, down)| Answer::Size(up.min(down)));
    (answer, path["connections"].as_u64().zip(path["bytes-up"].as_u64()))
}

/// The largest echo that comes back.
fn echoes(world: &PathWorld) -> Result<Answer> {
    /// IPv4's header and ICMP's.
    const HEADERS: u16 = 28;
    let (mut passes, mut fails) = (LEAST, LINK_MTU + 1);
    while fails - passes > 1 {
        let size = u16::midpoint(passes, fails);
        let mut ping = world.sandbox().command("ping");
        ping.args(["-q", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", &(size - HEADERS).to_string()]);
        let comes_back = output(ping.arg(Server::Rsa.address(Family::V4).to_string()))?.status.success();
        *(if comes_back { &mut passes } else { &mut fails }) = size;
    }
    Ok(if passes == LEAST { Answer::Nothing } else { Answer::Size(passes) })
}

fn tracepath(world: &PathWorld) -> Result<Answer> {
    let mut command = world.sandbox().command("tracepath");
    let printed = output(command.args(["-n", "-m", "3", &Server::Rsa.address(Family::V4).to_string()]))?;
    Ok(read_tracepath(&String::from_utf8_lossy(&printed.stdout)))
}

/// The last path MTU that tracepath names.
fn read_tracepath(printed: &str) -> Answer {
    let named = printed.rsplit("pmtu ").next().filter(|_| printed.contains("pmtu "));
    let size = named.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok());
    size.map_or(Answer::Nothing, Answer::Size)
}

fn curl(world: &PathWorld) -> Result<Answer> {
    let url = format!("https://{}/", Server::Rsa.name_in(Family::V4));
    let mut command = world.sandbox().command("curl");
    let ended = output(command.args(["--silent", "--insecure", "--max-time", "10", "--output", "/dev/null", &url]))?;
    Ok(Answer::Works(ended.status.success()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_size_is_right_to_the_byte_and_a_transfer_where_it_should_work() {
        assert_eq!(Answer::Size(1300).is_right(1300), Some(true));
        assert_eq!(Answer::Size(1299).is_right(1300), Some(false));
        assert_eq!(Answer::Works(true).is_right(LINK_MTU), Some(true));
        assert_eq!(Answer::Works(true).is_right(1300), Some(false));
        assert_eq!(Answer::Works(false).is_right(1300), Some(true));
        assert_eq!(Answer::Nothing.is_right(1300), None);
    }

    #[test]
    fn tracepath_is_read_to_its_last_word() {
        let printed =
            " 1?: [LOCALHOST]   pmtu 1420\n 1:  no reply\n     Too many hops: pmtu 1300\n     Resume: pmtu 1300 \n";
        assert_eq!(read_tracepath(printed), Answer::Size(1300));
        assert_eq!(read_tracepath("tracepath: nothing"), Answer::Nothing);
    }

    #[test]
    fn the_document_gives_the_smaller_direction_and_the_cost() {
        let path = json!({"up": {"proven": 1420}, "down": {"proven": 1300}, "connections": 9, "bytes-up": 4000});
        let document = json!({"places": [{"paths": [path]}]});
        assert_eq!(read_document(&document), (Answer::Size(1300), Some((9, 4000))));
        assert_eq!(read_document(&json!({})).0, Answer::Nothing);
    }

    #[test]
    fn a_row_counts_right_wrong_and_silent_runs() {
        let run = |answer| Run { answer, seconds: 2.0, cost: Some((9, 4000)) };
        let runs = [run(Answer::Size(1300)), run(Answer::Size(1420)), run(Answer::Nothing), run(Answer::Size(1300))];
        let row = row("hole", Method::NetCheck, &runs, 1300);
        assert_eq!(row, "| hole | airpods net check | 2 / 1 / 1 | 2.0 | 9 | 4.0 |");
    }
}
