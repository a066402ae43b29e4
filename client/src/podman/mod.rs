//! podman behind one narrow trait, in the terms of this project.
//!
//! [`Podman`] is what planning observes and executing drives. [`Rest`] speaks to a real podman
//! over its REST API. The tests of everything above have a twin of it in memory, `Simulated`.

mod connect;
mod container;
mod host;
mod log;
mod network;
mod option;
mod pod;
mod rest;
#[cfg(any(test, feature = "doubles"))]
mod simulated;
mod storage;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::error::Report;
use crate::home::HomeFault;

pub use connect::{Connection, STARTUP, SocketChoice, connect};
pub use container::{
    Container, ContainerDetail, ContainerSpec, ContainerState, End, HealthTiming, Limits, Mount, MountDetail, Relabel,
    Restart, end_of,
};
pub use host::{HostFacts, NetworkBackend, RootlessBackend, StorageFacts, Version};
#[cfg(any(test, fuzzing))]
pub use log::log_frames;
pub use log::{LogLine, LogOptions, LogSource};
pub use network::{Endpoint, Fixed, FixedPlace, Network, NetworkSpec, Networking};
pub use option::{ContainerOption, Options, ROWS as OPTION_ROWS, Row as OptionRow, Shape as OptionShape};
pub use pod::{Pod, PodSpec};
pub use rest::Rest;
pub use rest::manifest::Blobs;
#[cfg(any(test, feature = "doubles"))]
pub use simulated::{Call, Objects, ReadCall, Simulated};
pub use storage::{DiskUsage, PullProgress, SecretSource};

/// The result of a call.
pub type Result<T> = std::result::Result<T, PodmanError>;

/// The podman API that airpods uses: containers, pods, networks, volumes and images by name.
///
/// Every listing is one call, however many objects it has. Calls may run concurrently on one value.
/// The client is single-threaded, so futures need not be `Send`.
#[allow(async_fn_in_trait, reason = "futures stay on the one thread of the client")]
pub trait Podman {
    /// podman's version, which decides the features that can be relied on.
    fn version(&self) -> Version;

    /// Whether podman runs as an ordinary user. That need not be the caller, who may use root's
    /// podman through its socket.
    fn is_rootless(&self) -> bool;

    /// Reads facts about the host. It takes 0.2-0.4 s with podman 4.3 and 5.4, so call it only to
    /// explain a problem.
    async fn host_facts(&self) -> Result<HostFacts>;

    /// Whether an image is in podman's storage.
    async fn image_exists(&self, image: &str) -> Result<bool>;

    /// The blobs of an image that podman would pull, as its registry reports them. None if podman
    /// cannot tell them from the registry's answer. A registry may take forever.
    async fn image_blobs(&self, image: &str) -> Result<Option<Blobs>>;

    /// Pulls an image, reporting progress as it comes.
    async fn pull(&self, image: &str, progress: &mut dyn FnMut(PullProgress)) -> Result<()>;

    /// Removes one name of an image, and the image with its last name. An image that a container
    /// uses stays.
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

    /// The ids of podman's secrets by name. A secret with another value has another id.
    async fn secrets(&self) -> Result<BTreeMap<String, String>>;

    /// The sizes of images and volumes. podman reads all of its storage for this, which is slow.
    async fn disk_usage(&self) -> Result<DiskUsage>;

    /// All pods.
    async fn pods(&self) -> Result<Vec<Pod>>;

    /// Creates a pod. podman sets its network up when the first container starts.
    async fn create_pod(&self, spec: &PodSpec) -> Result<()>;

    /// Stops every container of a pod, including the infra container, which holds the pod's
    /// network.
    async fn stop_pod(&self, name: &str, timeout_seconds: u32) -> Result<()>;

    /// Removes a pod with all its containers, running or not.
    async fn remove_pod(&self, name: &str) -> Result<()>;

    /// All containers, running or not, except infra containers.
    async fn containers(&self) -> Result<Vec<Container>>;

    /// One container, with everything that is read back after a start.
    async fn inspect_container(&self, name: &str) -> Result<ContainerDetail>;

    /// Creates a container without starting it.
    async fn create_container(&self, spec: &ContainerSpec) -> Result<()>;

    /// Starts a container, and its pod if necessary.
    async fn start_container(&self, name: &str) -> Result<()>;

    /// Stops a container; podman kills it after `timeout_seconds`.
    async fn stop_container(&self, name: &str, timeout_seconds: u32) -> Result<()>;

    /// Renames a container.
    async fn rename_container(&self, name: &str, new_name: &str) -> Result<()>;

    /// Removes a container with its anonymous volumes; one that runs is killed first.
    async fn remove_container(&self, name: &str) -> Result<()>;

    /// Runs the health command of a container once, within it. Returns whether it succeeded.
    async fn check_health(&self, name: &str) -> Result<bool>;

    /// Passes every line of a container's log to `sink` until the log ends, or for ever when
    /// following. `sink` returns `false` to stop early.
    async fn logs(&self, name: &str, options: &LogOptions, sink: &mut dyn FnMut(LogLine) -> bool) -> Result<()>;
}

