//! Programs that are installed, and what they say about themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::doctor::Parts;
use crate::podman::Version;
use crate::search_path;

/// Where podman looks for its own programs (`helper_binaries_dir`, containers.conf(5)).
const FOLDERS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];

/// Where programs for root are, which many users have not in their path; podman looks there.
const ROOTS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program by the search path, or by its own if it has one.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| file.is_file());
    }
    search_path::find(program).or_else(|| search_path::find_in(program, ROOTS))
}

/// The programs beside podman.
pub(super) fn parts() -> Parts {
    let own = |program: &str| search_path::find_in(program, FOLDERS);
    // These are looked for in the search path as well (containers.conf(5)).
    let either = |program: &str| own(program).is_some() || find(program).is_some();
    Parts {
        netavark: own("netavark").map(|file| version(&file)),
        aardvark: own("aardvark-dns").is_some(),
        pasta: either("pasta"),
        slirp4netns: either("slirp4netns"),
        iptables: find("iptables").is_some(),
        nft: find("nft").is_some(),
        modules_gone: modules_gone(),
    }
}

/// `netavark version` answers JSON with `"version": "1.4.0"`.
fn version(netavark: &Path) -> Option<Version> {
    let output = Command::new(netavark).arg("version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Version::parse(answer.get("version")?.as_str()?)
}

/// A kernel that loads modules lists those that are; with another kernel's package its own folder went.
fn modules_gone() -> bool {
    let Ok(system) = nix::sys::utsname::uname() else { return false };
    let folder = Path::new("/lib/modules");
    Path::new("/proc/modules").exists() && folder.exists() && !folder.join(system.release()).exists()
}
