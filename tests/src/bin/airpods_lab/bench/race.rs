//! The race itself, inside the sandbox. The contenders take turns in every round, so that other
//! load on the machine affects all of them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airpods_lab::run;
use nix::unistd::User;

use super::contenders::{ALICE, CONTENDERS, Contender, FLOOR, NAME, PATH, REFERENCE, write_files};
use super::figures::{Series, table};
use super::memory::Memory;
use super::{BenchError, Result, in_a_sandbox};

/// Timed rounds.
pub(super) const ROUNDS: usize = 100;
/// Untimed rounds before them. They load files into memory, let iptables make its tables, and prove
/// that each command works.
const WARM_UP: usize = 3;
/// Calls between two measurements of the helper's memory.
const CALLS: usize = 1000;

/// Runs the race and prints its outcome. It runs in the sandbox as root, when every daemon is on
/// the bus.
///
/// # Errors
/// [`BenchError`], when a contender does not run or does not do its work.
pub(crate) fn race() -> Result<()> {
    in_a_sandbox()?;
    let sizes = helper_sizes()?;
    for _ in 0..WARM_UP {
        time(ALICE, FLOOR)?;
        CONTENDERS.iter().try_for_each(prove)?;
    }
    let mut floor = Vec::new();
    let mut times: [[Vec<Duration>; 2]; CONTENDERS.len()] = Default::default();
    for _ in 0..ROUNDS {
        floor.push(time(ALICE, FLOOR)?);
        for (contender, [on, off]) in CONTENDERS.iter().zip(&mut times) {
            let [on_took, off_took] = turn(contender)?;
            on.push(on_took);
            off.push(off_took);
        }
    }
    let pairs = CONTENDERS.iter().zip(&times).flat_map(|(contender, times)| contender.names.into_iter().zip(times));
    let all = [("true: any process at all", &floor)].into_iter().chain(pairs);
    let series: Vec<Series> = all.filter_map(|(name, times)| Series::new(name, times)).collect();
    println!("{}", table("ms", &series, REFERENCE));
    if series.first().is_some_and(Series::is_disturbed) {
        println!("This machine was busy with other things: the least times tell more than the medians and ratios.\n");
    }
    println!("{sizes}");
    println!("firewalld: {}", Memory::of(owner("org.fedoraproject.FirewallD1")?)?.describe());
    Ok(())
}

/// Measures the helper's memory right after its start. Its first table is saved for the contender
/// nft.
fn helper_sizes() -> Result<String> {
    let [airpods, busctl, ..] = &CONTENDERS;
    run(Command::new("busctl").args(["call", NAME, PATH, NAME, "GetStatus"]))?;
    let helper = owner(NAME)?;
    let started = Memory::of(helper)?;
    let [on, off] = airpods.commands;
    run(&mut command(airpods.user, on)?)?;
    let listed = run(Command::new("nft").args(["list", "table", "inet", "airpods"]))?;
    write_files(&String::from_utf8_lossy(&listed.stdout))?;
    run(&mut command(airpods.user, off)?)?;
    for _ in 0..CALLS / 2 {
        turn(busctl)?;
    }
    let used = Memory::of(helper)?;
    Ok(format!("helper, started: {}; after {CALLS} changes: {}", started.describe(), used.describe()))
}

/// Takes one untimed turn, and checks the kernel's rules after each half.
fn prove(contender: &Contender) -> Result<()> {
    for (words, wanted) in contender.commands.into_iter().zip([true, false]) {
        run(&mut command(contender.user, words)?)?;
        let is_on = run(Command::new("sh").args(["-c", contender.proof])).is_ok();
        if is_on != wanted {
            return Err(BenchError::Unproven { line: words.join(" "), proof: contender.proof });
        }
    }
    Ok(())
}

/// The times of one turn: on, off.
fn turn(contender: &Contender) -> Result<[Duration; 2]> {
    let [on, off] = contender.commands;
    Ok([time(contender.user, on)?, time(contender.user, off)?])
}

/// The time from before the process is made until after its end.
fn time(user: &str, words: &[&str]) -> Result<Duration> {
    let mut command = command(user, words)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status();
    let took = begin.elapsed();
    match status {
        Ok(status) if status.success() => Ok(took),
        Ok(_) => Err(BenchError::Failed { line: words.join(" ") }),
        Err(source) => Err(BenchError::Io { doing: "start a contender", source }),
    }
}

/// A command by a user of the sandbox. root's is made in the same way, so that it costs the same.
fn command(user: &str, words: &[&str]) -> Result<Command> {
    let found =
        User::from_name(user).map_err(|source| BenchError::Io { doing: "look up a user", source: source.into() })?;
    let person = found.ok_or(BenchError::NoNumber("/etc/passwd"))?;
    let mut command = Command::new(words.first().copied().unwrap_or_default());
    command.args(words.get(1..).unwrap_or_default());
    command
        .uid(person.uid.as_raw())
        .gid(person.gid.as_raw())
        .current_dir("/")
        .env("HOME", person.dir)
        .env("USER", user);
    Ok(command)
}

/// The id of the process that owns a name on the bus.
///
/// # Errors
/// If the name has no owner.
pub(super) fn owner(name: &str) -> Result<u32> {
    const BUS: &str = "org.freedesktop.DBus";
    let answer = run(Command::new("busctl").args([
        "call",
        BUS,
        "/org/freedesktop/DBus",
        BUS,
        "GetConnectionUnixProcessID",
        "s",
        name,
    ]))?;
    // "u 42"
    let text = String::from_utf8_lossy(&answer.stdout);
    text.trim().strip_prefix("u ").and_then(|pid| pid.parse().ok()).ok_or(BenchError::NoNumber("busctl's answer"))
}