/// Property: any answer is parsed or refused, and parsed values are consistent.
#[cfg(any(test, fuzzing))]
#[allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]
pub fn podman_answer(bytes: &[u8]) {
    use container::{ContainerAnswer, DetailAnswer};
    use host::InfoAnswer;
    use network::NetworkAnswer;
    use pod::PodAnswer;
    use rest::manifest::ManifestAnswer;
    use storage::VolumeAnswer;
    let Some((kind, body)) = bytes.split_first() else { return };
    match kind % 7 {
        0 => drop(read::<InfoAnswer>(body).map(HostFacts::from)),
        1 => drop(read::<Vec<NetworkAnswer>>(body).map(|all| all.into_iter().map(Network::from).collect::<Vec<_>>())),
        2 => {
            for pod in read::<Vec<PodAnswer>>(body).unwrap_or_default().into_iter().map(Pod::from) {
                assert!(pod.containers.len() <= body.len());
            }
        }
        3 => {
            for answer in read::<Vec<ContainerAnswer>>(body).unwrap_or_default() {
                let container = Container::from(answer);
                assert_ne!(container.pod.as_deref(), Some(""));
                assert!(container.started_at.is_none_or(|moment| moment > 0));
            }
        }
        4 => {
            let Some(answer) = read::<DetailAnswer>(body) else { return };
            let names = answer.names();
            let servers = names.dns_servers.clone();
            let detail = answer.into_detail(names);
            assert_eq!(detail.dns_servers, servers);
            assert!(detail.ports.is_sorted() && detail.pid != Some(0) && !detail.restart.is_empty());
        }
        5 => drop(read::<Vec<VolumeAnswer>>(body)),
        _ => {
            drop(rest::report(body, &mut |_| {}));
            let quoted = ManifestAnswer::quoted_in(&String::from_utf8_lossy(body));
            let manifest = quoted.or_else(|| read::<ManifestAnswer>(body));
            assert!(manifest.as_ref().and_then(ManifestAnswer::own_instance).is_none_or(|digest| digest.len() == 71));
            drop(manifest.map(ManifestAnswer::blobs));
        }
    }
}

#[cfg(any(test, fuzzing))]
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// A failed call to podman, or a podman that is out of reach.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodmanError {
    /// No socket answers, and there is no `podman` program to start.
    #[error("podman is not installed")]
    Missing,

    /// The key or variable names a socket that this program cannot use.
    #[error("`{url}` from `{origin}` is not the address of a podman socket")]
    UnsupportedUrl {
        /// The given value.
        url: String,
        /// The key or variable that it came from.
        origin: &'static str,
    },

    /// The socket that the user named does not answer.
    #[error("podman does not answer on `{}`, which `{origin}` names", socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// The key or variable that it came from.
        origin: &'static str,
        /// The error of connecting.
        #[source]
        source: io::Error,
    },

    /// Our own `podman system service` did not come up.
    #[error("`podman system service` did not start: {reason}")]
    ServiceFailed {
        /// The last line of its log, or the error of starting it.
        reason: String,
    },

    /// The connection broke.
    #[error("the connection to podman broke")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// podman refused the call; `message` is its own text.
    #[error("{message}")]
    Refused {
        /// The HTTP status. 404 and 409 have a meaning; most failures are 500.
        status: u16,
        /// podman's message.
        message: String,
    },

    /// The socket belongs to another user's process.
    #[error("user {uid} listens on `{}`, and not this user or root", socket.display())]
    ForeignListener {
        /// The socket.
        socket: PathBuf,
        /// The user id of the listening process.
        uid: u32,
    },

    /// podman did not answer in time.
    #[error("podman did not finish `{what}` within {seconds} s")]
    Timeout {
        /// The call.
        what: String,
        /// How long it was waited for, in seconds.
        seconds: u64,
    },

    /// podman's answer is longer than any valid one.
    #[error("podman's answer to `{what}` does not end")]
    AnswerTooLong {
        /// The call.
        what: String,
    },

    /// podman's answer cannot be parsed.
    #[error("podman answered `{what}` in an unknown form")]
    Answer {
        /// The call.
        what: String,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
}

impl PodmanError {
    /// Whether podman reports that the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether a process ended while podman read its /proc.
    #[must_use]
    pub fn process_vanished(&self) -> bool {
        matches!(self, Self::Refused { status: 500, message } if message.contains("no such process"))
    }

    /// Whether podman had not noticed that the container ended. It waits 5 s for a file with the
    /// exit code, which no process writes any more. Then it takes the container for stopped
    /// (`libpod`, `waitForExitFileAndSync`).
    #[must_use]
    pub fn missed_exit(&self) -> bool {
        matches!(self, Self::Refused { status: 500, message } if message.contains("timed out waiting for file"))
    }

    /// Whether podman may have carried the call out: it did not refuse, and its answer is missing
    /// or cannot be parsed.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Timeout { .. } | Self::AnswerTooLong { .. } | Self::Answer { .. })
    }

    /// podman's message, if it sent one.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Refused { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

impl Report for PodmanError {
    fn home_fault(&self) -> Option<HomeFault> {
        match self {
            Self::ServiceFailed { reason } => HomeFault::of_podman(reason),
            _ => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Missing => "install it: `sudo apt install podman`",
            Self::UnsupportedUrl { .. } => "write it like `unix:///run/podman/podman.sock`",
            Self::NoAnswer { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the socket belongs to another user: ask for access to it, or unset the key to use your own podman"
            }
            Self::NoAnswer { .. } => {
                "start it with `systemctl enable --now podman.socket`, or unset the key and airpods starts a podman itself"
            }
            Self::ServiceFailed { .. } => "see what `podman info` says",
            Self::ForeignListener { .. } => {
                "a foreign podman would learn the secrets of a launch: unset the key or variable that names the socket, or run the command as that user"
            }
            Self::Timeout { .. } => {
                "see with `podman info` whether podman answers; its storage may be locked by another command"
            }
            Self::Refused { message, .. } if message.contains("catatonit") => {
                "a pod needs the program `catatonit`: `sudo apt install catatonit`"
            }
            Self::Refused { .. } | Self::Connection(_) | Self::Answer { .. } | Self::AnswerTooLong { .. } => {
                return None;
            }
        };
        Some(hint.into())
    }
}
