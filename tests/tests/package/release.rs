//! The build of a release's programs: from the tested crates, reproducible, and with a list of the
//! crates.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::{env, fs};

use airpods_lab::{build_record, packages_folder, repository};
use serde_json::Value;

use crate::{Folder, PROGRAMS, cargo, make, unpacked};

/// Each crate that cargo compiled for a program, with the features it was compiled with.
fn compiled(profile: &str, program: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut crates: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for line in build_record(profile, program).unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        if message["reason"] == "compiler-artifact" {
            let features = message["features"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned());
            // A crate that is also a build dependency may appear twice.
            let key = format!("{} {}", message["package_id"].as_str().unwrap(), message["target"]["kind"]);
            crates.entry(key).or_default().extend(features);
        }
    }
    crates
}

#[test]
fn the_programs_under_test_have_the_crates_and_features_of_the_packaged_ones() {
    for (program, _) in PROGRAMS {
        let (tested, shipped) = (compiled("debug", program), compiled("release", program));
        assert_eq!(tested, shipped, "{program}");
        let zbus = shipped.iter().find(|(name, _)| name.contains("#zbus@"));
        assert!(
            shipped.len() > 30 && zbus.is_some_and(|(_, features)| !features.is_empty()),
            "the premise: {shipped:?}"
        );
    }
}

#[test]
fn the_sbom_beside_a_package_has_every_crate_that_its_program_is_linked_with() {
    for ((program, _), folder) in PROGRAMS.into_iter().zip(["client", "helper"]) {
        let sbom = packages_folder().unwrap().join(program).with_extension("cdx.json");
        let sbom: Value = serde_json::from_slice(&fs::read(&sbom).unwrap()).unwrap();
        assert_eq!(sbom["bomFormat"], "CycloneDX");
        let components = sbom["components"].as_array().unwrap();
        let told: BTreeSet<_> =
            components.iter().map(|it| (it["name"].as_str().unwrap(), it["version"].as_str().unwrap())).collect();
        let tree =
            cargo(folder, &["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"]);
        for linked in tree.lines().filter(|line| !line.is_empty() && !line.contains("(/")) {
            let (name, version) = linked.split_once(" v").unwrap();
            assert!(told.contains(&(name, version.trim_end_matches(" (*)"))), "{linked}: {told:?}");
        }
        assert!(told.len() > 30, "the premise: {told:?}");
    }
}

#[test]
fn sums_that_overflow_end_a_released_program_instead_of_wrapping_around() {
    for (package, path) in PROGRAMS {
        let program = fs::read(unpacked(package).0.join(path)).unwrap();
        assert!(contains(&program, b"attempt to add with overflow"), "{path}");
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn no_released_program_has_a_path_of_the_machine_that_built_it() {
    let home = env::var("HOME").unwrap();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let folders = [
        repository().display().to_string(),
        env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo")),
        String::from_utf8(sysroot).unwrap().trim().to_owned(),
    ];
    for (package, path) in PROGRAMS {
        let program = fs::read(unpacked(package).0.join(path)).unwrap();
        for folder in &folders {
            assert!(!contains(&program, folder.as_bytes()), "{path} has {folder}");
        }
        assert!(contains(&program, b"/airpods/"), "the premise: {path} has paths, for messages of panics");
    }
}

/// The parts of a checkout that building needs.
const SOURCES: &str = "Cargo.toml Cargo.lock Makefile clippy.toml client dbus docs helper polkit tests";

#[test]
fn built_again_in_another_folder_the_programs_are_the_same_to_the_byte() {
    let (checkout, elsewhere) = (repository(), Folder::new());
    let copy = format!("mkdir -p \"$0\" && cp -r {SOURCES} \"$0\"");
    let folder = elsewhere.0.join("with a longer name").join("airpods");
    let copied = Command::new("sh").current_dir(&checkout).args(["-euc", &copy]).arg(&folder).status().unwrap();
    assert!(copied.success());
    // Copy the tool that writes the list of crates into another folder, too.
    let tools = elsewhere.0.join("tools");
    let copy = "mkdir \"$0\" && ! tool=$(command -v cargo-auditable) || cp \"$tool\" \"$0\"";
    assert!(Command::new("sh").args(["-euc", copy]).arg(&tools).status().unwrap().success());
    let make = make(&folder)
        .args(["programs", "PROFILE=release"])
        .env("PATH", format!("{}:{}", tools.display(), env::var("PATH").unwrap()))
        .output()
        .unwrap();
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
    for (program, _) in PROGRAMS {
        let path = format!("target/release/programs/{program}");
        let (first, second) = (fs::read(checkout.join(&path)).unwrap(), fs::read(folder.join(&path)).unwrap());
        assert!(first == second, "{program}: {} and {} bytes", first.len(), second.len());
    }
}

/// Lintian has checks that apply only to a first version.
#[test]
fn lintian_judges_the_next_version_as_it_judges_this_one() {
    let next = Folder::new();
    let now = fs::read_to_string(repository().join("helper/debian/changelog")).unwrap();
    let (version, rest) = now.split_once('\n').unwrap();
    let (_, distribution) = version.split_once(") ").unwrap();
    let signed = rest.lines().find_map(|line| line.strip_prefix(" -- ")).unwrap();
    let (maintainer, _) = signed.split_once("  ").unwrap();
    let date = Command::new("date").arg("--rfc-email").output().unwrap().stdout;
    let date = String::from_utf8(date).unwrap();
    let entry = format!("airpods (999.0.0-1) {distribution}\n\n  * The next one.\n\n -- {maintainer}  {date}\n");
    let changelog = next.0.join("changelog");
    fs::write(&changelog, entry + &now).unwrap();
    let packed = Command::new(repository().join("packaging/deb.sh"))
        .args([&next.0, &changelog])
        .env_remove("MAKEFLAGS")
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    // Uses the options of `make deb`.
    let judged = make(&repository())
        .args(["--eval", "judged: ; @$(LINTIAN) '$(FOLDER)'/*.changes", "judged"])
        .arg(format!("FOLDER={}", next.0.display()))
        .output()
        .unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}
