//! The kernel's view of a running container, and of the host's paths and ports, read without
//! privileges from `/proc` and `/sys`. A value that cannot be read, as for another user's
//! podman, is unknown; none is made up.

pub(crate) mod container;

#[cfg(any(test, fuzzing))]
pub use container::cgroup_files;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{Error, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::port::{HostPort, Protocol};

/// The facts about one container; `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The limit on processes and threads.
    pub pids: Option<Bound<u64>>,
    /// The limit that systemd sets on the unit around the container, if it is stricter than the
    /// container's own.
    pub unit_pids: Option<u64>,
    /// The number of processes and threads.
    pub processes: Option<Processes>,
    /// The memory limit in bytes.
    pub memory: Option<Bound<u64>>,
    /// The limit in CPUs.
    pub cpus: Option<Bound<f64>>,
    /// Every link in its network namespace except `lo`, with its MTU.
    pub links: Option<Vec<(String, u32)>>,
    /// Its devices, except those that every container has.
    pub devices: Option<Vec<PathBuf>>,
    /// The host ports, of those asked about, on which no program listens.
    pub silent_ports: Vec<HostPort>,
    /// The requested kernel parameters, as they are in its namespaces.
    pub sysctls: Option<BTreeMap<String, String>>,
    /// The target of each host path, with symbolic links resolved. A path that does not exist has
    /// no entry.
    pub leads_to: BTreeMap<PathBuf, PathBuf>,
}

/// The processes and threads of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processes {
    /// The present number.
    pub current: u64,
    /// How often the kernel refused another one because the limit was reached.
    pub refused: u64,
}

/// A limit that the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound<T> {
    /// There is no limit.
    None,
    /// The limit.
    At(T),
}

impl<T: fmt::Display> fmt::Display for Bound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no limit"),
            Self::At(limit) => limit.fmt(f),
        }
    }
}

/// Whether a process with this id exists.
#[must_use]
pub fn lives(pid: u32) -> bool {
    // EPERM means that another user's process exists, even if /proc hides it (kill(2)).
    let Ok(pid) = i32::try_from(pid) else { return false };
    !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

impl View {
    /// Reads the facts about the container with this id, whose first process is `pid`, and about
    /// these host ports.
    #[must_use]
    pub fn of(pid: u32, container_id: &str, ports: &[HostPort]) -> Self {
        let limits = container::Limits::of(pid, container_id);
        Self {
            pids: limits.pids(),
            unit_pids: limits.unit_pids(),
            processes: limits.processes(),
            memory: limits.memory(),
            cpus: limits.cpus(),
            links: container::links(pid),
            devices: container::devices(pid),
            silent_ports: ports.iter().copied().filter(|port| is_silent(*port)).collect(),
            sysctls: None,
            leads_to: BTreeMap::new(),
        }
    }

    /// Reads these kernel parameters of the container whose first process is `pid`.
    pub async fn read_sysctls(&mut self, pid: u32, names: &[&str]) {
        if !names.is_empty() {
            self.sysctls = container::read_inside(pid, names).await;
        }
    }

    /// Resolves these host paths.
    pub fn follow<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        let led = |path: &Path| Some((path.to_owned(), path.canonicalize().ok()?));
        self.leads_to.extend(paths.into_iter().filter_map(led));
    }
}

/// The kind of file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A folder.
    Folder,
    /// A file, or anything else that is not a folder.
    File,
    /// Nothing is there.
    Missing,
    /// Nothing is there, and nothing can be created: a part of the path is a file.
    Blocked,
}

impl PathKind {
    /// Looks at a path; `None` if this user may not.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Some(Self::Folder),
            Ok(_) => Some(Self::File),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(Self::Missing),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Some(Self::Blocked),
            Err(_) => None,
        }
    }
}

/// Whether another program has a port, on its address or on every address. A port that this user
/// may not listen on counts as free: nothing is known about it.
#[must_use]
pub fn is_taken(port: HostPort) -> bool {
    listen(port).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

/// Whether no program listens on a port, which is the case if this user can listen on it.
fn is_silent(port: HostPort) -> bool {
    listen(port).is_ok()
}

fn listen(port: HostPort) -> Result<(), Error> {
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(port.listens_at()).map(drop),
        Protocol::Udp => UdpSocket::bind(port.listens_at()).map(drop),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_port_is_taken_for_its_protocol_and_its_address_alone() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let here = HostPort { address: Some(address.ip()), port: address.port(), protocol: Protocol::Udp };
        assert!(is_taken(here) && is_taken(HostPort { address: None, ..here }));
        assert!(!is_taken(HostPort { protocol: Protocol::Tcp, ..here }));
        assert!(!is_taken(HostPort { address: "127.0.0.2".parse().ok(), ..here }));
        drop(socket);
        assert!(is_silent(here));
    }
}
