//! The end of things as values: what is stopped and what is removed, in stages.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Kind;
use crate::uptime::Uptime;

/// Stages one after the other; what is in one stage can be done side by side.
pub type Stages = Vec<Vec<Teardown>>;

/// One thing that is ended. It shows itself as a command would be worded: "stop the …", "remove the …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Teardown {
    /// A container that runs is stopped.
    Stop {
        /// Its service.
        service: String,
        /// Its name.
        container: String,
        /// The second it was started.
        started_at: Option<i64>,
    },
    /// A pod of which no container runs any more is stopped, which frees its ports.
    StopPod(String),
    /// Something of podman's is removed.
    Remove(Kind, String),
    /// A file of airpods' own is removed.
    Discard(PathBuf),
}

impl Teardown {
    /// The container that is removed, if it is one.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Remove(Kind::Container, name) => Some(name),
            _ => None,
        }
    }

    /// The step that was done, for people.
    #[must_use]
    pub fn done(&self) -> String {
        match self {
            Self::Stop { service, started_at, .. } => format!("stopped `{service}`{}", uptime(*started_at)),
            Self::StopPod(name) => format!("stopped the pod `{name}`"),
            Self::Remove(kind, name) => format!("removed the {kind} `{name}`"),
            Self::Discard(file) => format!("removed the file `{}`", file.display()),
        }
    }

    /// The step that was not done, for people.
    #[must_use]
    pub fn not_done(&self) -> String {
        match self {
            Self::Stop { service, container, .. } => {
                format!("the container `{container}` of `{service}` was not stopped")
            }
            Self::StopPod(name) => format!("the pod `{name}` was not stopped"),
            Self::Remove(kind, name) => format!("the {kind} `{name}` was not removed"),
            Self::Discard(file) => format!("the file `{}` was not removed", file.display()),
        }
    }

    /// As JSON: `{"action", "kind", "name", …}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Stop { service, container, started_at } => json!({
                "action": "stop",
                "kind": "container",
                "name": container,
                "service": service,
                "uptime_seconds": started_at.map(|moment| Uptime::since(moment).seconds),
            }),
            Self::StopPod(name) => json!({ "action": "stop", "kind": "pod", "name": name }),
            Self::Remove(kind, name) => json!({ "action": "remove", "kind": kind.to_string(), "name": name }),
            Self::Discard(file) => json!({ "action": "remove", "kind": "file", "name": file }),
        }
    }
}

impl fmt::Display for Teardown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop { service, container, started_at } => {
                write!(f, "stop the container `{container}` of `{service}`{}", running_for(*started_at))
            }
            Self::StopPod(name) => write!(f, "stop the pod `{name}`"),
            Self::Remove(kind, name) => write!(f, "remove the {kind} `{name}`"),
            Self::Discard(file) => write!(f, "remove the file `{}`", file.display()),
        }
    }
}

/// For how long the container had run, in words that cannot mean the time the stop took.
fn uptime(started_at: Option<i64>) -> String {
    started_at.map(|moment| format!(" (was up {})", Uptime::since(moment))).unwrap_or_default()
}

fn running_for(started_at: Option<i64>) -> String {
    started_at.map(|moment| format!(", up {}", Uptime::since(moment))).unwrap_or_default()
}
