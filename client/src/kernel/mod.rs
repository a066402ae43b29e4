//! The kernel's view of a running container, read without rights from `/proc` and `/sys`. A value that cannot be read,
//! as for another user's podman, is unknown, and no answer is made up.

pub(crate) mod container;
mod host;

#[cfg(any(test, fuzzing))]
pub use container::cgroup_files;
pub use host::{Gateway, PathKind, gateways, is_taken};

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::port::HostPort;

/// The known facts of one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The most processes and threads.
    pub pids: Option<Bound<u64>>,
    /// The most that systemd allows the unit around the container, where that is less than the container was given.
    pub unit_pids: Option<u64>,
    /// The processes and threads that there are.
    pub processes: Option<Processes>,
    /// Bytes of memory.
    pub memory: Option<Bound<u64>>,
    /// CPUs.
    pub cpus: Option<Bound<f64>>,
    /// Each link in its network namespace but `lo`, with its MTU.
    pub links: Option<Vec<(String, u32)>>,
    /// Its devices but those that every container has.
    pub devices: Option<Vec<PathBuf>>,
    /// Those of the asked ports of the host on which nobody listens.
    pub silent_ports: Vec<HostPort>,
    /// The kernel parameters that were asked about, as they are in its namespaces.
    pub sysctls: Option<BTreeMap<String, String>>,
    /// Where paths of the host lead, the links on the way followed; only those that lead somewhere.
    pub leads_to: BTreeMap<PathBuf, PathBuf>,
}

/// The processes and threads of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processes {
    /// How many there are.
    pub current: u64,
    /// How often one more was refused, because the limit was reached.
    pub refused: u64,
}

/// A limit of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound<T> {
    /// There is none.
    None,
    /// So many.
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

/// Whether a process of this number is there.
#[must_use]
pub fn lives(pid: u32) -> bool {
    // One that is not this user's is there as well, whether /proc shows it or not (kill(2)).
    let Ok(pid) = i32::try_from(pid) else { return false };
    !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

impl View {
    /// Looks at the container of this id whose first process is `pid`, and at ports of the host.
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
            silent_ports: ports.iter().copied().filter(|port| host::is_silent(*port)).collect(),
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

    /// Finds out where these paths of the host lead.
    pub fn follow<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        let led = |path: &Path| Some((path.to_owned(), path.canonicalize().ok()?));
        self.leads_to.extend(paths.into_iter().filter_map(led));
    }
}
