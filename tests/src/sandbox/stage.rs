//! The processes that a sandbox is made of. They are re-executions of the program `airpods-lab`,
//! because forking a threaded test would need unsafe code.
//!
//! * [`supervisor`] runs outside. It makes the control groups, starts `init`, and waits for the end
//!   of the pipe that the test holds. However the test ends, it then kills `init` and removes the
//!   groups.
//! * [`init`] is process 1 of the sandbox. When it ends, the kernel kills everything inside and
//!   frees the namespaces.
//! * [`enter`] runs a command inside.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};

use super::{cgroup, people, root};
use crate::error::{Doing, Error, Result, chain};
use crate::programs::Program;

/// First word of the supervisor's line on standard output when the sandbox stands; the process id
/// of `init` follows.
pub(super) const READY: &str = "ready";

/// Outside the sandbox: makes it, waits for the end of standard input, removes it.
///
/// # Errors
/// When the sandbox cannot be made, or something of it cannot be removed.
pub fn supervisor() -> Result<()> {
    // Leaves the terminal's session: Ctrl-C ends the test, and the supervisor cleans up after it.
    let _ = setsid();
    sweep_stale_groups();
    let hierarchies = cgroup::hierarchies()?;
    let groups = cgroup::make(&hierarchies, &format!("{GROUP_PREFIX}{}", std::process::id()))?;
    let outcome = start_init(&groups).and_then(|(mut init, line)| {
        println!("{line}");
        let _ = std::io::stdout().flush();
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        init.kill().doing(|| "kill the sandbox".into())?;
        init.wait().doing(|| "wait for the sandbox's end".into()).map(drop)
    });
    let left = cgroup::remove(&groups);
    outcome?;
    match left.first() {
        None => Ok(()),
        Some(group) => Err(Error::NotReady {
            what: format!("the removal of `{}`", group.display()),
            reason: "processes are left in it".into(),
        }),
    }
}

/// A sandbox's groups are named after its supervisor.
const GROUP_PREFIX: &str = "airpods-lab-";

/// Removes the groups of supervisors that were themselves killed.
fn sweep_stale_groups() {
    let orphaned = |group: &PathBuf| {
        let supervisor =
            group.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(GROUP_PREFIX));
        supervisor.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    let groups = cgroup::hierarchies().and_then(|found| cgroup::siblings(&found, GROUP_PREFIX));
    let stale: Vec<PathBuf> = groups.unwrap_or_default().into_iter().filter(orphaned).collect();
    let _ = cgroup::remove(&stale);
}

/// Starts process 1 and returns it with the line for the test.
fn start_init(groups: &[PathBuf]) -> Result<(Child, String)> {
    unshare(CloneFlags::CLONE_NEWPID).doing(|| "make a pid namespace".into())?;
    let mut init = Command::new(Program::Lab.path()?)
        .arg("init")
        .args(groups)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .doing(|| "start the sandbox's init".into())?;
    let mut line = String::new();
    if let Some(out) = init.stdout.take() {
        BufReader::new(out).read_line(&mut line).doing(|| "hear from the sandbox's init".into())?;
    }
    if line.trim() == READY {
        let line = format!("{READY} {}", init.id());
        return Ok((init, line));
    }
    let _ = init.kill();
    let _ = init.wait();
    Err(Error::NotReady { what: "the sandbox".into(), reason: line.trim().into() })
}

/// Process 1 of a sandbox: builds the inside, reports that it is ready, and reaps until it is
/// killed.
///
/// # Errors
/// When a step of the making fails; the same sentence is printed on standard output for the
/// supervisor.
pub fn init(groups: &[PathBuf]) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).doing(|| "tie the sandbox to its supervisor".into())?;
    if let Err(error) = make_inside(groups) {
        println!("{}", chain(&error).replace('\n', " "));
        return Err(error);
    }
    let children = SigSet::from(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&children), None).doing(|| "block SIGCHLD".into())?;
    println!("{READY}");
    let _ = std::io::stdout().flush();
    loop {
        while matches!(waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        children.wait().doing(|| "wait for a child".into())?;
    }
}

fn make_inside(groups: &[PathBuf]) -> Result<()> {
    cgroup::join(groups)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .doing(|| "make the sandbox's namespaces (it needs root)".into())?;
    let hierarchies = cgroup::hierarchies()?;
    root::build(&hierarchies)?;
    cgroup::join_leaf(None)?;
    cgroup::delegate_controllers()?;
    nix::unistd::sethostname("sandbox").doing(|| "name the sandbox".into())?;
    crate::place::run(Command::new("sh").args(["-euc", NETWORK_SETUP])).map(drop)
}

/// The first commands in every network namespace of a sandbox. They turn off duplicate address
/// detection (RFC 4862), which keeps an IPv6 link silent for a second. There are no other hosts on
/// these links.
pub(super) const NETWORK_SETUP: &str =
    "ip link set lo up; sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0";

/// Where and as whom [`enter`] runs a command.
#[derive(Debug)]
pub struct Entrance {
    /// Process 1 of the sandbox, seen from outside.
    pub init: u32,
    /// A network namespace made inside with `ip netns add`; the sandbox's own when `None`.
    pub netns: Option<String>,
    /// The user; root when `None`.
    pub user: Option<String>,
}

/// Runs a command inside a sandbox and ends as it ends (128 + the number when a signal ended it).
/// SIGTERM, SIGINT and SIGHUP are passed on. If this process is killed, the kernel kills the
/// command too. A command that has changed its user lives on until the sandbox ends, because that
/// change clears its parent-death signal.
///
/// # Errors
/// When a namespace cannot be entered or the command cannot be started.
pub fn enter(entrance: &Entrance, words: &[String]) -> Result<ExitCode> {
    let namespace = |kind: &str| {
        let path = format!("/proc/{}/ns/{kind}", entrance.init);
        File::open(&path).doing(|| format!("open `{path}` (the sandbox is gone)"))
    };
    let join = |file: File| setns(file, CloneFlags::empty()).doing(|| "enter a namespace of the sandbox".into());
    let others = ["net", "ipc", "uts", "cgroup", "pid"].map(namespace);
    join(namespace("mnt")?)?;
    // Joins before entering the cgroup namespace: from outside, no delegation boundary forbids the
    // move.
    let person = entrance.user.as_deref().and_then(people::person).map(|person| person.uid);
    cgroup::join_leaf(person)?;
    for other in others {
        join(other?)?;
    }
    if let Some(name) = &entrance.netns {
        let path = format!("/run/netns/{name}");
        join(File::open(&path).doing(|| format!("open `{path}`"))?)?;
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = &entrance.user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    let status = run_passing_signals(command.arg("--").args(words)).doing(|| format!("run `{}`", words.join(" ")))?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Runs a command to its end, passing signals on to it.
fn run_passing_signals(command: &mut Command) -> io::Result<ExitStatus> {
    let mut watched = SigSet::from(Signal::SIGCHLD);
    watched.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    let mut child = command.spawn()?;
    // Block the signals only after the spawn, because a child inherits the mask.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), None)?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match watched.wait()? {
            Signal::SIGCHLD => {}
            signal => kill(Pid::from_raw(child.id().cast_signed()), signal)?,
        }
    }
}
