//! The devices that a container has, as its own `/dev` shows them.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What every container has (OCI runtime specification, "Default Devices", and a terminal of its own).
const USUAL: [&str; 8] = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];

/// The devices that were given to it, or none when that cannot be read: it takes the right to trace the process.
pub(super) fn of(pid: u32) -> Option<Vec<PathBuf>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_beyond_those_that_everybody_has_are_told() {
        let devices = of(std::process::id()).unwrap_or_default();
        assert!(devices.iter().all(|path| is_device(path)), "{devices:?}");
        assert!(!devices.contains(&"/dev/null".into()) && !devices.iter().any(|path| path.starts_with("/dev/pts")));
    }
}
