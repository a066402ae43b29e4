//! Packages for other systems, as far as Debian's tools can check them. RPMs are built and compared
//! with the Debian packages. The files for Arch and Nix are parsed by their own programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use airpods_lab::{PACKAGES, repository};

use crate::contents::files;
use crate::{Folder, unpacked};

/// The output of a command, which must succeed.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {}\n{stderr}", String::from_utf8_lossy(&stdout));
    String::from_utf8(stdout).unwrap()
}

/// Builds the RPMs from the same programs as the Debian packages. The build runs rpmlint on them.
fn build_rpms() -> Vec<PathBuf> {
    printed(&mut Command::new(repository().join("packaging/rpm/build.sh")));
    let built = fs::read_dir(repository().join("target/rpm")).unwrap().map(|entry| entry.unwrap().path());
    let mut rpms: Vec<_> = built.filter(|path| path.extension().is_some_and(|kind| kind == "rpm")).collect();
    rpms.sort();
    rpms
}

fn rpm(query: &str, of: &Path) -> String {
    printed(Command::new("rpm").args(["--query", "--package", query]).arg(of))
}

/// The path in an RPM of a file in a Debian package, if the RPM has it: see docs/packaging.md.
fn as_in_rpm(package: &str, path: &str) -> Option<String> {
    let debians_own = ["changelog.gz", "changelog.Debian.gz", "copyright"];
    let own = debians_own.iter().any(|name| path == format!("usr/share/doc/{package}/{name}"));
    if own || path.starts_with("usr/share/lintian/") {
        return None;
    }
    let page = path.starts_with("usr/share/man/");
    let path = path.replace("zsh/vendor-completions", "zsh/site-functions");
    // debhelper compresses long documents, rpm does not.
    Some(if page { path } else { path.strip_suffix(".gz").unwrap_or(&path).to_owned() })
}

#[test]
fn the_rpms_have_the_files_of_the_debian_packages_and_scriptlets_that_parse() {
    let rpms = build_rpms();
    assert_eq!(rpms.len(), PACKAGES.len(), "{rpms:?}");
    for package in PACKAGES {
        let of = |path: &&PathBuf| rpm("--queryformat=%{NAME}", path) == package;
        let path = rpms.iter().find(of).unwrap_or_else(|| panic!("no RPM is {package}: {rpms:?}"));
        let listed = rpm("--queryformat=[%{FILEMODES:perms} %{FILENAMES}\n]", path);
        let listed: BTreeSet<_> = listed
            .lines()
            .filter(|line| !line.starts_with('d'))
            .map(|line| line.split_once(" /").unwrap().1.to_owned())
            .filter(|path| !path.starts_with("usr/share/licenses/"))
            .collect();
        let debians = files(&unpacked(package).0).into_keys().filter_map(|path| as_in_rpm(package, &path));
        assert_eq!(listed, debians.collect(), "{package}");
        scriptlets_parse(package, path);
    }
}

fn scriptlets_parse(package: &str, path: &Path) {
    let folder = Folder::new();
    let script = folder.0.join("scriptlet");
    let kinds = ["PREIN", "POSTIN", "PREUN", "POSTUN"];
    let texts = kinds.map(|kind| rpm(&format!("--queryformat=%|{kind}?{{%{{{kind}}}}}|"), path));
    for text in texts.iter().filter(|text| !text.is_empty()) {
        fs::write(&script, text).unwrap();
        printed(Command::new("sh").arg("-n").arg(&script));
    }
    let present = texts.iter().filter(|text| !text.is_empty()).count();
    assert_eq!(present, if package == "airpods-helper" { 3 } else { 0 }, "{package}: {texts:?}");
}

#[test]
fn makepkg_reads_the_pkgbuild_and_finds_both_packages_in_this_version() {
    // makepkg refuses to run as root, and writes next to the PKGBUILD, so work on a copy.
    let folder = Folder::new();
    let copy = "cp \"$0\"/packaging/arch/* \"$1\" && chown -R nobody \"$1\" && cd \"$1\" && bash -n PKGBUILD && sh -n *.install && \
                exec setpriv --reuid nobody --regid nogroup --clear-groups env HOME=\"$1\" PACMAN=true makepkg --printsrcinfo";
    let read = printed(Command::new("sh").args(["-euc", copy]).arg(repository()).arg(&folder.0));
    for line in ["pkgbase = airpods", &format!("\tpkgver = {}", env!("CARGO_PKG_VERSION")), "pkgname = airpods-helper"]
    {
        assert!(read.lines().any(|has| has == line), "{line}: {read}");
    }
}

#[test]
fn nix_reads_its_files() {
    let folder = Folder::new();
    for name in ["package.nix", "module.nix"] {
        let mut nix = Command::new("nix-instantiate");
        nix.args(["--store", "dummy://", "--parse"]).arg(repository().join("packaging/nix").join(name));
        let read = printed(nix.env("HOME", &folder.0).env("NIX_STATE_DIR", &folder.0));
        assert!(read.contains("airpods"), "{read}");
    }
}
