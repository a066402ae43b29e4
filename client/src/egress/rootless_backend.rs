//! The program by which a user's own podman connects its networks to the host.

use std::fs;
use std::path::{Path, PathBuf};

use crate::file::{self, Links, Owner};
use crate::podman::Version;

/// A program that opens sockets of the host for packets that leave a rootless network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootlessBackend {
    /// pasta (passt), podman's default since 5.0.
    Pasta,
    /// slirp4netns, podman's default before.
    Slirp4netns,
}

impl RootlessBackend {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// The program that runs for this user, by the pid file that podman keeps. If none runs, the
    /// one that this version starts by default. podman's own report (`info`) would take 300 ms.
    pub(super) fn find(version: Version) -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let running = runtime.and_then(|folder| Self::running(&folder, Path::new("/proc")));
        running.unwrap_or_else(|| Self::of_version(version))
    }

    fn running(runtime: &Path, proc: &Path) -> Option<Self> {
        PID_FILES.iter().find_map(|file| {
            let pid = file::read(&runtime.join(file), Links::Refused, Owner::Any).ok()?;
            let pid: u32 = pid.trim().parse().ok()?;
            Self::of_program(fs::read_to_string(proc.join(pid.to_string()).join("comm")).ok()?.trim_end())
        })
    }

    /// pasta may run as a build for the processor, `pasta.avx2`.
    fn of_program(name: &str) -> Option<Self> {
        match name.split('.').next() {
            Some("pasta" | "passt") => Some(Self::Pasta),
            Some("slirp4netns") => Some(Self::Slirp4netns),
            _ => None,
        }
    }

    /// The one that this version of podman starts by default.
    #[must_use]
    pub fn of_version(version: Version) -> Self {
        if version.major >= 5 { Self::Pasta } else { Self::Slirp4netns }
    }
}

/// podman's pid files of the program, below `$XDG_RUNTIME_DIR`: since 5.0
/// (`libnetwork/internal/rootlessnetns` of containers/common), and before
/// (`libpod/networking_linux.go`).
const PID_FILES: [&str; 2] =
    ["containers/networks/rootless-netns/rootless-netns-conn.pid", "libpod/tmp/rootless-netns-slirp4netns.pid"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_running_program_is_recognised_by_its_process_and_not_by_the_version() {
        let (runtime, proc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let running = || RootlessBackend::running(runtime.path(), proc.path());
        assert_eq!(running(), None);
        for (file, program, backend) in [
            (PID_FILES[1], "slirp4netns\n", RootlessBackend::Slirp4netns),
            (PID_FILES[0], "pasta.avx2\n", RootlessBackend::Pasta),
        ] {
            let file = runtime.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "4711\n").unwrap();
            fs::create_dir_all(proc.path().join("4711")).unwrap();
            fs::write(proc.path().join("4711/comm"), program).unwrap();
            assert_eq!(running(), Some(backend));
        }
        fs::write(proc.path().join("4711/comm"), "bash\n").unwrap();
        assert_eq!(running(), None, "the number belongs to somebody else now");
    }

    #[test]
    fn where_none_runs_the_versions_default_counts() {
        assert_eq!(RootlessBackend::of_version(Version { major: 4, minor: 9 }), RootlessBackend::Slirp4netns);
        assert_eq!(RootlessBackend::of_version(Version { major: 5, minor: 0 }), RootlessBackend::Pasta);
    }
}
