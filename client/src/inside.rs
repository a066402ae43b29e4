//! Runs a part of airpods in the namespaces of a container.
//!
//! An image need not have a program for the work, and may be unable to run ours. So a process of
//! airpods enters the container's network namespace instead. An ordinary user may do that with
//! containers of their own podman, whose user namespace is theirs. Only root may enter those of
//! root's containers. The hidden commands that the process runs are here, too.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::dns::ask::enter_and_ask;
use crate::error::{Exit, Failure, Report};
use crate::kernel::container::enter_and_read;
use crate::measure::places::enter_and_measure;
use crate::terminal::print_json;

/// Upper bound on an answer, in bytes: that of a measurement has some 10 kB.
const MAX_OUTPUT: u64 = 1 << 18;

/// Runs the hidden `command` of airpods in the network of the process `pid`. It gets `input` on
/// standard input, and answers in JSON.
///
/// # Errors
/// The network may not be entered, or no answer comes in time.
pub(crate) async fn run(command: &str, pid: u32, input: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let mut child = tokio::process::Command::new("/proc/self/exe")
        .args([command, &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        match stdin {
            // A command that needs no input may have ended already.
            Some(mut stdin) => stdin.write_all(input).await.or_else(|error| match error.kind() {
                ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            }),
            None => Ok(()),
        }
    };
    let answer = async { tokio::try_join!(give, read_output(out), read_output(err), child.wait()) };
    let ((), out, err, status) = tokio::time::timeout(timeout, answer).await.map_err(|_| ErrorKind::TimedOut)??;
    if status.success() {
        return Ok(out);
    }
    let output = String::from_utf8_lossy(&err);
    let line = output.lines().next().unwrap_or_default().trim_start_matches("error: ");
    Err(io::Error::other(line.to_owned()))
}

/// The output of a process, up to [`MAX_OUTPUT`].
async fn read_output(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if let Some(stream) = stream {
        stream.take(MAX_OUTPUT).read_to_end(&mut output).await?;
    }
    Ok(output)
}

/// The kinds of namespace that can be entered, by their names in `/proc/PID/ns`.
const KINDS: [(&str, CloneFlags); 2] = [("net", NETWORK), ("ipc", CloneFlags::CLONE_NEWIPC)];

/// The network alone.
pub(crate) const NETWORK: CloneFlags = CloneFlags::CLONE_NEWNET;

/// The network, and the namespace of System V IPC and POSIX message queues.
pub(crate) const NETWORK_AND_IPC: CloneFlags = NETWORK.union(CloneFlags::CLONE_NEWIPC);

/// Enters these namespaces of the process `pid`; there is no way back. Call it before any other
/// thread starts. setns(2) moves only the calling thread, and refuses a user namespace to a process
/// with several threads.
///
/// # Errors
/// The kernel's, mostly that this user may not enter.
pub(crate) fn enter(pid: u32, wanted: CloneFlags) -> io::Result<()> {
    let process = format!("/proc/{pid}");
    let users = File::open(format!("{process}/ns/user"))?;
    let open = |(name, flag): (&str, CloneFlags)| Ok((File::open(format!("{process}/ns/{name}"))?, flag));
    let kinds = KINDS.into_iter().filter(|(_, flag)| wanted.contains(*flag));
    let namespaces: Vec<(File, CloneFlags)> = kinds.map(open).collect::<io::Result<_>>()?;
    // The creator of a user namespace has every capability in it, and thereby in the namespaces
    // that belong to it. Joining the own user namespace once more would fail with `EINVAL`
    // (setns(2)).
    if users.metadata()?.ino() != fs::metadata("/proc/self/ns/user")?.ino() {
        setns(users, CloneFlags::CLONE_NEWUSER)?;
    }
    namespaces.into_iter().try_for_each(|(namespace, flag)| setns(namespace, flag))?;
    Ok(())
}

/// The arguments of `airpods ask-inside`, `airpods measure-inside` and `airpods sysctl-inside`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A process in the network
    #[arg(value_name = "PID")]
    pid: u32,
}

/// The network cannot be entered.
#[derive(Debug, thiserror::Error)]
#[error("the network of the process {pid} cannot be entered")]
struct Closed {
    pid: u32,
    #[source]
    cause: io::Error,
}

impl Report for Closed {}

/// Runs `airpods ask-inside`.
///
/// # Errors
/// The kernel's, where the network may not be entered.
pub(crate) fn ask(args: &Args) -> Result<Exit, Failure> {
    answer(args.pid, enter_and_ask)
}

/// Runs `airpods measure-inside`.
///
/// # Errors
/// The kernel's, where the network may not be entered.
pub(crate) fn measure(args: &Args) -> Result<Exit, Failure> {
    answer(args.pid, enter_and_measure)
}

/// Runs `airpods sysctl-inside`.
///
/// # Errors
/// The kernel's, where the namespaces may not be entered.
pub(crate) fn sysctl(args: &Args) -> Result<Exit, Failure> {
    answer(args.pid, enter_and_read)
}

fn answer<T: Serialize>(pid: u32, work: impl FnOnce(u32) -> io::Result<T>) -> Result<Exit, Failure> {
    print_json(&work(pid).map_err(|cause| Closed { pid, cause })?)?;
    Ok(Exit::Done)
}
