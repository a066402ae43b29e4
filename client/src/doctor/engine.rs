//! Whether podman is available and new enough, and has a good place for images.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};

use super::{Code, Finding};
use crate::podman::{HostFacts, RootlessBackend, StorageFacts, Version};
use crate::terminal::readable_size;

/// The result of connecting to podman.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// It answers.
    Answers {
        /// Its version.
        version: Version,
        /// Its report about the host; the error if there is none.
        host: Result<HostFacts, String>,
    },
    /// podman is not installed.
    Missing,
    /// The socket that a key or a variable names cannot be used.
    Socket {
        /// A sentence.
        why: String,
        /// The socket, if the name is that of one.
        socket: Option<PathBuf>,
        /// The key or variable.
        origin: &'static str,
        /// This user may not use it.
        denied: bool,
    },
    /// `podman system service` does not start; carries its last output.
    NotStarted(String),
    /// Any other failure, including an answer that takes too long.
    Failed(String),
}

impl Engine {
    /// podman's report about the host, if there is one.
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

    /// The program for rootless networks, by podman's report or by its version; `None` if podman
    /// does not answer.
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

/// Judges how podman is reached. `explained` is true if another finding already prevents it from
/// starting.
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
        // The most frequent cause is a leftover of another podman, such as namespaces made with
        // other ids.
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
            let kind = if host.rootless { "rootless" } else { "rootful" };
            vec![Finding::fine(format!("podman {version} answers, {kind}"))]
        }
        Err(why) => vec![Finding::not_known("podman's surroundings are complete", why)],
    }
}

/// The cure for a socket: have systemd listen on it if it is one of podman's, otherwise correct its
/// name at the origin.
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

/// Below this many free bytes the next image does not fit.
const MIN_FREE: u64 = 1 << 30;

/// Below this many free bytes an image with a model runtime may not fit: they take some GB.
const MIN_FREE_FOR_RUNTIME: u64 = 3 << 30;

/// The magic number of CIFS for SMB 2 and later (`linux/magic.h`); nix names only the older one.
const SMB2_SUPER_MAGIC: FsType = FsType(0xfe53_4d42);

/// Where podman keeps images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The folder.
    pub root: PathBuf,
    /// Bytes that are free there for this user.
    pub free: Option<u64>,
    /// It is on a network file system.
    pub over_network: bool,
    /// podman's storage driver.
    pub driver: String,
}

/// Judges the place for images.
pub(super) fn judge_storage(storage: &Storage) -> Vec<Finding> {
    let root = storage.root.display();
    let mut findings = Vec::new();
    if let Some(free) = storage.free.filter(|free| *free < MIN_FREE_FOR_RUNTIME) {
        let cause = format!("{} are free for images in {root}", readable_size(free));
        let find = if free < MIN_FREE { Finding::broken } else { Finding::note };
        findings.push(find(Code::StorageFull, cause, "podman image prune".to_owned()));
    }
    if storage.over_network {
        findings.push(Finding::note(
            Code::StorageNetwork,
            format!("images lie in {root} on another machine's file system, where containers cannot own files"),
            // A second `[storage]` table makes podman fail, so an existing file stays as it is
            // (`set -C`).
            "sudo install -d -o \"$USER\" /var/lib/containers-of-\"$USER\" && mkdir -p ~/.config/containers && (set -C && \
             printf '[storage]\\ndriver = \"overlay\"\\ngraphroot = \"/var/lib/containers-of-%s\"\\n' \"$USER\" > \
             ~/.config/containers/storage.conf)",
        ));
    }
    if storage.driver == "vfs" {
        findings.push(Finding::note(
            Code::StorageCopies,
            "podman's storage driver is `vfs`, which copies each layer of an image, and is kept until the storage is recreated",
            "sudo apt install fuse-overlayfs",
        ));
    }
    findings
}

/// Reads where podman keeps images.
pub(super) fn read_storage(facts: &StorageFacts) -> Storage {
    let there = statfs(&facts.root).ok();
    let over_network = there.as_ref().is_some_and(|system| {
        let kind = system.filesystem_type();
        kind == NFS_SUPER_MAGIC || kind == SMB_SUPER_MAGIC || kind == SMB2_SUPER_MAGIC
    });
    let bytes = |system: &nix::sys::statfs::Statfs| {
        Some(system.blocks_available().saturating_mul(system.block_size().try_into().ok()?))
    };
    Storage {
        root: facts.root.clone(),
        free: there.as_ref().and_then(bytes),
        over_network,
        driver: facts.driver.clone(),
    }
}
