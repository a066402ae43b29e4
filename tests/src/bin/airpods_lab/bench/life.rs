//! The helper's life: the time of a start, the time until a new link is clamped, and the cost while
//! nothing happens.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use airpods_dbus::HelperProxy;
use airpods_lab::run;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use nix::unistd::Pid;

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
/// Time limit in milliseconds. It is longer than anything here takes.
const LIMIT: u16 = 10_000;

/// `RTMGRP_IPV4_IFADDR` of `linux/rtnetlink.h`.
const ADDRESSES: u32 = 0x10;
/// `NFNLGRP_NFTABLES` (7) of `linux/netfilter/nfnetlink.h`, as a bit.
const RULES: u32 = 1 << 6;

/// Measures inside the sandbox, as root, with a bus and polkitd, and prints the results.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn life() -> Result<()> {
    in_a_sandbox()?;
    let starts = starts()?;
    let helper = {
        run(Command::new("busctl").args(["call", NAME, "/org/airpods/Helper1", NAME, "ClampOn", "sa{sv}", "", "0"]))?;
        owner(NAME)?
    };
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
    ] {
        let series = Series::new(what, times).ok_or(BenchError::NoNumber("an empty series"))?;
        println!("| {what} | {:.2} ms | {:.2} ms |", series.median(), series.p99());
    }
    println!("\nwake-ups in {} s of calm: {wakes}", CALM.as_secs());
    println!("memory, started: {}; after {CALLS} calls: {}", first.describe(), used.describe());
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
        let pid = Pid::from_raw(i32::try_from(helper.id()).map_err(|_| BenchError::NoNumber("a process's number"))?);
        kill(pid, Signal::SIGTERM).map_err(|errno| io("end the helper")(errno.into()))?;
        helper.wait().map_err(io("wait for the helper"))?;
    }
    Ok(times)
}

/// The times from the kernel's announcement of a new link's address to that of the new rules.
/// `calm` is the pause before and after each.
fn reactions(links: Range<usize>, calm: Duration) -> Result<Vec<Duration>> {
    let addresses = listen(SockProtocol::NetlinkRoute, ADDRESSES)?;
    let rules = listen(SockProtocol::NetlinkNetFilter, RULES)?;
    let mut times = Vec::new();
    for number in links {
        run(Command::new("sh")
            .args(["-c", &format!("ip tuntap add mode tun name b{number} && ip link set b{number} up")]))?;
        // Wait until the events of the link itself have passed.
        sleep(calm);
        drain(&rules)?;
        drain(&addresses)?;
        let mut add = Command::new("ip");
        add.args(["address", "add", &format!("10.77.{number}.1/24"), "dev", &format!("b{number}")]);
        let mut adding = add.spawn().map_err(|source| BenchError::Io { doing: "run ip", source })?;
        wait(&addresses)?;
        let begin = Instant::now();
        wait(&rules)?;
        times.push(begin.elapsed());
        adding.wait().map_err(|source| BenchError::Io { doing: "wait for ip", source })?;
        run(Command::new("ip").args(["link", "delete", &format!("b{number}")]))?;
        sleep(calm);
    }
    Ok(times)
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> BenchError {
    move |errno| BenchError::Io { doing, source: errno.into() }
}

fn listen(protocol: SockProtocol, groups: u32) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let opened =
        socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(failed("open a netlink socket"))?;
    bind(opened.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(failed("listen to the kernel"))?;
    Ok(opened)
}

fn wait(socket: &OwnedFd) -> Result<()> {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::from(LIMIT)).map_err(failed("wait for the kernel"))? {
        0 => Err(BenchError::NoNumber("the kernel's silence")),
        _ => Ok(()),
    }
}

fn drain(socket: &OwnedFd) -> Result<()> {
    // The contents do not matter, so a datagram may be cut off.
    let mut buffer = [0; 4096];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(failed("hear the kernel")(errno)),
        }
    }
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
