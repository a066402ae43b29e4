//! The package under test.

use super::Machine;
use crate::error::{Doing, Result};
use crate::place::Place;
use crate::programs::package;

/// Where the package is put in a machine. It stays there, for tests that install it again.
pub const PACKAGE: &str = "/root/airpods.deb";

impl Machine {
    /// Puts the package to [`PACKAGE`].
    ///
    /// # Errors
    /// When it is not built.
    pub fn bring_package(&self) -> Result<()> {
        let package = package()?;
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
        self.sh(&install).map(drop)
    }
}
