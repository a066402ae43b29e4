//! podman behind one narrow trait, in the terms of this project.
//!
//! [`Podman`] is what planning observes and executing drives. [`Rest`] speaks to a real podman
//! over its REST API; [`Simulated`] is its twin in memory, by which everything above is tested.

mod connect;
mod container;
mod error;
mod host;
mod log;
mod network;
mod option;
mod pod;
mod rest;
mod simulated;
mod storage;

use std::collections::BTreeMap;

pub use connect::{Connection, Place, STARTUP, connect};
pub use container::{
    Container, ContainerDetail, ContainerSpec, ContainerState, HealthTimes, Limits, Mount, MountDetail, Relabel,
    Restart,
};
pub use error::PodmanError;
pub use host::{HostFacts, NetworkBackend, StorageFacts, Version};
pub use log::{LogLine, LogOptions, LogSource};
pub use network::{Endpoint, Fixed, Network, NetworkSpec, Networking, Pin, PortRanges, PublishedPort, port_ranges};
pub use option::{ContainerOption, Options, ROWS as OPTION_ROWS, Row as OptionRow, Shape as OptionShape};
pub use pod::{Pod, PodSpec};
pub use rest::Rest;
#[cfg(any(test, fuzzing))]
pub(crate) use rest::fuzzing;
pub use simulated::{Call, Look, Simulated, World};
pub use storage::SecretSource;
pub use storage::{DiskUsage, PullProgress};

/// The result of a call.
pub type Result<T> = std::result::Result<T, PodmanError>;

/// A podman: containers, pods, networks, volumes and images by name.
///
/// Every listing is one call, whatever the number of things listed. Calls may run concurrently
/// on one value; the client is single-threaded, so futures need not be `Send`.
#[allow(async_fn_in_trait, reason = "futures stay on the one thread of the client")]
pub trait Podman {
    /// The version that decides which of podman's own abilities can be relied on.
    fn version(&self) -> Version;

    /// Whether it runs as an ordinary user, who need not be the caller: root's podman may be reached through its socket.
    fn is_rootless(&self) -> bool;

    /// Slow facts about the host (0.2-0.4 s in podman 4.3 and 5.4): asked only to explain a difference.
    async fn host_facts(&self) -> Result<HostFacts>;

    /// Whether an image is in podman's storage.
    async fn image_exists(&self, image: &str) -> Result<bool>;

    /// Pulls an image, reporting progress as it comes.
    async fn pull(&self, image: &str, progress: &mut dyn FnMut(PullProgress)) -> Result<()>;

    /// Removes a name of an image, and the image with its last name. One that a container uses stays.
    async fn remove_image(&self, image: &str) -> Result<()>;

    /// All networks.
    async fn networks(&self) -> Result<Vec<Network>>;

    /// Creates a network and returns it as podman made it, with the subnets it chose.
    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network>;

    /// Removes a network that nothing uses.
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// The names of all volumes.
    async fn volumes(&self) -> Result<Vec<String>>;

    /// Creates a named volume.
    async fn create_volume(&self, name: &str) -> Result<()>;

    /// Removes a named volume with its content.
    async fn remove_volume(&self, name: &str) -> Result<()>;

    /// The names of the containers, running or not, that mount a volume.
    async fn volume_users(&self, name: &str) -> Result<Vec<String>>;

    /// The secrets that podman keeps: the id of each by its name. A secret with another value has another id.
    async fn secrets(&self) -> Result<BTreeMap<String, String>>;

    /// How much space images and volumes take. It reads all of storage, and takes its time.
    async fn disk_usage(&self) -> Result<DiskUsage>;

    /// All pods.
    async fn pods(&self) -> Result<Vec<Pod>>;

    /// Creates a pod; its network comes up when its first container starts.
    async fn create_pod(&self, spec: &PodSpec) -> Result<()>;

    /// Stops every container of a pod, the one that holds its network too.
    async fn stop_pod(&self, name: &str, timeout_seconds: u32) -> Result<()>;

    /// Removes a pod with all its containers, running or not.
    async fn remove_pod(&self, name: &str) -> Result<()>;

    /// All containers, running or not, but those that only hold a pod's network.
    async fn containers(&self) -> Result<Vec<Container>>;

    /// One container with all that is read back after a start.
    async fn inspect_container(&self, name: &str) -> Result<ContainerDetail>;

    /// Creates a container without starting it.
    async fn create_container(&self, spec: &ContainerSpec) -> Result<()>;

    /// Starts a container, and its pod if need be.
    async fn start_container(&self, name: &str) -> Result<()>;

    /// Stops a container; podman kills it when `timeout_seconds` have passed.
    async fn stop_container(&self, name: &str, timeout_seconds: u32) -> Result<()>;

    /// Gives a container another name.
    async fn rename_container(&self, name: &str, new_name: &str) -> Result<()>;

    /// Removes a container with its anonymous volumes; one that runs is killed first.
    async fn remove_container(&self, name: &str) -> Result<()>;

    /// Runs the command by which a container's health is asked, once, within it; answers whether it succeeded.
    async fn check_health(&self, name: &str) -> Result<bool>;

    /// Hands every line of a container's log to `sink` until the log ends, or for ever when
    /// following. `sink` answers `false` to stop early.
    async fn logs(&self, name: &str, options: &LogOptions, sink: &mut dyn FnMut(LogLine) -> bool) -> Result<()>;
}
