//! The workspace's programs and files at the places where a Debian package would put them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Sandbox;
use crate::error::{Doing, Result};
use crate::programs::{Program, repository};

/// The files that [`Sandbox::install_helper`] installs, from the repository's folders.
#[derive(Debug, PartialEq, Eq)]
pub struct HelperFiles(Vec<(PathBuf, &'static str)>);

/// The daemon's path in the activation file, in the unit and in `make install`.
pub(super) const HELPER: &str = "/usr/libexec/airpods-helper";
/// The command's path in `make install`.
const CLIENT: &str = "/usr/bin/airpods";

impl HelperFiles {
    /// Finds the bus policy, the activation file and the polkit policy in `dbus/` and `polkit/`.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn find() -> Result<Self> {
        let mut found = Vec::new();
        for folder in ["dbus", "polkit"] {
            let folder = repository().join(folder);
            for entry in fs::read_dir(&folder).doing(|| format!("list `{}`", folder.display()))?.flatten() {
                let path = entry.path();
                if let Some(target) = target_folder(&path) {
                    found.push((path, target));
                }
            }
        }
        found.sort();
        Ok(Self(found))
    }
}

/// Where a file belongs, by its name. Units are left out because a sandbox has no systemd, and
/// example rules because a package does not enable them.
fn target_folder(file: &Path) -> Option<&'static str> {
    let name = file.file_name()?.to_str()?;
    let extension = file.extension()?.to_str()?;
    match extension {
        "conf" if name.starts_with("org.") => Some("/usr/share/dbus-1/system.d"),
        "service" if name.starts_with("org.") => Some("/usr/share/dbus-1/system-services"),
        "policy" => Some("/usr/share/polkit-1/actions"),
        _ => None,
    }
}

impl Sandbox {
    /// Installs the helper with its bus policy, activation file and polkit policy, and the command
    /// `airpods`. A running bus reloads its configuration.
    ///
    /// # Errors
    /// When a program is not built or a file cannot be written.
    pub fn install_helper(&self) -> Result<()> {
        for (file, target) in HelperFiles::find()?.0 {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let content = fs::read(&file).doing(|| format!("read `{}`", file.display()))?;
            self.write_file(&format!("{target}/{name}"), content)?;
        }
        self.install(Program::Helper, HELPER)?;
        self.install(Program::Client, CLIENT)?;
        if self.bus.lock().is_ok_and(|slot| slot.is_some()) { self.reload_bus() } else { Ok(()) }
    }

    /// Like [`Self::install_helper`], but with the helper of the release build. A test needs it
    /// whose limits hold for the helper that users run, and not for a debug build.
    ///
    /// # Errors
    /// When a program is not built or a file cannot be written.
    pub fn install_released_helper(&self) -> Result<()> {
        self.install_helper()?;
        self.install(Program::ReleasedHelper, HELPER)
    }

    /// Copies a program of the workspace to a path inside.
    ///
    /// # Errors
    /// When it is not built or cannot be written.
    pub fn install(&self, program: Program, inside: &str) -> Result<()> {
        self.install_from(&program.path()?, inside)
    }

    /// Copies a program of the machine to a path inside.
    pub(super) fn install_from(&self, from: &Path, inside: &str) -> Result<()> {
        let to = self.path(inside);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).doing(|| format!("make `{}`", folder.display()))?;
        }
        fs::copy(from, &to)
            .and_then(|_| fs::set_permissions(&to, fs::Permissions::from_mode(0o755)))
            .doing(|| format!("copy `{}` to `{}`", from.display(), to.display()))
    }
}
