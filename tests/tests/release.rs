//! The effect of `make release` on the tree: it sets the version in every file, and changes nothing
//! if it fails.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use airpods_lab::repository;
use tempfile::TempDir;

/// A clone with the files that contain the version, and with the scripts of this tree.
struct Clone(TempDir);

impl Clone {
    fn new() -> Self {
        let clone = Self(tempfile::tempdir().unwrap());
        let from = repository();
        let files =
            "Cargo.toml Cargo.lock CHANGELOG.md helper/airpods-helper.8 helper/debian packaging tests/fuzz/Cargo.lock";
        let copy = "cd \"$0\" && cp -r --parents $2 \"$1\" && cd \"$1\" && echo target/ >.gitignore && git init --quiet && \
                    git add --all && git commit --quiet --message before";
        let made = clone.command("sh").args(["-euc", copy]).arg(&from).arg(clone.path()).arg(files).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        clone
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command in the clone, without any user's git configuration and with a name for commits.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env("HOME", self.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "tester").env(format!("GIT_{role}_EMAIL"), "tester@example.org");
        }
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command("sh").args(["-uc", line]).output().unwrap()
    }

    fn output_of(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap()
    }

    /// A stand-in for `make` that builds nothing and makes empty files in place of the targets'
    /// results.
    fn fake_make(&self, last: &str) -> PathBuf {
        let path = self.path().join("target/make");
        let lines = "#!/bin/sh\nset -e\nmkdir -p target/deb target/deb-src target/rpm target/source\ntouch target/deb/a.deb target/deb/a.cdx.json \
                     target/rpm/a.rpm target/deb-src/a.dsc target/deb-src/a.debian.tar.xz target/source/airpods-7.0.0.tar.xz\n";
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{lines}{last}\n")).unwrap();
        assert!(self.run(&format!("chmod +x {}", path.display())).status.success());
        path
    }
}

#[test]
fn a_version_is_set_in_every_file_that_has_it() {
    let clone = Clone::new();
    let old = clone.output_of("packaging/version.sh");
    assert_eq!(old, env!("CARGO_PKG_VERSION"));
    clone.output_of("packaging/version.sh 7.0.0 2031-02-03");
    assert_eq!(clone.output_of("packaging/version.sh"), "7.0.0");
    assert!(clone.text("Cargo.toml").contains("\nversion = \"7.0.0\"\n"));
    for name in ["airpods", "airpods-dbus", "airpods-helper", "airpods-lab"] {
        assert!(clone.text("Cargo.lock").contains(&format!("name = \"{name}\"\nversion = \"7.0.0\"\n")), "{name}");
    }
    assert!(!clone.text("tests/fuzz/Cargo.lock").contains(&format!("name = \"airpods\"\nversion = \"{old}\"")));
    assert!(clone.text("CHANGELOG.md").contains("\n## Unreleased\n\n## 7.0.0 - 2031-02-03\n\n"));
    assert!(clone.text("helper/airpods-helper.8").starts_with(".TH airpods\\-helper 8 2031-02-03 \"airpods 7.0.0\""));
    assert!(clone.text("packaging/arch/PKGBUILD").contains("\npkgver=7.0.0\n"));
    assert!(clone.text("packaging/nix/package.nix").contains("version = \"7.0.0\";"));
    let spec = clone.text("packaging/rpm/airpods.spec");
    assert!(spec.contains("\nVersion:        7.0.0\n") && spec.contains("%changelog\n* Mon Feb 03 2031 "), "{spec}");
    let debian = clone.text("helper/debian/changelog");
    assert!(debian.starts_with("airpods (7.0.0-1) unstable; urgency=medium\n\n  * "), "{debian}");
    assert!(
        debian.lines().find(|line| line.starts_with(" -- ")).unwrap().ends_with("  Mon, 03 Feb 2031 00:00:00 +0000")
    );
    assert!(debian.contains(&format!("\nairpods ({old}-1) ")), "the entry before stays");
}

#[test]
fn a_version_that_is_none_or_older_changes_nothing() {
    let clone = Clone::new();
    for wrong in ["x", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "0.0.1", "7.0.0 2031-13-01", "'7.0.0\n8.0.0'"] {
        assert!(!clone.run(&format!("packaging/version.sh {wrong}")).status.success(), "{wrong}");
        assert_eq!(clone.output_of("git status --porcelain"), "", "{wrong}");
    }
}

#[test]
fn a_release_has_sums_of_all_its_files_and_is_committed_only_when_asked_to() {
    let clone = Clone::new();
    let make = clone.fake_make("");
    let release = |more: &str| format!("VERSION=7.0.0 MAKE='{}' {more} packaging/release.sh", make.display());
    let output = clone.output_of(&release(""));
    assert!(output.contains("git tag --annotate --message 'airpods 7.0.0' v7.0.0"), "{output}");
    assert_eq!(clone.output_of("git log --format=%s"), "before");
    clone.output_of("cd target/release-7.0.0 && sha256sum --check SHA256SUMS");
    let named = clone.text("target/release-7.0.0/SHA256SUMS").lines().count();
    assert_eq!(clone.output_of("ls target/release-7.0.0 | wc --lines"), (named + 1).to_string());
    assert!(!clone.run(&release("")).status.success(), "the tree has the version of the release before");
    clone.output_of("git checkout --quiet .");
    clone.output_of(&release("TAG=yes"));
    assert_eq!(clone.output_of("git log --format=%s --max-count=1 v7.0.0"), "Release 7.0.0");
    assert_eq!(clone.output_of("git status --porcelain"), "");
    assert!(!clone.run(&release("")).status.success(), "the tag is there");
}

#[test]
fn a_release_that_fails_leaves_the_tree_as_it_was() {
    let clone = Clone::new();
    let make = clone.fake_make("[ $1 != rpm ]");
    let output = clone.run(&format!("VERSION=7.0.0 TAG=yes MAKE='{}' packaging/release.sh", make.display()));
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no release was made"));
    assert_eq!((clone.output_of("git status --porcelain"), clone.output_of("git tag")), (String::new(), String::new()));
}

/// `make fuzz` has a workspace of its own, and cargo changes its list of crates without a word.
#[test]
fn the_list_of_crates_for_fuzzing_follows_the_workspaces() {
    let list = fs::read_to_string(repository().join("tests/fuzz/Cargo.lock")).unwrap();
    for (name, folder) in [("airpods", "client"), ("airpods-helper", "helper"), ("airpods-dbus", "dbus")] {
        let (_, entry) = list.split_once(&format!("name = \"{name}\"\n")).unwrap();
        let (entry, _) = entry.split_once("\n]").unwrap();
        // A crate of which there are two versions is listed with its own.
        let listed: BTreeSet<_> =
            entry.lines().filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next()).collect();
        let manifest = fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
        let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
        let (dependencies, _) = dependencies.split_once("\n[").unwrap();
        let lines = dependencies.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()));
        let wanted: BTreeSet<_> = lines.filter_map(|line| line.split(['.', ' ', '=']).next()).collect();
        assert_eq!(listed, wanted, "{name}");
    }
}
