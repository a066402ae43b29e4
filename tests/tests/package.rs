//! The Debian package that `make deb` built: what is in it, and what installing and removing it does. In a sandbox it is
//! installed without a service manager, as in a container or under another init.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use airpods_lab::{Place, Sandbox, package, repository};

const USER: &str = "airpods-helper";

/// A folder of its own, gone with its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let made = Command::new("mktemp").args(["--directory", "--tmpdir", "airpods-package.XXXXXX"]).output().unwrap();
        Self(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What stands in the control file for a field.
fn field(name: &str) -> String {
    let output = Command::new("dpkg-deb").arg("--field").arg(package().unwrap()).arg(name).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What the package would put where, as dpkg would unpack it.
fn unpacked() -> Folder {
    let folder = Folder::new();
    let status = Command::new("dpkg-deb").arg("--extract").arg(package().unwrap()).arg(&folder.0).status().unwrap();
    assert!(status.success());
    folder
}

/// The files and links below a folder, by their path in it.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
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

/// The bytes of a file, unpacked if Debian packed it, or where a link leads.
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
    let list = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package().unwrap()).output().unwrap().stdout;
    let mut archive = tar::Archive::new(list.as_slice());
    let mut programs = BTreeSet::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let (path, header) = (entry.path().unwrap().display().to_string(), entry.header());
        let (mode, kind) = (header.mode().unwrap(), header.entry_type());
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{path}");
        assert_eq!(mode & 0o7000, 0, "{path}: {mode:o} has a setuid, setgid or sticky bit");
        assert!(mode & 0o022 == 0 || kind.is_symlink(), "{path}: {mode:o} lets others write");
        assert!(path == "./" || path.starts_with("./usr/"), "{path}");
        if kind.is_file() && mode & 0o111 != 0 {
            programs.insert(path);
        }
    }
    assert_eq!(programs, ["./usr/bin/airpods", "./usr/libexec/airpods-helper"].map(str::to_owned).into());
}

#[test]
fn what_is_packed_is_what_make_install_installs() {
    let (packed, installed) = (unpacked(), Folder::new());
    let make = Command::new("make")
        .current_dir(repository())
        .args(["--silent", "install", "PREFIX=/usr", "ZSHDIR=/usr/share/zsh/vendor-completions"])
        .arg(format!("DESTDIR={}", installed.0.display()))
        .env_remove("MAKEFLAGS")
        .output()
        .unwrap();
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
    let debians_own =
        ["changelog.gz", "changelog.Debian.gz", "copyright"].map(|name| format!("usr/share/doc/airpods/{name}"));
    let unpacked_name = |name: &str| name.strip_suffix(".gz").unwrap_or(name).to_owned();
    let packed: BTreeMap<_, _> = files(&packed.0)
        .into_iter()
        .filter(|(name, _)| !debians_own.contains(name) && !name.starts_with("usr/share/lintian/"))
        .map(|(name, path)| (unpacked_name(&name), path))
        .collect();
    let installed: BTreeMap<_, _> =
        files(&installed.0).into_iter().filter(|(name, _)| !name.starts_with("usr/share/licenses/")).collect();
    assert_eq!(packed.keys().collect::<Vec<_>>(), installed.keys().collect::<Vec<_>>());
    for (name, path) in &packed {
        // The programs lose their symbols on the way.
        if !["usr/bin/airpods", "usr/libexec/airpods-helper"].contains(&name.as_str()) {
            assert!(content(path) == content(&installed[name]), "{name}");
        }
        let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode(path), mode(&installed[name]), "{name}");
    }
    let pages = packed.keys().filter(|name| name.starts_with("usr/share/man/")).count();
    assert!(pages > 10, "{pages}");
}

#[test]
fn every_crate_that_the_programs_are_linked_with_is_named_with_its_terms() {
    let packed = unpacked();
    let page = String::from_utf8(content(&packed.0.join("usr/share/doc/airpods/crates.txt.gz"))).unwrap();
    for (program, direct) in [("client", "tokio"), ("helper", "nftnl")] {
        let tree = Command::new("cargo")
            .current_dir(repository().join(program))
            .args(["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"])
            .output()
            .unwrap();
        let tree = String::from_utf8(tree.stdout).unwrap();
        assert!(tree.contains(&format!("{direct} v")), "{tree}");
        for linked in tree.lines().filter(|line| !line.is_empty() && !line.contains("(/")) {
            let (name, version) = linked.split_once(" v").unwrap();
            let named = format!("\n{name} {}: ", version.trim_end_matches(" (*)"));
            let terms = page.split_once(&named).map(|(_, rest)| rest.lines().next().unwrap());
            assert!(terms.is_some_and(|terms| !terms.starts_with('<')), "{linked}: {terms:?}");
        }
    }
    assert!(page.contains("Permission is hereby granted, free of charge"));
    let copyright = fs::read_to_string(packed.0.join("usr/share/doc/airpods/copyright")).unwrap();
    assert!(copyright.contains("/usr/share/doc/airpods/crates.txt.gz"));
}

