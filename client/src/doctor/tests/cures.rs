//! Cures that change a file or remove something, run on files that they could damage.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::*;

/// Runs a cure as a user would, in a home of its own. `sudo` does nothing: the test must not change
/// the machine.
fn run(cure: &str, home: &Path) -> bool {
    let programs = home.join("bin");
    fs::create_dir_all(&programs).unwrap();
    let sudo = programs.join("sudo");
    fs::write(&sudo, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", cure]).env_clear().env("PATH", path).env("HOME", home).env("USER", "alice");
    shell.output().unwrap().status.success()
}

fn cure(spoil: fn(&mut Facts)) -> String {
    let mut facts = healthy();
    spoil(&mut facts);
    bad(&facts).into_iter().find_map(|finding| finding.cure).unwrap()
}

#[test]
fn a_storage_on_the_network_is_moved_once_and_a_file_that_is_there_is_left_alone() {
    let cure = cure(|facts| facts.storage.as_mut().unwrap().over_network = true);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".config/containers/storage.conf");
    assert!(run(&cure, home.path()));
    let written = fs::read_to_string(&file).unwrap();
    let table: toml::Table = written.parse().unwrap();
    assert_eq!(table["storage"]["graphroot"].as_str(), Some("/var/lib/containers-of-alice"), "{written}");
    fs::write(&file, "[storage]\ndriver = \"btrfs\"\n").unwrap();
    assert!(!run(&cure, home.path()), "it claims to have done something");
    assert_eq!(fs::read_to_string(&file).unwrap(), "[storage]\ndriver = \"btrfs\"\n");
}

#[test]
fn no_cure_removes_or_stops_what_others_made() {
    for (spoil, code, ..) in cases() {
        let mut facts = healthy();
        spoil(&mut facts);
        for cure in judge(&facts).into_iter().filter_map(|finding| finding.cure) {
            for harm in
                ["podman rm", "podman pod rm", "network rm", "volume rm", "podman stop", "tee -a", "system reset"]
            {
                assert!(!cure.contains(harm), "{code}: {cure}");
            }
        }
    }
}
