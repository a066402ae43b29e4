//! What the kernel enforces, read from the container's own cgroup.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted (cgroups(7)).
const MOUNT: &str = "/sys/fs/cgroup";

/// The process limit of the container whose first process is `pid`: a number or `max`; none where it cannot be
/// read, as for a podman on another machine.
pub(super) fn pids_limit(pid: u32, container_id: &str) -> Option<String> {
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let unified = Path::new(MOUNT).join("cgroup.controllers").exists();
    let place = place(&membership, container_id, unified)?;
    let mut folder = match &place {
        // It shares its parent's cgroup: nothing limits it by itself.
        Place::NotItsOwn => return Some("max".to_owned()),
        Place::Own(path) => Path::new(MOUNT).join(path),
    };
    // The runtime may have made a cgroup within the container's; the limit is on either.
    let mut strictest: Option<u64> = None;
    loop {
        let text = fs::read_to_string(folder.join("pids.max")).ok()?;
        if let Ok(limit) = text.trim().parse::<u64>() {
            strictest = Some(strictest.map_or(limit, |other| other.min(limit)));
        }
        let own = folder.file_name().is_some_and(|name| name.to_string_lossy().contains(container_id));
        if own || !folder.pop() {
            return Some(strictest.map_or_else(|| "max".to_owned(), |limit| limit.to_string()));
        }
    }
}

/// Where a process is in the tree of cgroups that limits processes.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In the container's own cgroup, or one within; the path is relative to the mount.
    Own(PathBuf),
    /// In one that it shares with others.
    NotItsOwn,
}

/// Reads `/proc/PID/cgroup`: `ID:CONTROLLERS:/PATH` per line; version 2 is the line with id 0.
fn place(membership: &str, container_id: &str, unified: bool) -> Option<Place> {
    membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = if unified { id == "0" } else { controllers.split(',').any(|name| name == "pids") };
        let relative = path.strip_prefix('/').filter(|_| ours)?;
        Some(if relative.contains(container_id) {
            Place::Own(if unified { PathBuf::from(relative) } else { Path::new("pids").join(relative) })
        } else {
            Place::NotItsOwn
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4635f4ca9a13";

    #[test]
    fn version_2_is_read_from_the_line_with_id_0() {
        let text = format!("0::/user.slice/libpod-{ID}.scope/container\n");
        let own = PathBuf::from(format!("user.slice/libpod-{ID}.scope/container"));
        assert_eq!(place(&text, ID, true), Some(Place::Own(own)));
    }

    #[test]
    fn version_1_is_read_from_the_line_of_the_pids_controller() {
        let text = format!("9:memory:/else\n8:pids:/libpod_parent/libpod-{ID}\n0::/\n");
        let own = PathBuf::from(format!("pids/libpod_parent/libpod-{ID}"));
        assert_eq!(place(&text, ID, false), Some(Place::Own(own)));
    }

    #[test]
    fn a_container_without_a_cgroup_of_its_own_is_known_as_such() {
        assert_eq!(place("8:pids:/user.slice\n", ID, false), Some(Place::NotItsOwn));
        assert_eq!(place("1:name=systemd:/\n", ID, false), None);
    }
}
