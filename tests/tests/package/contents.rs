//! The packages' contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use airpods_lab::{PACKAGES, package, repository};

use crate::{Folder, PROGRAMS, cargo, make, unpacked};

/// The value of a field in a package's control file.
fn field(of: &str, name: &str) -> String {
    let output = Command::new("dpkg-deb").arg("--field").arg(package(of).unwrap()).arg(name).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The files and links below a folder, by their path in it.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string(), path);
            }
        }
    }
    found
}

/// The bytes of a file, uncompressed if Debian compressed it, or the target of a link.
fn content(file: &Path) -> Vec<u8> {
    if let Ok(target) = file.read_link() {
        return target.into_os_string().into_encoded_bytes();
    }
    if file.extension().is_some_and(|it| it == "gz") {
        return Command::new("gzip").arg("-dc").arg(file).output().unwrap().stdout;
    }
    fs::read(file).unwrap()
}

#[test]
fn everything_is_roots_and_nothing_gains_or_gives_away_a_right() {
    let mut programs = BTreeSet::new();
    for name in PACKAGES {
        let list = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package(name).unwrap()).output().unwrap().stdout;
        let mut archive = tar::Archive::new(list.as_slice());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let (path, header) = (entry.path().unwrap().display().to_string(), entry.header());
            let (mode, kind) = (header.mode().unwrap(), header.entry_type());
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{path}");
            assert_eq!(mode & 0o7000, 0, "{path}: {mode:o} has a setuid, setgid or sticky bit");
            assert!(mode & 0o022 == 0 || kind.is_symlink(), "{path}: {mode:o} lets others write");
            assert!(path == "./" || path.starts_with("./usr/"), "{path}");
            if kind.is_file() && mode & 0o111 != 0 {
                programs.insert((name, path.trim_start_matches("./").to_owned()));
            }
        }
    }
    assert_eq!(programs, PROGRAMS.map(|(package, path)| (package, path.to_owned())).into());
}

#[test]
fn privileged_and_system_files_are_in_the_helpers_package_alone() {
    let client = unpacked("airpods");
    let public = ["usr/bin/", "usr/share/man/", "usr/share/doc/", "usr/share/lintian/", "usr/share/bash-completion/"];
    let public =
        public.into_iter().chain(["usr/share/fish/", "usr/share/zsh/", "usr/share/airpods/"]).collect::<Vec<_>>();
    for name in files(&client.0).into_keys() {
        assert!(public.iter().any(|folder| name.starts_with(folder)), "{name}");
    }
    let both = files(&unpacked("airpods-helper").0).into_keys().collect::<BTreeSet<_>>();
    for needed in [
        "usr/libexec/airpods-helper",
        "usr/lib/systemd/system/airpods-helper.service",
        "usr/lib/sysusers.d/airpods.conf",
        "usr/share/dbus-1/system.d/org.airpods.Helper1.conf",
        "usr/share/polkit-1/actions/org.airpods.helper1.policy",
        "usr/share/man/man8/airpods-helper.8.gz",
    ] {
        assert!(both.contains(needed), "{needed} is not in {both:?}");
    }
}

#[test]
fn the_packages_have_the_files_of_make_install() {
    let installed = Folder::new();
    let make = make(&repository())
        .args(["install", "PREFIX=/usr", "ZSHDIR=/usr/share/zsh/vendor-completions"])
        .arg(format!("DESTDIR={}", installed.0.display()))
        .output()
        .unwrap();
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
    let unpacked_name = |name: &str| name.strip_suffix(".gz").unwrap_or(name).to_owned();
    let (mut packed, folders) = (BTreeMap::new(), PACKAGES.map(unpacked));
    for (package, folder) in PACKAGES.into_iter().zip(&folders) {
        let debians_own = ["changelog.gz", "changelog.Debian.gz", "copyright"];
        let debians_own = debians_own.map(|name| format!("usr/share/doc/{package}/{name}"));
        for (name, path) in files(&folder.0) {
            if !debians_own.contains(&name) && !name.starts_with("usr/share/lintian/") {
                let twice = packed.insert(unpacked_name(&name), path);
                assert_eq!(twice, None, "both packages have {name}");
            }
        }
    }
    let installed: BTreeMap<_, _> =
        files(&installed.0).into_iter().filter(|(name, _)| !name.starts_with("usr/share/licenses/")).collect();
    assert_eq!(packed.keys().collect::<Vec<_>>(), installed.keys().collect::<Vec<_>>());
    for (name, path) in &packed {
        // The programs differ, because packaging strips their symbols.
        if !PROGRAMS.iter().any(|(_, program)| program == name) {
            assert!(content(path) == content(&installed[name]), "{name}");
        }
        let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode(path), mode(&installed[name]), "{name}");
    }
    let pages = packed.keys().filter(|name| name.starts_with("usr/share/man/")).count();
    assert!(pages > 10, "{pages}");
}

#[test]
fn every_crate_that_a_program_is_linked_with_is_named_with_its_terms() {
    for (package, folder, direct) in [("airpods", "client", "tokio"), ("airpods-helper", "helper", "nftnl")] {
        let packed = unpacked(package);
        let documents = packed.0.join("usr/share/doc").join(package);
        let page = String::from_utf8(content(&documents.join("crates.txt.gz"))).unwrap();
        let tree =
            cargo(folder, &["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"]);
        assert!(tree.contains(&format!("{direct} v")), "{tree}");
        for linked in tree.lines().filter(|line| !line.is_empty() && !line.contains("(/")) {
            let (name, version) = linked.split_once(" v").unwrap();
            let named = format!("\n{name} {}: ", version.trim_end_matches(" (*)"));
            let terms = page.split_once(&named).map(|(_, rest)| rest.lines().next().unwrap());
            assert!(terms.is_some_and(|terms| !terms.starts_with('<')), "{linked}: {terms:?}");
        }
        assert!(page.contains("Permission is hereby granted, free of charge"));
        let copyright = fs::read_to_string(documents.join("copyright")).unwrap();
        assert!(copyright.contains("crates.txt.gz beside this"));
    }
}

#[test]
fn polkit_rules_that_grant_access_are_only_examples_in_the_documentation() {
    let packed = unpacked("airpods-helper");
    let rules: Vec<_> = files(&packed.0).into_keys().filter(|name| name.contains(".rules")).collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules.iter().all(|name| name.starts_with("usr/share/doc/airpods-helper/")), "{rules:?}");
}

#[test]
fn each_package_has_the_version_of_the_programs_and_asks_for_what_its_program_needs() {
    for name in PACKAGES {
        assert_eq!(field(name, "Version").split('-').next(), Some(env!("CARGO_PKG_VERSION")));
    }
    let depends = field("airpods-helper", "Depends");
    for needed in ["libnftnl11", "libc6", "polkitd", "dbus-system-bus"] {
        assert!(depends.contains(needed), "{needed} is not in: {depends}");
    }
    assert!(!depends.contains("podman") && !field("airpods-helper", "Recommends").contains("podman"));
    for needed in ["podman", "airpods-helper"] {
        assert!(field("airpods", "Recommends").contains(needed), "{needed}");
        assert!(!field("airpods", "Depends").contains(needed), "{needed}");
    }
}

#[test]
fn the_unit_is_confined_by_systemds_own_score() {
    let packed = unpacked("airpods-helper");
    let unit = packed.0.join("usr/lib/systemd/system/airpods-helper.service");
    let judge = |threshold: &str| {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--no-pager", "--offline=true", threshold]).arg(&unit).output().unwrap()
    };
    let judged = judge("--threshold=11");
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    assert!(!judge("--threshold=5").status.success(), "it judges");
}
