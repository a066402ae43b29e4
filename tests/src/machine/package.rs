//! The package under test.

use std::path::PathBuf;
use std::time::Duration;

use super::Machine;
use crate::error::{Doing, Error, Result};
use crate::place::Place;
use crate::programs::target_folder;

/// Where the package is put in a machine. It stays there, for tests that install it again.
pub const PACKAGE: &str = "/root/airpods.deb";

/// What `make deb` built: the newest one there is.
pub(super) fn find() -> Result<PathBuf> {
    let folder = target_folder()?.join("deb");
    let built = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let packages = built.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let newest = packages.max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    newest.ok_or(Error::NotBuilt { path: folder.join("airpods_*.deb"), hint: "make deb" })
}

impl Machine {
    /// Puts the package to [`PACKAGE`].
    ///
    /// # Errors
    /// When it is not built.
    pub fn bring_package(&self) -> Result<()> {
        let package = find()?;
        let content = std::fs::read(&package).doing(|| format!("read `{}`", package.display()))?;
        self.write_file(PACKAGE, content)
    }

    /// Installs the package with dpkg, which fails if the machine has not what it depends on.
    ///
    /// # Errors
    /// What dpkg said.
    pub fn install_package(&self) -> Result<()> {
        self.bring_package()?;
        let install = format!("DEBIAN_FRONTEND=noninteractive dpkg --install {PACKAGE}");
        self.seat().patient(Duration::from_secs(300)).sh(&install).map(drop)
    }
}
