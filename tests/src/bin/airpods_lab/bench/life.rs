//! The helper's life: the time of a start, the time until a new link is clamped, and the cost while
//! nothing happens.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use airpods_dbus::HelperProxy;
use airpods_dbus::names::{BUS_NAME, INTERFACE, OBJECT_PATH};
use airpods_lab::raw_bus::{RawConnection, RawMessage};
use airpods_lab::run;
use airpods_lab::sandbox::people::PEOPLE;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::announcements::{Announcements, LIMIT};
use super::contenders::NAME;
use super::figures::Series;
use super::memory::Memory;
use super::race::owner;
use super::{BenchError, Result, in_a_sandbox};

/// Timed starts.
const STARTS: usize = 50;
/// Links that come up one at a time, then those of the storm. The names differ, because a name that
/// was seen once stays in the table.
const LINKS: [Range<usize>; 2] = [0..100, 100..200];
/// The pause between links that come and go in a storm.
const STORM: Duration = Duration::from_millis(30);
/// The same pause outside a storm. It is longer than the helper's memory of earlier events.
const BY_ITSELF: Duration = Duration::from_millis(300);
/// Calls between two measurements of the memory.
const CALLS: usize = 10_000;
/// How long the idle helper is observed.
const CALM: Duration = Duration::from_secs(10);
/// Losses that the helper repairs at once in each of its lives, before it backs off.
const LOSSES: usize = 3;
/// The lives of the helper in which it loses its table.
const LIVES: usize = 34;
/// The bus's limits for one user and one connection (dbus-daemon(1)).
const CONNECTIONS: usize = 250;
const OPEN_CALLS: usize = 128;

/// Measures inside the sandbox, as root, with a bus and polkitd, and prints the results.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn life() -> Result<()> {
    in_a_sandbox()?;
    let starts = starts()?;
    let repairs = repairs()?;
    let helper = clamped_helper()?;
    let first = Memory::of(helper)?;
    let [alone, many] = LINKS;
    let (by_itself, in_a_storm) = (reactions(alone, BY_ITSELF)?, reactions(many, STORM)?);
    // Wait until the helper has finished its work for the last link.
    sleep(Duration::from_secs(2));
    let wakes = wakes(helper)?;
    zruntime::block_on(calls())?;
    let used = Memory::of(helper)?;
    println!("| the helper | median | p99 |\n|---|---:|---:|");
    for (what, times) in [
        ("from exec to its name on the bus", &starts),
        ("from a link's address to its rule", &by_itself),
        ("the same while links come and go", &in_a_storm),
        ("from a foreign flush to the rules", &repairs),
    ] {
        let series = Series::new(what, times).ok_or(BenchError::NoNumber("an empty series"))?;
        println!("| {what} | {:.2} ms | {:.2} ms |", series.median(), series.p99());
    }
    println!("\nwake-ups in {} s of calm: {wakes}", CALM.as_secs());
    println!("memory, started: {}; after {CALLS} calls: {}", first.describe(), used.describe());
    flood()?;
    println!(
        "in a flood of {CONNECTIONS} connections with {OPEN_CALLS} open calls each: at most {}; afterwards: {}",
        Memory::peak_of(helper)?,
        Memory::of(helper)?.describe()
    );
    Ok(())
}

/// The process of a helper that the bus has started, with auto on.
fn clamped_helper() -> Result<u32> {
    run(Command::new("busctl").args(["call", NAME, OBJECT_PATH, INTERFACE, "ClampOn", "sa{sv}", "", "0"]))?;
    owner(NAME)
}

/// The times from the kernel's announcement that the whole ruleset is gone to that of the new
/// table. The helper repairs the first losses at once, so each of its lives has a few.
fn repairs() -> Result<Vec<Duration>> {
    // Without a VPN link the helper has no table to lose.
    let link = "ip tuntap add mode tun name lost && ip link set lost up && ip address add 10.76.0.1/24 dev lost";
    run(Command::new("sh").args(["-c", link]))?;
    let rules = Announcements::of_rules()?;
    let mut times = Vec::new();
    for _ in 0..LIVES {
        let helper = clamped_helper()?;
        for _ in 0..LOSSES {
            sleep(BY_ITSELF);
            rules.drain()?;
            let mut flush = Command::new("nft");
            times.push(timed(flush.args(["flush", "ruleset"]), || rules.wait(), || rules.wait_for_new_table())?);
        }
        end(helper)?;
    }
    run(Command::new("ip").args(["link", "delete", "lost"]))?;
    Ok(times)
}

/// The time between two announcements that a command causes. It may end later than both.
fn timed(
    command: &mut Command,
    cause: impl FnOnce() -> Result<()>,
    effect: impl FnOnce() -> Result<()>,
) -> Result<Duration> {
    let mut running = command.spawn().map_err(|source| BenchError::Io { doing: "run a command", source })?;
    cause()?;
    let begin = Instant::now();
    effect()?;
    let took = begin.elapsed();
    running.wait().map_err(|source| BenchError::Io { doing: "wait for a command", source })?;
    Ok(took)
}

