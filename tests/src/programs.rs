//! Where the programs of this workspace are, once built.

use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};

/// A program of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The laboratory's own program, which runs every [`crate::Sandbox`].
    Lab,
    /// The static program that is the container image and the internet's servers.
    Probe,
    /// The daemon.
    Helper,
    /// The daemon in the release build, whatever the profile of the tests.
    ReleasedHelper,
    /// The command.
    Client,
}

impl Program {
    /// The path of the built program. For the helper and the client it is the copy that `make
    /// programs` takes. When cargo builds the tests, it builds both with other features, next to
    /// the running program. The probe lies in the static target folder.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] or [`Error::OutOfDate`] with the command that builds it.
    pub fn path(self) -> Result<PathBuf> {
        let (path, hint) = match self {
            Self::Lab => (profile_folder()?.join("airpods-lab"), "cargo build -p airpods-lab"),
            Self::Helper => (shipped(&profile_folder()?, "airpods-helper", SHIPPED)?, SHIPPED),
            Self::ReleasedHelper => {
                (shipped(&target_folder()?.join("release"), "airpods-helper", RELEASED_HELPER)?, RELEASED_HELPER)
            }
            Self::Client => (shipped(&profile_folder()?, "airpods", SHIPPED)?, SHIPPED),
            Self::Probe => (probe_path()?, "make probe"),
        };
        if path.is_file() { Ok(path) } else { Err(Error::NotBuilt { path, hint }) }
    }
}

/// Builds the programs that are shipped.
const SHIPPED: &str = "make programs";
/// Builds the released helper.
const RELEASED_HELPER: &str = "make released-helper";

/// Where `make programs` puts a program that is shipped, in the folder of a profile. `hint` is the
/// command that builds it.
///
/// # Errors
/// [`Error::OutOfDate`] if one of its sources is newer, because a test would then judge outdated
/// code.
fn shipped(folder: &Path, name: &str, hint: &'static str) -> Result<PathBuf> {
    // Only the tests' own build has the changes of cargo-mutants.
    if folder.ends_with("mutants") {
        return Ok(folder.join(name));
    }
    let path = folder.join("programs").join(name);
    let Ok(built) = path.metadata().and_then(|file| file.modified()) else { return Ok(path) };
    // The rule that cargo writes for make: all sources of this program in this workspace.
    let rule = folder.join(name).with_extension("d");
    let rule = std::fs::read_to_string(&rule).doing(|| format!("read `{}`", rule.display()))?;
    let is_newer = |source: &PathBuf| source.metadata().and_then(|file| file.modified()).is_ok_and(|it| it > built);
    match sources(&rule).into_iter().find(is_newer) {
        Some(source) => Err(Error::OutOfDate { path, source_file: source, hint }),
        None => Ok(path),
    }
}

/// The files on the right of a rule for make, in which a space in a name is escaped.
fn sources(rule: &str) -> Vec<PathBuf> {
    let (_, files) = rule.split_once(": ").unwrap_or_default();
    let files = files.trim_end().replace("\\ ", "\0");
    files.split(' ').map(|file| PathBuf::from(file.replace('\0', " "))).collect()
}

/// Cargo's record of the build of a shipped program: one JSON object a line, see `--message-format`
/// of cargo-build(1).
///
/// # Errors
/// [`Error::NotBuilt`] with the command that builds it.
pub fn build_record(profile: &str, name: &str) -> Result<String> {
    let path = target_folder()?.join(profile).join("programs").join(name).with_extension("json");
    std::fs::read_to_string(&path).map_err(|_| Error::NotBuilt { path, hint: "make build PROFILE=…" })
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

/// The root of a Debian package that `tests/setup.sh` has unpacked, because installing it would
/// change the machine.
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

/// The names of the Debian packages that `make deb` builds, in the order in which dpkg installs
/// them.
pub const PACKAGES: [&str; 2] = ["airpods-helper", "airpods"];

/// Where `make deb` puts the packages, their SBOMs and what lintian is given.
///
/// # Errors
/// When the path of the running program cannot be determined.
pub fn packages_folder() -> Result<PathBuf> {
    Ok(target_folder()?.join("deb"))
}

/// One of [`PACKAGES`], built.
///
/// # Errors
/// [`Error::NotBuilt`] with the command that builds it.
pub fn package(name: &str) -> Result<PathBuf> {
    let folder = packages_folder()?;
    let built = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let is_of_that_name = |path: &PathBuf| path.to_string_lossy().contains(&format!("/{name}_"));
    let missing = || Error::NotBuilt { path: folder.join(format!("{name}_*.deb")), hint: "make deb" };
    built.filter(is_package).find(is_of_that_name).ok_or_else(missing)
}

/// The repository's root, where the bus, polkit and unit files lie.
#[must_use]
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_from_cargos_rule_with_spaces_in_their_names() {
        let rule = "/a/target/debug/airpods: /a/client/src/main.rs /a/with\\ space/lib.rs\n";
        assert_eq!(sources(rule), ["/a/client/src/main.rs", "/a/with space/lib.rs"].map(PathBuf::from));
    }
}
