//! The links of a container's network namespace, as its own `/sys` shows them.

use std::fs;
use std::path::{Path, PathBuf};

/// Each link but `lo`, with its MTU; none when that cannot be read: it takes the right to trace the process, and an image may
/// have no `/sys`.
pub(super) fn of(pid: u32) -> Option<Vec<(String, u32)>> {
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
    use super::*;

    #[test]
    fn this_process_has_at_most_the_links_that_the_kernel_lists_for_it() {
        let listed = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let links = of(std::process::id()).unwrap_or_default();
        assert!(links.iter().all(|(name, _)| listed.contains(&format!("{name}:")) && name != "lo"), "{links:?}");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_answer_and_not_no_links() {
        assert_eq!(of(u32::MAX), None);
    }
}
