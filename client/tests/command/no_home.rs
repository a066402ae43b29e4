//! A home folder, or one of the XDG folders, that cannot be used: every command that needs it names
//! it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::airpods;

/// The commands that make a file of the user's, with what each makes it in.
const WRITERS: [(&str, &str); 3] = [
    ("config init", "XDG_CONFIG_HOME"),
    ("config set cli.verbose true", "XDG_CONFIG_HOME"),
    ("export quadlet --dir out", "XDG_STATE_HOME"),
];

/// The commands that need no file.
const READERS: [&str; 4] = ["config path", "config show", "config validate", "version"];

/// A command's exit code and words with these variables set.
fn run_with(command: &str, variables: &[(&str, &Path)]) -> (Option<i32>, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = airpods(home.path(), command);
    command.env_remove("HOME").env("PATH", home.path()).envs(variables.iter().copied());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[track_caller]
fn names(command: &str, variables: &[(&str, &Path)], fault: &str, hint: &str) {
    let (code, stderr) = run_with(command, variables);
    assert_eq!(code, Some(1), "{command} {variables:?}: {stderr}");
    let first = stderr.lines().next().unwrap();
    assert!(first.starts_with("error: ") && first.contains(fault), "{command} {variables:?}: {stderr}");
    assert!(stderr.contains(&format!("\nhint: {hint}")), "{command} {variables:?}: {stderr}");
}

#[test]
fn a_home_that_is_not_set_is_named() {
    for (command, _) in WRITERS {
        names(command, &[], "there is no folder", "set `HOME`");
    }
}

#[test]
fn a_home_that_is_a_file_or_has_a_file_in_the_way_is_named() {
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("file");
    fs::write(&file, "").unwrap();
    for (command, variable) in WRITERS {
        let fault = format!("`HOME` names `{}`, which is not a folder", file.display());
        names(command, &[("HOME", &file)], &fault, "set `HOME` to a folder that you can write");
        let fault = format!("`{variable}` names `{}`, which is not a folder", file.display());
        let hint = format!("set `{variable}` to a folder that you can write");
        names(command, &[("HOME", own.path()), (variable, &file)], &fault, &hint);
    }
    let home = tempfile::tempdir().unwrap();
    for below in [".config", ".local"] {
        fs::write(home.path().join(below), "").unwrap();
    }
    for (command, variable) in WRITERS {
        let below = if variable == "XDG_CONFIG_HOME" { ".config" } else { ".local" };
        let fault = format!("`{}` is not a folder", home.path().join(below).display());
        names(command, &[("HOME", home.path())], &fault, "make `");
    }
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let own = tempfile::tempdir().unwrap();
    // Root may write everywhere but where the kernel takes no files.
    let (closed, fault) = if nix::unistd::geteuid().is_root() {
        (Path::new("/proc/nonexistent").to_owned(), "which does not exist")
    } else {
        fs::set_permissions(own.path(), Permissions::from_mode(0o500)).unwrap();
        (own.path().to_owned(), "which this user may not write")
    };
    for (command, _) in WRITERS {
        let fault = format!("`HOME` names `{}`, {fault}", closed.display());
        names(command, &[("HOME", &closed)], &fault, "set `HOME` to a folder that you can write");
    }
    fs::set_permissions(own.path(), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn commands_that_need_no_file_work_without_a_home() {
    let nowhere = Path::new("/proc/nonexistent");
    for command in READERS {
        for variables in
            [&[][..], &[("HOME", nowhere)], &[("HOME", nowhere), ("XDG_CONFIG_HOME", Path::new("relative"))]]
        {
            let (code, stderr) = run_with(command, variables);
            assert_eq!(code, Some(0), "{command} {variables:?}: {stderr}");
            assert!(!stderr.contains("error: "), "{command} {variables:?}: {stderr}");
        }
    }
}
