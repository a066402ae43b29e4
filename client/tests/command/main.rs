//! Commands that need neither podman nor the helper, and the output and exit code of every command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod causes;
mod change;
mod completions;
mod config;
mod export;
mod home;
mod import;
mod no_home;
mod options;

use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use airpods_lab::documents;

/// A command whose output is judged by the schema of its document, if it is one.
struct Airpods(Command);

impl Airpods {
    fn output(&mut self) -> io::Result<Output> {
        let output = self.0.output()?;
        documents::judge_output(&self.0, &output).unwrap();
        Ok(output)
    }
}

impl Deref for Airpods {
    type Target = Command;

    fn deref(&self) -> &Command {
        &self.0
    }
}

impl DerefMut for Airpods {
    fn deref_mut(&mut self) -> &mut Command {
        &mut self.0
    }
}

/// Runs the command with `home` as everything the environment says.
fn airpods(home: &Path, arguments: &str) -> Airpods {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airpods"));
    command.args(arguments.split_whitespace()).env_clear().env("HOME", home).current_dir(home).stdin(Stdio::null());
    Airpods(command)
}

#[track_caller]
fn assert_output(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let found = (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(found, (Some(code), stdout.to_owned(), stderr.to_owned()));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_cannot_steer_the_terminal() {
    let home = tempfile::tempdir().unwrap();
    let output = airpods(home.path(), "net clamp on").arg("\u{1b}[31m\u{9b}").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8(output.stderr).unwrap().chars().any(|c| c.is_control() && c != '\n'));
    assert_eq!(airpods(home.path(), "nonsense").output().unwrap().status.code(), Some(2));
}

#[test]
fn a_pipe_that_is_closed_early_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = airpods(home.path(), "config show").stdout(writer).output().unwrap();
    assert_output(&output, 0, "", "");
}

#[test]
fn the_version_is_printed_on_stdout() {
    let home = tempfile::tempdir().unwrap();
    for arguments in ["-v", "--version"] {
        assert_output(
            &airpods(home.path(), arguments).output().unwrap(),
            0,
            &format!("airpods {}\n", env!("CARGO_PKG_VERSION")),
            "",
        );
    }
}

#[test]
fn without_a_command_five_lines_say_what_to_do_next_even_without_podman() {
    let home = tempfile::tempdir().unwrap();
    let shown = |config: &str| {
        std::fs::write(home.path().join("config.toml"), config).unwrap();
        let file = home.path().join("config.toml");
        let mut command = airpods(home.path(), "--config");
        // No podman is in there.
        let output = command.arg(&file).env("PATH", home.path()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        String::from_utf8(output.stdout).unwrap()
    };
    let lines = shown("");
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(lines.contains("config.toml\n") && lines.contains("\nnext:          airpods doctor\n"), "{lines}");
    assert!(shown("services = 1").contains("\nnext:          airpods config validate\n"));
}

#[test]
fn a_check_without_podman_reports_that_only_the_host_is_measured() {
    let home = tempfile::tempdir().unwrap();
    let mut command = airpods(home.path(), "net check --json --no-proof --url https://127.0.0.1:1/");
    // No podman is in there.
    command.env("PATH", home.path());
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("note: only the host is measured: ") && stderr.contains("podman"), "{stderr}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"place\": \"host\""));
}
