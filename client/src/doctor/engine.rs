//! Whether podman can be had, and is new enough.

use std::path::{Path, PathBuf};

use super::{Code, Finding};
use crate::egress::RootlessBackend;
use crate::podman::{HostFacts, Version};

/// The result of connecting to podman.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// It answers.
    Answers {
        /// Its version.
        version: Version,
        /// What it says about the host; the error if it does not say.
        host: Result<HostFacts, String>,
    },
    /// There is none.
    Missing,
    /// The socket that a key or a variable names is no use.
    Socket {
        /// A sentence.
        why: String,
        /// The socket, where the name is that of one.
        socket: Option<PathBuf>,
        /// The key or variable.
        origin: &'static str,
        /// This user may not use it.
        denied: bool,
    },
    /// `podman system service` does not start; its last words.
    NotStarted(String),
    /// Anything else, an answer that takes too long among them.
    Failed(String),
}

impl Engine {
    /// Podman's report about the host, if there is one.
    pub(super) fn host(&self) -> Option<&HostFacts> {
        match self {
            Self::Answers { host: Ok(host), .. } => Some(host),
            _ => None,
        }
    }

    /// podman's version, if it answers.
    pub(super) fn version(&self) -> Option<Version> {
        match self {
            Self::Answers { version, .. } => Some(*version),
            _ => None,
        }
    }

    /// The program through which its rootless containers reach the network, by its own word or by its version, if it answers.
    pub(super) fn rootless_backend(&self) -> Option<RootlessBackend> {
        let configured = self.host().and_then(|host| host.network.rootless_program.as_deref());
        let default = RootlessBackend::of_version(self.version()?);
        Some(match configured {
            None => default,
            Some("pasta") => RootlessBackend::Pasta,
            Some(_) => RootlessBackend::Slirp4netns,
        })
    }
}

/// Judges how podman is reached. `explained` is true if something else that was found keeps it from starting.
pub(super) fn judge(engine: &Engine, explained: bool) -> Vec<Finding> {
    match engine {
        Engine::Answers { version, host } => answering(*version, host),
        Engine::Missing => {
            vec![Finding::broken(Code::PodmanMissing, "podman is not installed", "sudo apt install podman")]
        }
        Engine::Socket { why, socket, origin, denied } => {
            vec![Finding::broken(Code::PodmanSocket, why.as_str(), socket_cure(socket.as_deref(), origin, *denied))]
        }
        Engine::NotStarted(_) if explained => Vec::new(),
        // What another `podman` left behind, such as namespaces made with other ids, is what it most often is.
        Engine::NotStarted(reason) => {
            let cause = format!("podman does not start: {reason}");
            vec![Finding::broken(Code::PodmanService, cause, "podman system migrate && podman info")]
        }
        Engine::Failed(why) => vec![Finding::broken(Code::PodmanService, why.as_str(), "podman info")],
    }
}

fn answering(version: Version, host: &Result<HostFacts, String>) -> Vec<Finding> {
    if version < Version::OLDEST {
        let cause = format!("podman is {version}, and airpods needs {} or later", Version::OLDEST);
        return vec![Finding::broken(Code::PodmanOld, cause, "sudo apt update && sudo apt install podman")];
    }
    match host {
        Ok(host) => {
            let way = if host.rootless { "rootless" } else { "rootful" };
            vec![Finding::fine(format!("podman {version} answers, {way}"))]
        }
        Err(why) => vec![Finding::not_known("podman's surroundings are complete", why)],
    }
}

/// A socket that systemd can listen on is best listened on; any other name is best corrected where it stands.
fn socket_cure(socket: Option<&Path>, origin: &str, denied: bool) -> String {
    let edit = if origin.contains('.') { "airpods config edit".to_owned() } else { format!("unset {origin}") };
    let Some(socket) = socket.filter(|_| !denied) else { return edit };
    if socket == Path::new("/run/podman/podman.sock") {
        "sudo systemctl enable --now podman.socket".to_owned()
    } else if socket.starts_with("/run/user") && socket.ends_with("podman/podman.sock") {
        "systemctl --user enable --now podman.socket".to_owned()
    } else {
        edit
    }
}
