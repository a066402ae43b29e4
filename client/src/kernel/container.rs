//! The devices and links of a container, as its own `/dev` and `/sys` show them.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What every container has (OCI runtime specification, "Default Devices", and a terminal of its own).
const USUAL: [&str; 8] = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];

/// The devices that were given to it, or none when that cannot be read: it takes the right to trace the process.
pub(super) fn devices(pid: u32) -> Option<Vec<PathBuf>> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let entries = fs::read_dir(root.join("dev")).ok()?;
    let mut devices = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let usual = path.file_name().is_some_and(|name| USUAL.iter().any(|usual| name == *usual));
        if is_device(&path) && !usual {
            devices.push(path);
        } else if path.is_dir() && !path.ends_with("pts") {
            // Such as `/dev/net` and `/dev/dri`.
            let inside = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
            devices.extend(inside.filter(|path| is_device(path)));
        }
    }
    let within = |path: &PathBuf| path.strip_prefix(&root).ok().map(|path| Path::new("/").join(path));
    Some(devices.iter().filter_map(within).collect())
}

fn is_device(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_char_device() || found.file_type().is_block_device())
}

/// Each link but `lo`, with its MTU; none when that cannot be read: it takes the right to trace the process, and an image may
/// have no `/sys`.
pub(super) fn links(pid: u32) -> Option<Vec<(String, u32)>> {
    read(&PathBuf::from(format!("/proc/{pid}/root/sys/class/net")))
}

fn read(folder: &Path) -> Option<Vec<(String, u32)>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // `bonding_masters` is a file among the links.
        if let Some(mtu) = fs::read_to_string(entry.path().join("mtu")).ok().and_then(|text| text.trim().parse().ok())
            && name != "lo"
        {
            links.push((name, mtu));
        }
    }
    links.sort();
    Some(links)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_devices_beyond_those_that_everybody_has_are_told() {
        let devices = devices(std::process::id()).unwrap_or_default();
        assert!(devices.iter().all(|path| is_device(path)), "{devices:?}");
        assert!(!devices.contains(&"/dev/null".into()) && !devices.iter().any(|path| path.starts_with("/dev/pts")));
    }

    #[test]
    fn this_process_has_at_most_the_links_that_the_kernel_lists_for_it() {
        let listed = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let links = links(std::process::id()).unwrap_or_default();
        assert!(links.iter().all(|(name, _)| listed.contains(&format!("{name}:")) && name != "lo"), "{links:?}");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_answer_and_not_no_links() {
        assert_eq!(links(u32::MAX), None);
    }
}
