//! The calls that the simulated podman records, and how it refuses one, in the real podman's words.

use crate::podman::PodmanError;

/// A call that changes something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the method of the trait with the name it was given")]
pub enum Call {
    Pull(String),
    RemoveImage(String),
    CreateNetwork(String),
    RemoveNetwork(String),
    CreateVolume(String),
    RemoveVolume(String),
    CreatePod(String),
    StopPod(String),
    RemovePod(String),
    CreateContainer(String),
    StartContainer(String),
    StopContainer(String),
    RenameContainer(String, String),
    RemoveContainer(String),
}

/// A call that only reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the method of the trait with the name it was given")]
pub enum Look {
    Networks,
    Volumes,
    Secrets,
    Pods,
    Containers,
    Image(String),
    Inspect(String),
    Health(String),
    HostFacts,
}

pub(super) fn refused(status: u16, message: impl Into<String>) -> PodmanError {
    PodmanError::Refused { status, message: message.into() }
}

pub(super) fn missing(kind: &str, name: &str) -> PodmanError {
    refused(404, format!("no such {kind}: {name}"))
}

pub(super) fn taken(kind: &str, name: &str) -> PodmanError {
    refused(409, format!("{kind} name {name} is already in use"))
}
