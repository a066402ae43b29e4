//! Programs that are installed, and what they say about themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::trial::{self, End};
use crate::doctor::{Parts, Program};
use crate::podman::Version;
use crate::search_path;

/// Where podman looks for its own programs (`helper_binaries_dir`, containers.conf(5)).
const FOLDERS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];

/// Where programs for root are, which many users have not in their path; podman looks there.
const ROOTS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// pasta(1) as podman starts it, but for a command of its own, in namespaces that end with it, instead of in podman's: nothing
/// of the host's leads in, and nothing is changed outside.
const TRIAL: &[&str] =
    &["--config-net", "--quiet", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--", "true"];

/// A program by the search path, or by its own if it has one.
pub(in crate::doctor) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| file.is_file());
    }
    search_path::find(program).or_else(|| search_path::find_in(program, ROOTS))
}

/// The programs beside podman. With `trial`, pasta is also let make a network.
pub(super) async fn parts(trial: bool) -> Parts {
    let own = |program: &str| search_path::find_in(program, FOLDERS);
    // These are looked for in the search path as well (containers.conf(5)).
    let either = |program: &str| own(program).or_else(|| find(program));
    let (pasta, slirp4netns) = (either("pasta"), either("slirp4netns"));
    let trial = if trial { TRIAL } else { &[] };
    let (pasta, slirp4netns) = tokio::join!(started(pasta.as_deref(), trial), started(slirp4netns.as_deref(), &[]));
    Parts {
        netavark: own("netavark").map(|file| version(&file)),
        aardvark: own("aardvark-dns").is_some(),
        pasta,
        slirp4netns,
        iptables: find("iptables").is_some(),
        nft: find("nft").is_some(),
        modules_gone: modules_gone(),
    }
}

/// Starts a program to say its version, and then to do what these arguments say, if there are any.
async fn started(file: Option<&Path>, trial: &[&str]) -> Program {
    let Some(file) = file else { return Program::Missing };
    match trial::run(file, &["--version"]).await {
        End::Badly(why) => return Program::Broken(why),
        End::Late => return Program::Late(trial::LIMIT.as_secs()),
        End::Well if trial.is_empty() => return Program::Able,
        End::Well => {}
    }
    match trial::run(file, trial).await {
        End::Well => Program::Able,
        End::Badly(why) => Program::Powerless(why),
        End::Late => Program::Late(trial::LIMIT.as_secs()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program of a shell's. It is another process that writes it: a file that is being written here, by whichever thread, might
    /// be inherited by a process that another test starts, and would be too busy to run.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let file = folder.join("program");
        let write = "printf '#!/bin/sh\n%s\n' \"$2\" > \"$1\"; chmod 755 \"$1\"";
        let status = Command::new("sh").args(["-c", write, "sh"]).arg(&file).arg(script).status().unwrap();
        assert!(status.success());
        file
    }

    #[tokio::test]
    async fn a_program_that_is_there_and_cannot_do_its_work_is_not_able() {
        let folder = tempfile::tempdir().unwrap();
        let fails = "echo 'error while loading shared libraries: libc.so.9' >&2; exit 127";
        let no_tun = "[ \"$1\" = --version ] || { echo 'Failed to open tun socket in namespace' >&2; exit 1; }";
        for (script, trial, expected) in [
            ("exit 0", TRIAL, Program::Able),
            ("exit 0", &[], Program::Able),
            (fails, TRIAL, Program::Broken("error while loading shared libraries: libc.so.9".to_owned())),
            (no_tun, TRIAL, Program::Powerless("Failed to open tun socket in namespace".to_owned())),
            (no_tun, &[], Program::Able),
            ("sleep 600", &[], Program::Late(2)),
        ] {
            let file = program(folder.path(), script);
            assert_eq!(started(Some(&file), trial).await, expected, "{script}");
        }
        std::fs::set_permissions(folder.path().join("program"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let denied = Program::Broken("Permission denied (os error 13)".to_owned());
        assert_eq!(started(Some(&folder.path().join("program")), TRIAL).await, denied);
        assert_eq!(started(None, TRIAL).await, Program::Missing);
    }
}
