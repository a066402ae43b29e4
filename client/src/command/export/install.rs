//! `airpods export quadlet --install` and `--remove`: puts the units where systemd finds them, or
//! removes them.

use std::borrow::Cow;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::warn;
use crate::config::Environment;
use crate::error::{Failure, Report};
use crate::export::{self, ExportSet};
use crate::file::{self, Links, Owner};
use crate::podman::{PodmanError, Version};
use crate::terminal::EscapedLine;

/// The folder of root's Quadlet units (podman-systemd.unit(5)). A user's is below the folder for
/// configuration.
const OF_ROOT: &str = "/etc/containers/systemd";
const OF_USER: &str = "containers/systemd";

/// The exit code of `systemctl` for a unit that is not loaded (systemctl(1), "Exit status"). Such a
/// unit does not run.
const NOT_LOADED: i32 = 5;

/// The reason that the units were not, or not all, installed or removed.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("there is no folder for units of this user")]
    NoFolder,
    #[error("`{}` cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("`{}` cannot be removed", .0.display())]
    Kept(PathBuf, #[source] io::Error),
    #[error("`{0}` failed: {1}")]
    Systemctl(String, String),
    #[error("podman {podman} makes no services from units: Quadlet came with podman {}", Version::WITH_QUADLET)]
    NoQuadlet { podman: Version, root: bool },
    #[error("the version of podman cannot be determined")]
    NoVersion(#[source] io::Error),
}

impl Report for InstallError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoFolder => Some("set `HOME` or `XDG_CONFIG_HOME`".into()),
            Self::Systemctl(..) => {
                Some("the files are there: run it again, or `airpods export quadlet --remove`".into())
            }
            Self::NoQuadlet { root, .. } => {
                let (user, linger) = if *root { ("", "") } else { ("--user ", " && loginctl enable-linger") };
                Some(Cow::Owned(format!(
                    "let podman's own unit start the containers at boot: \
                     `airpods config set runtime.restart_policy always && airpods start --yes && \
                     systemctl {user}enable podman-restart{linger}`"
                )))
            }
            _ => None,
        }
    }
}

/// Runs `systemctl` with these arguments, and returns its exit code with what it wrote to stderr.
type Systemctl<'a> = &'a mut dyn FnMut(&[&str]) -> io::Result<(Option<i32>, String)>;

/// Writes the units and makes systemd reload.
pub(super) fn install(set: &ExportSet<'_>, environment: &Environment, force: bool) -> Result<(), Failure> {
    let (root, folder) = place(environment)?;
    let podman = installed_podman()?;
    let installed = install_into(set, &folder, root, force, podman, &mut |words| systemctl(root, words))?;
    installed.next_steps(root).iter().for_each(|line| print_line(line));
    Ok(())
}

/// Stops the units and removes their files.
pub(super) fn remove(environment: &Environment) -> Result<(), Failure> {
    let (root, folder) = place(environment)?;
    let removed = remove_from(&folder, root, &mut |words| systemctl(root, words))?;
    if removed.is_empty() {
        print_line(&format!("there are no units of airpods in {}", folder.display()));
    }
    for path in &removed {
        print_line(&format!("removed {}", path.display()));
    }
    Ok(())
}

/// Whether this user is root, and the folder of the user's units.
fn place(environment: &Environment) -> Result<(bool, PathBuf), InstallError> {
    let root = nix::unistd::geteuid().is_root();
    let of_user = || {
        let home = environment.home.as_ref().map(|home| home.join(".config"));
        environment.config_home.clone().or(home).map(|folder| folder.join(OF_USER))
    };
    let folder = if root { Some(PathBuf::from(OF_ROOT)) } else { of_user() };
    Ok((root, folder.ok_or(InstallError::NoFolder)?))
}

/// The installed units.
#[derive(Debug)]
struct Installed {
    /// The services that Quadlet makes from them.
    services: Vec<String>,
    /// This podman knows every key of the units.
    is_understood: bool,
}

impl Installed {
    /// The lines for the user: when the services start, if podman makes any, and the commands.
    fn next_steps(&self, root: bool) -> Vec<String> {
        let undo = "undo this: airpods export quadlet --remove".to_owned();
        if !self.is_understood {
            return vec![undo];
        }
        let (user, when) = if root {
            ("", "they start at boot")
        } else {
            ("--user ", "they start when you log in, and at boot with `loginctl enable-linger`")
        };
        let services = self.services.join(" ");
        let start = format!("start them now: airpods stop --remove && systemctl {user}start {services}");
        vec![when.to_owned(), start, undo]
    }
}

