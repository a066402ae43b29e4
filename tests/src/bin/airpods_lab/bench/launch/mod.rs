//! The cost of a launch: `airpods` beside podman's commands, podman's API, and the tools that do
//! the same.
//!
//! Each contender brings the same three services up on a network of their own, from a local image.
//! All are removed in the same way, off the clock. [`commands`] has the commands, [`rest`] the one
//! without any tool.

mod commands;
mod rest;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airpods_lab::{Image, Program, Sandbox, run};

use super::figures::{Series, table};
use super::{BenchError, Result, STOPWATCH, in_a_sandbox, stopwatch};

use commands::{COLD, OWN, RUNNING, SOCKET, STOPPED, TimedCommand, write_files};
use rest::Service;
pub(crate) use rest::minimum;

/// Timed rounds.
const ROUNDS: usize = 15;

/// The image of all services.
const IMAGE: &str = "localhost/lab:1";

/// A host with podman, and the stopwatch inside it.
///
/// # Errors
/// [`BenchError`], when a command does not run or does not do its work.
pub(super) fn launch() -> Result<()> {
    println!("\nLaunching three services, {ROUNDS} rounds:\n");
    let sandbox = Sandbox::new()?;
    sandbox.install(Program::Lab, STOPWATCH)?;
    sandbox.install(Program::Client, "/usr/bin/airpods")?;
    Image::serving(IMAGE, 80).import(&sandbox.as_user("root"))?;
    stopwatch(&sandbox, "launch")
}

/// The stopwatch. Runs in the sandbox as root.
///
/// # Errors
/// [`BenchError`], when a command does not run or does not do its work.
pub(crate) fn measure() -> Result<()> {
    in_a_sandbox()?;
    write_files()?;
    let present: Vec<&TimedCommand> = COLD.iter().filter(|command| command.is_there()).collect();
    present.iter().try_for_each(|command| prove(command))?;
    let mut cold = vec![Vec::new(); present.len()];
    for _ in 0..ROUNDS {
        for (command, times) in present.iter().zip(&mut cold) {
            times.push(time(command.line)?);
            take_down()?;
        }
    }
    let series = present.iter().zip(&cold).filter_map(|(command, times)| Series::new(command.name, times));
    println!("{}", table("ms", &series.collect::<Vec<_>>(), COLD[0].name));
    for absent in COLD.iter().filter(|command| !command.is_there()) {
        println!("{}: not installed here; `tests/setup.sh bench` installs it\n", absent.name);
    }

    let _service = Service::start(SOCKET)?;
    println!("With podman's socket and without, and of ten services:\n");
    let mut own = vec![Vec::new(); OWN.len()];
    for _ in 0..ROUNDS {
        for (command, times) in OWN.iter().zip(&mut own) {
            times.push(time(command.line)?);
            take_down()?;
        }
    }
    print(&OWN, &own);

    println!("After a stop:\n");
    time(COLD[0].line)?;
    let mut stopped = vec![Vec::new(); STOPPED.len()];
    for _ in 0..ROUNDS {
        for (command, times) in STOPPED.iter().zip(&mut stopped) {
            time(STOP)?;
            times.push(time(command.line)?);
        }
    }
    print(&STOPPED, &stopped);

    println!("With all of it running:\n");
    let mut running = vec![Vec::new(); RUNNING.len()];
    for _ in 0..ROUNDS {
        for (command, times) in RUNNING.iter().zip(&mut running) {
            times.push(time(command.line)?);
        }
    }
    let series = RUNNING.iter().zip(&running).filter_map(|(command, times)| Series::new(command.name, times));
    println!("{}", table("ms", &series.collect::<Vec<_>>(), "podman ps"));
    // A start with nothing to do makes its listings and reads back three containers, so reading
    // back alone takes no longer.
    let median = |times: &Vec<Duration>| Series::new("", times).map(|series| series.median());
    let nothing =
        RUNNING.iter().position(|command| command.line == STOPPED[1].line).and_then(|at| median(&running[at]));
    if let Some((nothing, whole)) = nothing.zip(median(&own[1])) {
        println!("Reading back is at most {:.1} % of a start by podman's socket.\n", 100.0 * nothing / whole);
    }
    take_down()
}

fn print(commands: &[TimedCommand], times: &[Vec<Duration>]) {
    let series = commands.iter().zip(times).filter_map(|(command, times)| Series::new(command.name, times));
    println!("{}", table("ms", &series.collect::<Vec<_>>(), commands[0].name));
}

/// Stops the services and keeps the containers.
const STOP: &str = "airpods stop";

/// Takes one untimed turn, and checks that three containers run.
fn prove(command: &TimedCommand) -> Result<()> {
    time(command.line)?;
    let running = run(Command::new("podman").args(["ps", "--filter", "ancestor=localhost/lab:1", "--quiet"]))?;
    if String::from_utf8_lossy(&running.stdout).lines().count() != 3 {
        return Err(BenchError::Unproven { line: command.line.to_owned(), proof: "podman ps" });
    }
    take_down()
}

/// Removes the services of any contender.
fn take_down() -> Result<()> {
    const LINE: &str = "podman pod rm --all --force --time 0; podman rm --all --force --time 0; \
                        podman network ls --quiet | grep -vx podman | xargs -r podman network rm";
    run(Command::new("sh").args(["-c", LINE])).map(drop)?;
    Ok(())
}

/// From before the process is made to after its end.
fn time(line: &str) -> Result<Duration> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = Command::new(words.first().copied().unwrap_or_default());
    command.args(words.get(1..).unwrap_or_default()).env("AIRPODS_CONFIG", commands::CONFIG);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log()?);
    let begin = Instant::now();
    let status = command.status();
    let took = begin.elapsed();
    match status {
        Ok(status) if status.success() => Ok(took),
        Ok(status) => {
            let output = fs::read_to_string(LOG).unwrap_or_default();
            eprintln!("{}{output}", status.signal().map_or_else(String::new, |signal| format!("signal {signal}\n")));
            Err(BenchError::Failed { line: line.to_owned() })
        }
        Err(source) => Err(BenchError::Io { doing: "start a contender", source }),
    }
}

/// The file with a contender's standard error, which is shown if it fails.
const LOG: &str = "/tmp/contender.log";

fn log() -> Result<fs::File> {
    fs::File::create(LOG).map_err(|source| BenchError::Io { doing: "make a log", source })
}
