//! The Debian packages of `make deb`: their contents, their build, and the effects of installing
//! and removing them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

mod contents;
mod life;
mod other_systems;
mod release;

/// A temporary folder, removed with its value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let made = Command::new("mktemp").args(["--directory", "--tmpdir", "airpods-package.XXXXXX"]).output().unwrap();
        Self(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Unpacks a package into a temporary folder, as dpkg would.
pub(crate) fn unpacked(package: &str) -> Folder {
    let folder = Folder::new();
    let status =
        Command::new("dpkg-deb").arg("--extract").arg(airpods_lab::package(package).unwrap()).arg(&folder.0).status();
    assert!(status.unwrap().success());
    folder
}

/// The two programs in their packages: the package, and the program's path in it.
pub(crate) const PROGRAMS: [(&str, &str); 2] =
    [("airpods", "usr/bin/airpods"), ("airpods-helper", "usr/libexec/airpods-helper")];

/// `make` in a checkout, without the flags of an outer `make`.
pub(crate) fn make(checkout: &Path) -> Command {
    let mut make = Command::new("make");
    make.current_dir(checkout).arg("--silent").env_remove("MAKEFLAGS").stdin(Stdio::null());
    make
}

/// The output of cargo, run in the folder of a package of the workspace.
pub(crate) fn cargo(folder: &str, arguments: &[&str]) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).current_dir(airpods_lab::repository().join(folder)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
