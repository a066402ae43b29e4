//! Cures that change a file or remove something, run on files that they could damage.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::*;

/// Runs a cure as a user would, in a home of its own. `sudo` does nothing: the test must not change
/// the machine.
fn run(cure: &str, home: &Path) -> bool {
    shell(cure, home, &[("sudo", "exit 0")])
}

/// Runs a cure in a folder that stands for the root of the file system. The programs that would
/// change the machine write a line into `ran` instead; those of `absent` are missing.
fn run_in_root(cure: &str, root: &Path, absent: &[&str]) -> bool {
    let cure = cure.replace("/etc/", &format!("{}/etc/", root.display()));
    let log = |name: &str| format!("echo {name} \"$@\" >>\"$HOME/ran\"");
    let [systemctl, update_grub, reboot] = ["systemctl", "update-grub", "reboot"].map(log);
    let all = [("sudo", "exec \"$@\""), ("systemctl", &systemctl), ("update-grub", &update_grub), ("reboot", &reboot)];
    let present: Vec<_> = all.into_iter().filter(|(name, _)| !absent.contains(name)).collect();
    shell(&cure, root, &present)
}

fn shell(line: &str, home: &Path, programs: &[(&str, &str)]) -> bool {
    let folder = home.join("bin");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for (name, body) in programs {
        let program = folder.join(name);
        fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env_clear().env("PATH", path).env("HOME", home).env("USER", "alice");
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

/// As `grub-mkconfig` of Debian reads it.
const PARAMETERS: &str = ". etc/default/grub; for more in etc/default/grub.d/*.cfg; do . \"./$more\"; done; \
                          printf %s \"$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT\"";

#[test]
fn the_kernels_parameters_keep_what_is_set_and_the_last_one_asks_for_cgroups_version_2() {
    let cure = cure(|facts| facts.rootless.as_mut().unwrap().cgroups = Cgroups::Version1);
    for set in [
        "GRUB_CMDLINE_LINUX=\"net.ifnames=0\"\nGRUB_CMDLINE_LINUX_DEFAULT='quiet systemd.unified_cgroup_hierarchy=0'\n",
        "GRUB_CMDLINE_LINUX=systemd.unified_cgroup_hierarchy=false\n",
        "",
    ] {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("etc/default/grub");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, set).unwrap();
        assert!(!run_in_root(&cure, root.path(), &["update-grub"]), "it claims to have done something");
        assert!(!root.path().join("ran").exists(), "without GRUB it reboots for nothing");
        assert!(!root.path().join("etc/default/grub.d").exists(), "nor does it leave a file");
        for _ in 0..2 {
            assert!(run_in_root(&cure, root.path(), &[]));
        }
        let ran = fs::read_to_string(root.path().join("ran")).unwrap();
        assert_eq!(ran, "update-grub\nreboot\n".repeat(2));
        assert_eq!(fs::read_to_string(&file).unwrap(), set);
        let mut shell = Command::new("sh");
        shell.args(["-euc", PARAMETERS]).current_dir(root.path()).env_clear();
        let printed = shell.env("GRUB_CMDLINE_LINUX", "").env("GRUB_CMDLINE_LINUX_DEFAULT", "").output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let values: Vec<&str> = printed.split_whitespace().collect();
        assert_eq!(values.last(), Some(&"systemd.unified_cgroup_hierarchy=1"), "{printed}");
        assert_eq!(values.contains(&"quiet"), set.contains("quiet"), "{printed}");
    }
}

#[test]
fn controllers_are_delegated_beside_what_an_administrator_has_set() {
    let cure = cure(|facts| facts.rootless.as_mut().unwrap().cgroups = Cgroups::Delegated(Vec::new()));
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("etc/systemd/system/user@.service.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("50-admin.conf"), "[Service]\nMemoryMax=8G\n").unwrap();
    for _ in 0..2 {
        assert!(run_in_root(&cure, root.path(), &[]));
    }
    assert_eq!(fs::read_to_string(folder.join("50-admin.conf")).unwrap(), "[Service]\nMemoryMax=8G\n");
    let ours = fs::read_to_string(folder.join("airpods.conf")).unwrap();
    assert_eq!(ours, "[Service]\nDelegate=cpu cpuset io memory pids\n");
    assert_eq!(fs::read_to_string(root.path().join("ran")).unwrap(), "systemctl daemon-reload\n".repeat(2));
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
