//! Where the programs of this workspace are, once built.

use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};

/// A program of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The laboratory's own stage hand, which stands behind every [`crate::Sandbox`].
    Lab,
    /// The static program that is the container image and the internet's servers.
    Probe,
    /// The daemon.
    Helper,
    /// The command.
    Client,
}

impl Program {
    /// The built program: next to the running one (a test, the demo), or in the static target folder for the probe.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] with the command that builds it.
    pub fn path(self) -> Result<PathBuf> {
        let (path, hint) = match self {
            Self::Lab => (profile_folder()?.join("airpods-lab"), "cargo build -p airpods-lab"),
            Self::Helper => (profile_folder()?.join("airpods-helper"), "cargo build -p airpods-helper"),
            Self::Client => (profile_folder()?.join("airpods"), "cargo build -p airpods"),
            Self::Probe => (probe_path()?, "make probe"),
        };
        if path.is_file() { Ok(path) } else { Err(Error::NotBuilt { path, hint }) }
    }
}

/// `target/<profile>`: a test binary lies in its `deps` folder, a program directly in it.
fn profile_folder() -> Result<PathBuf> {
    let exe = std::env::current_exe().doing(|| "find the running program".into())?;
    let mut folder = exe.parent().unwrap_or(Path::new("/"));
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder = folder.parent().unwrap_or(folder);
    }
    Ok(folder.to_owned())
}

/// The folder of everything that is built.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let profile = profile_folder()?;
    Ok(profile.parent().unwrap_or(&profile).to_owned())
}

/// The root of a Debian package that `tests/setup.sh` has unpacked, because installing it would change the machine.
///
/// # Errors
/// [`Error::NotBuilt`] with the command that unpacks it.
pub(crate) fn unpacked(package: &str) -> Result<PathBuf> {
    let path = target_folder()?.join("unpacked").join(package);
    if path.is_dir() { Ok(path) } else { Err(Error::NotBuilt { path, hint: "tests/setup.sh" }) }
}

/// `make probe` builds into `target/static`, apart from everything that links dynamically.
fn probe_path() -> Result<PathBuf> {
    Ok(target_folder()?.join("static").join(env!("LAB_TARGET")).join("release/lab-probe"))
}

/// The Debian package that `make deb` built, which leaves one.
///
/// # Errors
/// [`Error::NotBuilt`] with the command that builds it.
pub fn package() -> Result<PathBuf> {
    let folder = target_folder()?.join("deb");
    let built = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut packages = built.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.next().ok_or(Error::NotBuilt { path: folder.join("airpods_*.deb"), hint: "make deb" })
}

/// The repository's root, where the bus, polkit and unit files lie.
#[must_use]
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}