fn install_into(
    set: &ExportSet<'_>,
    folder: &Path,
    root: bool,
    force: bool,
    podman: Version,
    systemctl: Systemctl<'_>,
) -> Result<Installed, Failure> {
    if podman < Version::WITH_QUADLET {
        return Err(InstallError::NoQuadlet { podman, root }.into());
    }
    let export = export::quadlet::export(set);
    let unknown = export::quadlet::unknown_keys(&export, podman);
    let files: Vec<_> = export.files.iter().map(|file| (folder.join(&file.name), file)).collect();
    super::all(&files, force)?;
    warn(&export.warnings);
    warn(&unknown);
    run(root, &["daemon-reload"], systemctl)?;
    let names = export.files.iter().filter_map(|file| file.name.strip_suffix(".container"));
    Ok(Installed { services: names.map(ToOwned::to_owned).collect(), is_understood: unknown.is_empty() })
}

/// The version of the podman whose generator reads the units. It is the local one, even if the
/// services run in another through `runtime.podman_url`.
fn installed_podman() -> Result<Version, Failure> {
    let output = match Command::new("podman").arg("--version").stdin(Stdio::null()).output() {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Err(PodmanError::Missing.into()),
        output => output.map_err(InstallError::NoVersion)?,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let unknown = || InstallError::NoVersion(io::Error::other(format!("`podman --version` says `{}`", text.trim())));
    Ok(text.split_whitespace().find_map(Version::parse).ok_or_else(unknown)?)
}

fn remove_from(folder: &Path, root: bool, systemctl: Systemctl<'_>) -> Result<Vec<PathBuf>, InstallError> {
    let files = installed(folder)?;
    if files.is_empty() {
        return Ok(files);
    }
    // systemd cannot stop a pod or a network in use, so containers are stopped first.
    for kind in ["container", "pod", "network"] {
        let units: Vec<String> = files.iter().filter_map(|file| unit(file, kind)).collect();
        let words: Vec<&str> = ["stop"].into_iter().chain(units.iter().map(String::as_str)).collect();
        if !units.is_empty() {
            run(root, &words, systemctl)?;
        }
    }
    for file in &files {
        fs::remove_file(file).map_err(|cause| InstallError::Kept(file.clone(), cause))?;
    }
    run(root, &["daemon-reload"], systemctl)?;
    Ok(files)
}

/// The files of an export in a folder: units with an export's description, and the files of secrets
/// beside them.
fn installed(folder: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let unreadable = |cause| InstallError::Unreadable(folder.to_owned(), cause);
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?.collect::<io::Result<Vec<_>>>().map_err(unreadable)?,
    };
    let own = |path: &PathBuf| {
        let unit = if path.extension().is_some_and(|kind| kind == "env") {
            path.with_extension("container")
        } else {
            path.clone()
        };
        let named = unit.file_name().is_some_and(|name| name.to_string_lossy().starts_with("airpods"));
        named && file::read(&unit, Links::Refused, Owner::Any).is_ok_and(|text| export::quadlet::is_own(&text))
    };
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(own).collect();
    files.sort();
    Ok(files)
}

/// The service that Quadlet generates from a unit's file, if the file is of this kind.
fn unit(file: &Path, kind: &str) -> Option<String> {
    let stem = file.file_stem()?.to_str().filter(|_| file.extension().is_some_and(|found| found == kind))?;
    let suffix = if kind == "container" { String::new() } else { format!("-{kind}") };
    Some(format!("{stem}{suffix}.service"))
}

fn run(root: bool, words: &[&str], systemctl: Systemctl<'_>) -> Result<(), InstallError> {
    let user = if root { "" } else { "--user " };
    let called = format!("systemctl {user}{}", words.join(" "));
    match systemctl(words) {
        Ok((Some(0 | NOT_LOADED), _)) => Ok(()),
        Ok((_, why)) => Err(InstallError::Systemctl(called, why.trim().to_owned())),
        Err(cause) => Err(InstallError::Systemctl(called, cause.to_string())),
    }
}