#[test]
fn rules_that_let_somebody_in_are_examples_among_the_documents_only() {
    let packed = unpacked();
    let rules: Vec<_> = files(&packed.0).into_keys().filter(|name| name.contains(".rules")).collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules.iter().all(|name| name.starts_with("usr/share/doc/airpods/")), "{rules:?}");
}

#[test]
fn the_package_has_the_version_of_the_programs_and_asks_for_what_they_need() {
    assert_eq!(field("Version").split('-').next(), Some(env!("CARGO_PKG_VERSION")));
    let depends = field("Depends");
    for needed in ["libnftnl11", "libc6", "polkitd", "dbus-system-bus"] {
        assert!(depends.contains(needed), "{needed} is not in: {depends}");
    }
    assert!(field("Recommends").contains("podman"));
}

#[test]
fn the_unit_is_as_confined_as_systemds_own_measure_can_tell() {
    let packed = unpacked();
    let unit = packed.0.join("usr/lib/systemd/system/airpods-helper.service");
    let judge = |threshold: &str| {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--no-pager", "--offline=true", threshold]).arg(&unit).output().unwrap()
    };
    let judged = judge("--threshold=11");
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    assert!(!judge("--threshold=5").status.success(), "it judges");
}

/// A host on which the package was never installed.
fn bare_host() -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.sh(&format!("userdel {USER}; umount /var/lib/{USER}; rm -rf /var/lib/{USER} /run/{USER}")).unwrap();
    fs::copy(package().unwrap(), sandbox.path("/tmp/airpods.deb")).unwrap();
    sandbox
}

/// Every path of a host that a package could have a part in, but for dpkg's own and what the user's removal rewrites.
fn paths(sandbox: &Sandbox) -> BTreeSet<String> {
    let listed = sandbox
        .sh("find /etc /home /opt /root /srv /usr /var -xdev -path /var/lib/dpkg -prune -o -path /var/cache -prune \
         -o -path /var/log -prune -o -print; find /run -path '*airpods*'");
    listed.unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn installing_starts_nothing_and_the_bus_starts_the_helper_for_the_first_caller() {
    let sandbox = bare_host();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh("dpkg --install /tmp/airpods.deb").unwrap();
    assert!(!sandbox.bus_name_has_owner("org.airpods.Helper1").unwrap());
    assert_eq!(sandbox.sh("pgrep --count airpods-helper || true").unwrap(), "0");
    assert_eq!(sandbox.sh("nft list ruleset").unwrap(), "");
    assert_eq!(sandbox.sh("airpods net clamp on wg0 && stat -c %U /proc/$(pgrep airpods-helper)").unwrap(), USER);
    assert!(sandbox.sh("nft list ruleset").unwrap().contains("table inet airpods"));
}

#[test]
fn removing_ends_the_helper_and_its_rules_and_purging_leaves_nothing() {
    let sandbox = bare_host();
    let before = paths(&sandbox);
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh("dpkg --install /tmp/airpods.deb && airpods net clamp on wg0 --persist").unwrap();
    let state = sandbox.path("/var/lib/airpods-helper/state.json");
    assert!(state.metadata().unwrap().uid() > 0, "it is the helper's");
    sandbox.sh("dpkg --remove airpods").unwrap();
    assert_eq!(sandbox.sh("nft list ruleset; pgrep airpods-helper || true").unwrap(), "");
    assert!(state.exists(), "what was to be kept is kept until the purge");
    sandbox.sh("dpkg --purge airpods").unwrap();
    assert_eq!(sandbox.sh(&format!("grep --no-filename {USER} /etc/passwd /etc/group || true")).unwrap(), "");
    let left: Vec<_> = paths(&sandbox).difference(&before).filter(|path| path.contains("airpods")).cloned().collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn an_upgrade_keeps_the_helper_that_runs_and_what_was_asked_of_it() {
    let sandbox = bare_host();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh("dpkg --install /tmp/airpods.deb && airpods net clamp on wg0").unwrap();
    sandbox.sh("dpkg --install /tmp/airpods.deb").unwrap();
    assert!(sandbox.sh("airpods net clamp status").unwrap().contains("wg0"));
    assert!(sandbox.sh("nft list ruleset").unwrap().contains("wg0"));
}
