//! What can go wrong between this program and podman.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::error::Report;
use crate::home::HomeFault;

/// A failed call to podman, or a podman that cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodmanError {
    /// No socket answers and there is no `podman` to start one with.
    #[error("podman is not installed")]
    Missing,

    /// `CONTAINER_HOST` names something this program cannot speak to.
    #[error("`{url}` from `{origin}` is not the address of a podman socket")]
    UnsupportedUrl {
        /// The given value.
        url: String,
        /// The variable that it came from.
        origin: &'static str,
    },

    /// The socket that was asked for by name does not answer.
    #[error("podman does not answer on `{}`, which `{origin}` names", socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// The key or variable that it came from.
        origin: &'static str,
        /// The error of connecting to it.
        #[source]
        source: io::Error,
    },

    /// Our own `podman system service` did not come up.
    #[error("`podman system service` did not start: {reason}")]
    ServiceFailed {
        /// Its last words, or what starting it said.
        reason: String,
    },

    /// The connection broke.
    #[error("the connection to podman broke")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// podman said no; `message` is its own sentence.
    #[error("{message}")]
    Refused {
        /// The HTTP status; 404 and 409 carry meaning, most failures are 500.
        status: u16,
        /// podman's own words.
        message: String,
    },

    /// Another user listens where podman should.
    #[error("user {uid} listens on `{}`, and not this user or root", socket.display())]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// The listener.
        uid: u32,
    },

    /// podman takes too long.
    #[error("podman did not finish `{what}` within {seconds} s")]
    Silent {
        /// The call.
        what: String,
        /// How long was waited.
        seconds: u64,
    },

    /// podman says more than can be meant.
    #[error("podman's answer to `{what}` does not end")]
    Endless {
        /// The call.
        what: String,
    },

    /// An answer that this program does not understand.
    #[error("podman answered `{what}` in an unknown form")]
    Answer {
        /// The call.
        what: String,
        /// The result of reading it.
        #[source]
        source: serde_json::Error,
    },
}

impl PodmanError {
    /// Whether podman says that the thing asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether a process ended while podman looked at it.
    #[must_use]
    pub fn lost_a_process(&self) -> bool {
        matches!(self, Self::Refused { status: 500, message } if message.contains("no such process"))
    }

    /// Whether podman was told to end a container that had ended without its knowledge: it waits 5 s for a file with the exit code,
    /// which nobody writes any more, and takes the container for stopped from then on (`libpod`, `waitForExitFileAndSync`).
    #[must_use]
    pub fn missed_an_end(&self) -> bool {
        matches!(self, Self::Refused { status: 500, message } if message.contains("timed out waiting for file"))
    }

    /// Whether what was asked for may have been done all the same: podman did not say no, and its answer did not come or is not
    /// understood.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Silent { .. } | Self::Endless { .. } | Self::Answer { .. })
    }

    /// podman's own words, where it said any.
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
            Self::Foreign { .. } => {
                "a foreign podman would learn the secrets of a launch: unset the key or variable that names the socket, or run the command as that user"
            }
            Self::Silent { .. } => {
                "see with `podman info` whether podman answers; its storage may be locked by another command"
            }
            Self::Refused { message, .. } if message.contains("catatonit") => {
                "a pod needs the program `catatonit`: `sudo apt install catatonit`"
            }
            Self::Refused { .. } | Self::Connection(_) | Self::Answer { .. } | Self::Endless { .. } => return None,
        };
        Some(hint.into())
    }
}