fn systemctl(root: bool, words: &[&str]) -> io::Result<(Option<i32>, String)> {
    let user: &[&str] = if root { &[] } else { &["--user"] };
    let output = Command::new("systemctl").args(user).args(words).stdin(Stdio::null()).output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Prints a message to stderr. A closed stderr is no failure.
fn print_line(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", EscapedLine(text));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::HostContext;
    use crate::plan::tests::{NEW, OLD, THREE, config};

    /// Installs, and returns the calls of `systemctl`, one per line.
    fn install_three(folder: &Path, force: bool) -> (Result<Installed, Failure>, Vec<String>) {
        install_for(NEW, folder, force)
    }

    fn install_for(podman: Version, folder: &Path, force: bool) -> (Result<Installed, Failure>, Vec<String>) {
        let config = config(THREE);
        let set = ExportSet::of(&config, &[], &HostContext::default()).unwrap();
        let mut calls = Vec::new();
        let done = install_into(&set, folder, false, force, podman, &mut |words| {
            calls.push(words.join(" "));
            Ok((Some(0), String::new()))
        });
        (done, calls)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_installed_units_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = [("airpods-mine.container", "[Container]\nImage=x\n"), ("other.network", "[Network]\n")];
        for (name, text) in foreign {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let (done, calls) = install_three(folder.path(), false);
        let installed = done.unwrap();
        let lines = installed.next_steps(false);
        assert!(lines[0].starts_with("they start when you log in") && lines.len() == 3, "{lines:?}");
        let Installed { services, is_understood } = installed;
        assert!(is_understood);
        assert!(!services.is_empty() && services.iter().all(|name| name.starts_with("airpods-")), "{services:?}");
        assert_eq!(calls, ["daemon-reload"]);
        let mut calls = Vec::new();
        let removed = remove_from(folder.path(), false, &mut |words| {
            calls.push(words.join(" "));
            Ok((Some(0), String::new()))
        });
        assert!(removed.unwrap().len() > services.len());
        let stop: Vec<_> = services.iter().map(|name| format!("{name}.service")).collect();
        assert!(stop.iter().all(|unit| calls[0].starts_with("stop ") && calls[0].contains(unit.as_str())), "{calls:?}");
        assert_eq!(calls.last().map(String::as_str), Some("daemon-reload"));
        assert!(calls.iter().any(|call| call == "stop airpods_network-network.service"), "{calls:?}");
        assert_eq!(names(folder.path()), ["airpods-mine.container", "other.network"]);
    }

    #[test]
    fn a_podman_without_quadlet_gets_no_units_and_the_hint_names_what_works_there() {
        let folder = tempfile::tempdir().unwrap();
        let (refused, calls) = install_for(OLD, folder.path(), false);
        assert!(calls.is_empty() && names(folder.path()).is_empty());
        let mut told = Vec::new();
        refused.unwrap_err().write(&mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        let cause = "error: podman 4.3 makes no services from units: Quadlet came with podman 4.4\n";
        assert!(told.starts_with(cause), "{told}");
        for word in ["runtime.restart_policy always", "systemctl --user enable podman-restart", "enable-linger"] {
            assert!(told.contains(word), "{told}");
        }
        let (installed, _) = install_for(Version { major: 4, minor: 6 }, folder.path(), false);
        let installed = installed.unwrap();
        assert!(!installed.is_understood, "podman 4.6 does not know `PidsLimit=`");
        let only_undo = ["undo this: airpods export quadlet --remove"];
        assert_eq!([installed.next_steps(false), installed.next_steps(true)], [only_undo, only_undo]);
    }

    #[test]
    fn existing_files_stay_and_systemd_is_not_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        assert!(install_three(folder.path(), false).0.is_ok());
        let before = names(folder.path());
        let (refused, calls) = install_three(folder.path(), false);
        assert!(refused.is_err() && calls.is_empty());
        assert_eq!(names(folder.path()), before);
        assert!(install_three(folder.path(), true).0.is_ok());
    }

    #[test]
    fn a_unit_that_cannot_be_stopped_keeps_its_file() {
        let folder = tempfile::tempdir().unwrap();
        install_three(folder.path(), false).0.unwrap();
        let before = names(folder.path());
        let refused = remove_from(folder.path(), false, &mut |_| Ok((Some(1), "Failed to stop".to_owned())));
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("systemctl --user stop airpods-") && error.contains("Failed to stop"), "{error}");
        assert_eq!(names(folder.path()), before);
        // A unit that systemd does not know does not run, so this is no error.
        assert!(remove_from(folder.path(), false, &mut |_| Ok((Some(NOT_LOADED), String::new()))).is_ok());
        assert_eq!(names(folder.path()), [] as [&str; 0]);
    }

    #[test]
    fn where_nothing_is_installed_nothing_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let none = remove_from(&folder.path().join("none"), false, &mut |_| unreachable!());
        assert_eq!(none.unwrap(), [] as [PathBuf; 0]);
    }
}
