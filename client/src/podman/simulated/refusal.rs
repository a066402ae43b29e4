//! How the simulated podman refuses, in the real one's words.

use crate::podman::PodmanError;

pub(super) fn refused(status: u16, message: impl Into<String>) -> PodmanError {
    PodmanError::Refused { status, message: message.into() }
}

pub(super) fn missing(kind: &str, name: &str) -> PodmanError {
    refused(404, format!("no such {kind}: {name}"))
}

pub(super) fn taken(kind: &str, name: &str) -> PodmanError {
    refused(409, format!("{kind} name {name} is already in use"))
}
