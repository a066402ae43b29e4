//! Images and volumes.

use std::collections::BTreeMap;

/// One report from a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The layer, a short digest.
    pub layer: String,
    /// What happens to it, in podman's words.
    pub status: String,
    /// Bytes done and bytes in all, while they are known.
    pub bytes: Option<(u64, u64)>,
}

/// How many bytes things take, by their names; what podman does not say is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images, by name and tag.
    pub images: BTreeMap<String, u64>,
    /// Volumes.
    pub volumes: BTreeMap<String, u64>,
}
