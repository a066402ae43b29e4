//! Asking from within a container's network the servers that its resolv.conf names, see [`crate::inside`].

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Reply, ask, resolv_conf};
use crate::file;
use crate::inside::{self, enter};

/// What a server said that was asked from within.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The server.
    pub server: IpAddr,
    /// Its output.
    #[serde(flatten)]
    pub reply: Reply,
}

/// The name of the hidden command that does it.
pub const COMMAND: &str = "ask-inside";

/// How many servers of a container are asked: resolvers ask three (resolv.conf(5), `MAXNS`), and podman may list some more.
const MOST: usize = 8;

/// How long all of them may take together: they are asked side by side.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks from within the network of the process `pid`, by a process of our own.
///
/// # Errors
/// Where that may not be entered.
pub async fn ask_inside(pid: u32) -> io::Result<Vec<Asked>> {
    let answer = inside::run(COMMAND, pid, &[], PATIENCE).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
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
