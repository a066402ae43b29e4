//! The command `airpods` of a user, with a configuration that the test writes.

use std::io;
use std::process::{Command, Stdio};

use crate::{Place, Sandbox, User, documents};

/// Where that configuration is.
const CONFIG: &str = "/etc/airpods-test.toml";

/// The built-in services switched off, so that a test has only its own.
pub const ALONE: &str =
    "services.ollama.enabled = false\nservices.open-webui.enabled = false\nservices.comfyui.enabled = false\n";

/// The outcome of a command.
#[derive(Debug)]
pub struct CommandOutput {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

impl CommandOutput {
    /// Runs a command with empty standard input. If it prints a document, that is checked against
    /// its schema.
    ///
    /// # Errors
    /// It cannot be started, or prints a document that its schema does not describe.
    pub fn of(command: &mut Command) -> io::Result<Self> {
        let output = command.stdin(Stdio::null()).output()?;
        documents::judge_output(command, &output).map_err(io::Error::other)?;
        Ok(Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Its stdout as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_str(&self.out)
    }
}

/// Writes the configuration.
///
/// # Errors
/// The file cannot be written.
pub fn configure(sandbox: &Sandbox, toml: &str) -> crate::Result<()> {
    sandbox.write_file(CONFIG, toml)
}

/// The command as a user gives it.
#[must_use]
pub fn command(user: &User, arguments: &str) -> Command {
    let mut command = user.command("airpods");
    command.env("AIRPODS_CONFIG", CONFIG).args(arguments.split_whitespace());
    command
}

/// Runs it.
///
/// # Errors
/// Those of [`CommandOutput::of`].
pub fn run(user: &User, arguments: &str) -> io::Result<CommandOutput> {
    CommandOutput::of(&mut command(user, arguments))
}

/// The line that a person types in a terminal.
#[must_use]
pub fn line(arguments: &str) -> String {
    format!("AIRPODS_CONFIG={CONFIG} airpods {arguments}; echo code=$?")
}
