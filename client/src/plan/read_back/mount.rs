//! Compares what of the host's is within a container.

use std::path::{Component, Path, PathBuf};

use crate::kernel::View;
use crate::podman::{Mount, MountDetail};

pub(super) fn is_mount(wanted: &Mount, found: &MountDetail, kernel: &View) -> bool {
    if wanted.is_read_only() != found.read_only {
        return false;
    }
    match wanted {
        Mount::Volume { name, .. } => found.volume.as_ref() == Some(name),
        Mount::Bind { source, .. } => found.volume.is_none() && is_same_path(source, &found.source, kernel),
    }
}

/// Whether two paths of the host lead to the same place: by the links on the way, or by their letters where the kernel
/// does not know them. The kernel comes first: `link/..` is not what its letters say.
fn is_same_path(one: &Path, other: &Path, kernel: &View) -> bool {
    match (kernel.leads_to.get(one), kernel.leads_to.get(other)) {
        (Some(one), Some(other)) => one == other,
        _ => plain(one) == plain(other),
    }
}

/// A path without `.`, doubled slashes and `..`, as Go's `filepath.Clean` writes it, by which podman keeps paths.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

pub(super) fn wanted_mount(mount: &Mount) -> String {
    let how = if mount.is_read_only() { " (read-only)" } else { "" };
    match mount {
        Mount::Volume { name, target, .. } => format!("{name} at {}{how}", target.display()),
        Mount::Bind { source, target, .. } => format!("{} at {}{how}", source.display(), target.display()),
    }
}

pub(super) fn shown(volume: Option<&String>, found: &MountDetail) -> String {
    let how = if found.read_only { " (read-only)" } else { "" };
    volume.cloned().unwrap_or_else(|| found.source.display().to_string()) + how
}
