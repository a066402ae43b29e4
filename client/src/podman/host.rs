//! podman's host: podman's version and what depends on it, facts that explain a failure, and the
//! program that connects a user's own podman to the network.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::rest::or_default;
use crate::file::{self, Links, Owner};

/// Facts that explain why a limit is not in force, or why a network or an image is not available.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// podman runs as an ordinary user.
    pub rootless: bool,
    /// The host has cgroups of version 2.
    pub cgroups_v2: bool,
    /// The cgroup controllers that podman may use.
    pub cgroup_controllers: Vec<String>,
    /// How podman creates networks.
    pub network: NetworkBackend,
    /// Where podman stores images.
    pub storage: StorageFacts,
}

/// How podman creates networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkBackend {
    /// `netavark` or `cni`.
    pub name: String,
    /// The program that connects rootless containers to the network, if podman reports it (5.0 and
    /// later).
    pub rootless_program: Option<String>,
}

/// Where podman stores images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// `overlay`, `vfs` or another driver.
    pub driver: String,
    /// The folder of the storage.
    pub root: PathBuf,
}

#[derive(Deserialize)]
pub(in crate::podman) struct InfoAnswer {
    host: HostAnswer,
    #[serde(default)]
    store: StoreAnswer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostAnswer {
    cgroup_version: String,
    #[serde(default, deserialize_with = "or_default")]
    cgroup_controllers: Vec<String>,
    security: SecurityAnswer,
    #[serde(default)]
    network_backend: String,
    #[serde(default)]
    rootless_network_cmd: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoreAnswer {
    graph_driver_name: String,
    graph_root: PathBuf,
}

#[derive(Deserialize)]
struct SecurityAnswer {
    rootless: bool,
}

impl From<InfoAnswer> for HostFacts {
    fn from(answer: InfoAnswer) -> Self {
        Self {
            rootless: answer.host.security.rootless,
            cgroups_v2: answer.host.cgroup_version == "v2",
            cgroup_controllers: answer.host.cgroup_controllers,
            network: NetworkBackend {
                name: answer.host.network_backend,
                rootless_program: Some(answer.host.rootless_network_cmd).filter(|name| !name.is_empty()),
            },
            storage: StorageFacts { driver: answer.store.graph_driver_name, root: answer.store.graph_root },
        }
    }
}

/// podman's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 4 in 4.3.1.
    pub major: u32,
    /// 3 in 4.3.1.
    pub minor: u32,
}

impl Version {
    /// The oldest version that airpods supports and is tested with.
    pub const OLDEST: Self = Self { major: 4, minor: 3 };

    /// Reads `4.3.1`, `5.0.0-rc1` and the like.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '-']);
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }

    /// Whether podman's name service forwards to a container's own DNS servers, so that aliases
    /// resolve as well. Before 4.4 podman writes those servers into resolv.conf in place of the
    /// name service.
    ///
    /// Source: podman commit 06241077cc (4.4), and measured with 4.3.1 and 5.4.2.
    #[must_use]
    pub fn forwards_dns_per_container(self) -> bool {
        self >= Self { major: 4, minor: 4 }
    }

    /// The first version with Quadlet, which makes systemd's services from units.
    ///
    /// Source: podman's release notes, 4.4.0.
    pub const WITH_QUADLET: Self = Self { major: 4, minor: 4 };

    /// Whether an inspection has `StoppedByUser`.
    ///
    /// Source: podman commit 589867d716 (4.7).
    #[must_use]
    pub fn reports_stops(self) -> bool {
        self >= Self { major: 4, minor: 7 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The program by which a user's own podman connects its networks to the host: it opens sockets of
/// the host for packets that leave the rootless network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootlessBackend {
    /// pasta (passt), podman's default since 5.0.
    Pasta,
    /// slirp4netns, podman's default before.
    Slirp4netns,
}

impl RootlessBackend {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// The program that runs for this user, by the pid file that podman keeps. If none runs, the
    /// one that this version starts by default. podman's own report (`info`) would take 300 ms.
    pub(crate) fn find(version: Version) -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let running = runtime.and_then(|folder| Self::running(&folder, Path::new("/proc")));
        running.unwrap_or_else(|| Self::of_version(version))
    }

    fn running(runtime: &Path, proc: &Path) -> Option<Self> {
        PID_FILES.iter().find_map(|file| {
            let pid = file::read(&runtime.join(file), Links::Refused, Owner::Any).ok()?;
            let pid: u32 = pid.trim().parse().ok()?;
            Self::of_program(fs::read_to_string(proc.join(pid.to_string()).join("comm")).ok()?.trim_end())
        })
    }

    /// pasta may run as a build for the processor, `pasta.avx2`.
    fn of_program(name: &str) -> Option<Self> {
        match name.split('.').next() {
            Some("pasta" | "passt") => Some(Self::Pasta),
            Some("slirp4netns") => Some(Self::Slirp4netns),
            _ => None,
        }
    }

    /// The one that this version of podman starts by default.
    #[must_use]
    pub fn of_version(version: Version) -> Self {
        if version.major >= 5 { Self::Pasta } else { Self::Slirp4netns }
    }
}

/// podman's pid files of the program, below `$XDG_RUNTIME_DIR`: since 5.0
/// (`libnetwork/internal/rootlessnetns` of containers/common), and before
/// (`libpod/networking_linux.go`).
const PID_FILES: [&str; 2] =
    ["containers/networks/rootless-netns/rootless-netns-conn.pid", "libpod/tmp/rootless-netns-slirp4netns.pid"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_running_program_is_recognised_by_its_process_and_not_by_the_version() {
        let (runtime, proc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let running = || RootlessBackend::running(runtime.path(), proc.path());
        assert_eq!(running(), None);
        for (file, program, backend) in [
            (PID_FILES[1], "slirp4netns\n", RootlessBackend::Slirp4netns),
            (PID_FILES[0], "pasta.avx2\n", RootlessBackend::Pasta),
        ] {
            let file = runtime.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "4711\n").unwrap();
            fs::create_dir_all(proc.path().join("4711")).unwrap();
            fs::write(proc.path().join("4711/comm"), program).unwrap();
            assert_eq!(running(), Some(backend));
        }
        fs::write(proc.path().join("4711/comm"), "bash\n").unwrap();
        assert_eq!(running(), None, "the number belongs to somebody else now");
    }

    #[test]
    fn where_none_runs_the_versions_default_counts() {
        assert_eq!(RootlessBackend::of_version(Version { major: 4, minor: 9 }), RootlessBackend::Slirp4netns);
        assert_eq!(RootlessBackend::of_version(Version { major: 5, minor: 0 }), RootlessBackend::Pasta);
    }
}
