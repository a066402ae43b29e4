//! Places: where a command runs. A test speaks to every namespace and user in the same way.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::error::{Doing, Error, Result};

/// Somewhere commands run: a network namespace, the sandbox as root, a user of the sandbox, the VPN
/// server, the internet.
pub trait Place {
    /// A command which, when spawned, runs there. Its arguments are the program's own; its
    /// environment is small and fixed (`PATH`, `HOME`, `LANG`…), and `env` adds to it. It is killed
    /// when the thread that spawned it ends.
    fn command(&self, program: &str) -> Command;

    /// The name of this place in `ip link set LINK netns …`, run in the place that owns this one.
    fn link_target(&self) -> String;

    /// Runs a shell line there and returns its standard output, trimmed.
    ///
    /// # Errors
    /// The line with the tail of its standard error when it exits with anything but 0.
    fn sh(&self, line: &str) -> Result<String> {
        let mut command = self.command("sh");
        command.args(["-euc", line]);
        let output = output(&mut command, line)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// A network namespace of this kernel.
pub trait Network: std::fmt::Debug {
    /// A file that `setns` takes.
    fn namespace(&self) -> PathBuf;
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or exits with anything but 0; the tail of its standard error is in the
/// message.
pub fn run(command: &mut Command) -> Result<Output> {
    let line = command_line(command);
    output(command, &line)
}

fn output(command: &mut Command, line: &str) -> Result<Output> {
    let output = command.output().doing(|| format!("run `{line}`"))?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = tail(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Command { line: line.to_owned(), status: output.status, stderr })
}

/// The last lines of a program's output: enough to see why it failed, short enough to read.
pub(crate) fn tail(text: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

pub(crate) fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
