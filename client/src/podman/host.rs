//! podman's host: podman's version and what depends on it, and facts that explain a failure.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::rest::or_default;

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
