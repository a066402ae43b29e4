//! The packages under test.

use super::Machine;
use crate::error::{Doing, Result};
use crate::place::Place;
use crate::programs::{PACKAGES, package};

/// The paths of the packages in a machine. They stay there for tests that install them again.
pub const PACKAGE_FILES: &str = "/root/airpods*.deb";

impl Machine {
    /// Copies the packages to [`PACKAGE_FILES`].
    ///
    /// # Errors
    /// When they are not built.
    pub fn bring_packages(&self) -> Result<()> {
        for name in PACKAGES {
            let package = package(name)?;
            let content = std::fs::read(&package).doing(|| format!("read `{}`", package.display()))?;
            self.write_file(&format!("/root/{name}.deb"), content)?;
        }
        Ok(())
    }

    /// Installs the packages with dpkg, which fails if the machine lacks a dependency.
    ///
    /// # Errors
    /// dpkg's error text.
    pub fn install_packages(&self) -> Result<()> {
        self.bring_packages()?;
        let install = format!("DEBIAN_FRONTEND=noninteractive dpkg --install {PACKAGE_FILES}");
        self.sh(&install).map(drop)
    }
}