/// Ends a helper, and waits until it has left the bus.
fn end(helper: u32) -> Result<()> {
    let failed = |errno: Errno| BenchError::Io { doing: "end the helper", source: errno.into() };
    kill(pid(helper)?, Signal::SIGTERM).map_err(failed)?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(LIMIT.into()) {
        if kill(pid(helper)?, None) == Err(Errno::ESRCH) {
            return Ok(());
        }
        sleep(Duration::from_millis(5));
    }
    Err(BenchError::NoNumber("a helper that does not end"))
}

fn pid(process: u32) -> Result<Pid> {
    i32::try_from(process).map(Pid::from_raw).map_err(|_| BenchError::NoNumber("a process's number"))
}

/// One user's calls on as many connections, and with as many open on each, as the bus allows.
fn flood() -> Result<()> {
    let io = |source| BenchError::Io { doing: "flood the helper", source };
    let introspect = RawMessage::call(BUS_NAME, OBJECT_PATH, "org.freedesktop.DBus.Introspectable", "Introspect");
    let socket = Path::new("/run/dbus/system_bus_socket");
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(RawConnection::open(PEOPLE[0].uid, socket)?);
    }
    for connection in &mut connections {
        for _ in 0..OPEN_CALLS {
            connection.send(&introspect).map_err(io)?;
        }
    }
    // The bus hands messages on in their order, so this answer comes after all of the flood. Most
    // calls of the flood are refused, and many get no answer at all.
    run(Command::new("busctl").args(["call", NAME, OBJECT_PATH, INTERFACE, "GetStatus"]))?;
    Ok(())
}

/// The times from before the process is made until it reports that it owns its name.
fn starts() -> Result<Vec<Duration>> {
    const SOCKET: &str = "/run/bench-notify";
    let io = |doing| move |source| BenchError::Io { doing, source };
    let told = UnixDatagram::bind(SOCKET).map_err(io("listen for the helper"))?;
    // The helper is no longer root when it writes to the socket.
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).map_err(io("open the socket to the helper"))?;
    told.set_read_timeout(Some(Duration::from_millis(LIMIT.into()))).map_err(io("set a timeout"))?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let mut command = Command::new("/usr/libexec/airpods-helper");
        command.env("NOTIFY_SOCKET", SOCKET).stderr(Stdio::null());
        let begin = Instant::now();
        let mut helper = command.spawn().map_err(io("start the helper"))?;
        let mut word = [0; 512];
        loop {
            let length = told.recv(&mut word).map_err(io("hear from the helper"))?;
            if word[..length].windows(7).any(|part| part == b"READY=1") {
                times.push(begin.elapsed());
                break;
            }
        }
        kill(pid(helper.id())?, Signal::SIGTERM).map_err(|errno| io("end the helper")(errno.into()))?;
        helper.wait().map_err(io("wait for the helper"))?;
    }
    Ok(times)
}

/// The times from the kernel's announcement of a new link's address to that of the new rules.
/// `calm` is the pause before and after each.
fn reactions(links: Range<usize>, calm: Duration) -> Result<Vec<Duration>> {
    let (addresses, rules) = (Announcements::of_addresses()?, Announcements::of_rules()?);
    let mut times = Vec::new();
    for number in links {
        run(Command::new("sh")
            .args(["-c", &format!("ip tuntap add mode tun name b{number} && ip link set b{number} up")]))?;
        // Wait until the events of the link itself have passed.
        sleep(calm);
        rules.drain()?;
        addresses.drain()?;
        let mut add = Command::new("ip");
        add.args(["address", "add", &format!("10.77.{number}.1/24"), "dev", &format!("b{number}")]);
        times.push(timed(&mut add, || addresses.wait(), || rules.wait())?);
        run(Command::new("ip").args(["link", "delete", &format!("b{number}")]))?;
        sleep(calm);
    }
    Ok(times)
}

/// The number of wake-ups of all threads of an idle process.
fn wakes(pid: u32) -> Result<u64> {
    let before = switches(pid)?;
    sleep(CALM);
    Ok(switches(pid)?.saturating_sub(before))
}

/// Context switches of all threads, from their `status` (proc(5)).
fn switches(pid: u32) -> Result<u64> {
    let io = |source| BenchError::Io { doing: "read a process's threads", source };
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(io)? {
        let status = fs::read_to_string(thread.map_err(io)?.path().join("status")).map_err(io)?;
        let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok());
        sum += counts.sum::<u64>();
    }
    Ok(sum)
}

/// Switches a clamp on and off repeatedly, over one connection.
async fn calls() -> Result<()> {
    let bus = |_| BenchError::NoNumber("the bus's answer");
    let connection = zbus::connection::Builder::system().build().await.map_err(bus)?;
    let helper = HelperProxy::new(&connection).await.map_err(bus)?;
    for _ in 0..CALLS / 2 {
        helper.clamp_on("wg0", HashMap::new()).await.map_err(bus)?;
        helper.clamp_off("wg0").await.map_err(bus)?;
    }
    Ok(())
}
