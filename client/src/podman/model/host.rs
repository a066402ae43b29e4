//! What podman tells about its host.

use std::path::PathBuf;

/// Facts that explain why a limit does not hold, or a network or an image cannot be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// podman runs as an ordinary user.
    pub rootless: bool,
    /// The host has cgroups of version 2.
    pub cgroups_v2: bool,
    /// The controllers that podman may use.
    pub cgroup_controllers: Vec<String>,
    /// How networks are made.
    pub network: NetworkBackend,
    /// Where images lie.
    pub storage: StorageFacts,
}

/// How podman makes networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkBackend {
    /// `netavark` or `cni`.
    pub name: String,
    /// The program through which rootless containers reach the network, where podman tells (5.0 and later).
    pub rootless_program: Option<String>,
}

/// Where podman keeps images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// `overlay`, `vfs` or another driver.
    pub driver: String,
    /// The folder.
    pub root: PathBuf,
}
