//! Asking from within a container's network.
//!
//! An image need not have a program that asks, and need not be able to run ours. So this program enters the container's network
//! namespace instead, in a process of its own, and asks the servers that the container's resolv.conf names. A user may
//! do that with containers of their own podman, whose namespaces are theirs; root with all. With root's containers an
//! ordinary user may not.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Reply, ask, resolv_conf};
use crate::file;

/// What a server said that was asked from within.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The server.
    pub server: IpAddr,
    /// What it said.
    #[serde(flatten)]
    pub reply: Reply,
}

/// The name of the hidden command that does it.
pub const COMMAND: &str = "ask-inside";

/// How many servers of a container are asked: resolvers ask three (resolv.conf(5), `MAXNS`), and podman may list some more.
const MOST: usize = 8;

/// How long all of them may take together: they are asked side by side.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 1 << 16;

/// Asks from within the network of the process `pid`, by a process of our own.
///
/// # Errors
/// Where that may not be entered.
pub async fn ask_inside(pid: u32) -> io::Result<Vec<Asked>> {
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.args([COMMAND, &pid.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    let mut asking = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (out, err) = (asking.stdout.take(), asking.stderr.take());
    let answer = async { tokio::try_join!(said(out), said(err), asking.wait()) };
    let (out, err, status) = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| ErrorKind::TimedOut)??;
    if !status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&err).trim().to_owned()));
    }
    serde_json::from_slice(&out).map_err(io::Error::other)
}

/// What a process says, up to [`LONGEST`].
async fn said(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(stream) = stream {
        stream.take(LONGEST).read_to_end(&mut said).await?;
    }
    Ok(said)
}

/// Enters the network of the process `pid` for good and asks the servers that its resolv.conf names.
///
/// # Errors
/// The kernel's, mostly that this user may not.
pub fn enter_and_ask(pid: u32) -> io::Result<Vec<Asked>> {
    // What is in there, the container wrote.
    let conf = file::open_in_root(&Path::new(&format!("/proc/{pid}")).join("root"), Path::new("etc/resolv.conf"))?;
    let mut servers = resolv_conf::parse(&file::text(conf)?);
    servers.truncate(MOST);
    enter(pid)?;
    // Threads that are started now are in there as well.
    Ok(std::thread::scope(|scope| {
        let started: Vec<_> = servers.iter().map(|server| (*server, scope.spawn(move || ask(*server)))).collect();
        let asked = started.into_iter().map(|(server, asked)| {
            // A thread that ended without an answer got none.
            Asked { server, reply: asked.join().unwrap_or(Reply::Silent) }
        });
        asked.collect()
    }))
}

/// Enters the network of the process `pid` for good. To be called before any other thread is started: only the calling one enters.
///
/// # Errors
/// The kernel's, mostly that this user may not.
pub fn enter(pid: u32) -> io::Result<()> {
    let process = format!("/proc/{pid}");
    let users = File::open(format!("{process}/ns/user"))?;
    let network = File::open(format!("{process}/ns/net"))?;
    // Whoever made a user namespace has every right in it, and with that one in the namespaces that belong to it.
    if users.metadata()?.ino() != fs::metadata("/proc/self/ns/user")?.ino() {
        setns(users, CloneFlags::CLONE_NEWUSER)?;
    }
    setns(network, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}
