//! Whether images have a good place.

use std::path::PathBuf;

use super::{Code, Finding};

/// Less than this, and the next image will not fit.
const LITTLE: u64 = 1 << 30;

/// Less than this, and an image with a model runtime may not fit: they take some GB.
const ENOUGH: u64 = 3 << 30;

/// Where podman keeps images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The folder.
    pub root: PathBuf,
    /// Bytes that are free there for this user.
    pub free: Option<u64>,
    /// It is on a file system of another machine.
    pub over_network: bool,
    /// podman's storage driver.
    pub driver: String,
}

/// Judges the place.
pub(super) fn judge(storage: &Storage) -> Vec<Finding> {
    let root = storage.root.display();
    let mut findings = Vec::new();
    if let Some(free) = storage.free.filter(|free| *free < ENOUGH) {
        let cause = format!("{} are free for images in {root}", crate::execute::bytes(free));
        let find = if free < LITTLE { Finding::broken } else { Finding::note };
        findings.push(find(Code::StorageFull, cause, "podman image prune".to_owned()));
    }
    if storage.over_network {
        findings.push(Finding::note(
            Code::StorageNetwork,
            format!("images lie in {root} on another machine's file system, where containers cannot own files"),
            // A second `[storage]` table makes podman fail: a file that is there is left alone (`set -C`).
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
