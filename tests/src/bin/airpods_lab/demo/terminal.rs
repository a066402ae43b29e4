//! The demo's output: commands as they are typed, with their real output.

use std::io::{BufRead, BufReader, Write, pipe};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::{DemoError, INTERRUPTED, Result};

/// Prints a line. If the reader leaves early (`| head`), the demo still runs to its end and cleans
/// up.
fn print_line(line: &str) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// Prints the heading of a part.
pub(super) fn print_heading(title: &str) {
    print_line(&format!("\n\x1b[1m{title}\x1b[0m\n"));
}

/// Prints a remark between the commands.
pub(super) fn print_remark(text: &str) {
    text.split('\n').for_each(|line| print_line(format!("  {line}").trim_end()));
}

/// Prints a check that passed.
pub(super) fn print_check(text: &str) {
    print_line(&format!("  \x1b[32m✓\x1b[0m {text}"));
}

/// Runs commands and shows them, on standard output, until Ctrl-C.
#[derive(Debug)]
pub(super) struct Terminal {
    interrupted: Arc<AtomicBool>,
}

/// The output of a command, and how it ended.
#[derive(Debug)]
pub(super) struct CommandOutput {
    /// Whether it exited with 0.
    pub(super) success: bool,
    /// Both of its outputs, in the order they came.
    pub(super) text: String,
}

impl Terminal {
    /// From here on SIGINT, SIGTERM and SIGHUP end the demo after the running command, so that it
    /// can clean up. A second signal ends it at once, and the supervisor of the sandbox cleans up.
    pub(super) fn new() -> Result<Self> {
        let failed = |source| DemoError::Io { doing: "listen to Ctrl-C", source };
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Keep this order: the first signal must find the flag unset.
            register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&interrupted)).map_err(failed)?;
            register(signal, Arc::clone(&interrupted)).map_err(failed)?;
        }
        Ok(Self { interrupted })
    }

    /// Shows a command line and, line by line, what it prints.
    pub(super) fn show(&self, line: &str, command: &mut Command) -> Result<CommandOutput> {
        self.check()?;
        print_line(&format!("  \x1b[1;36m$\x1b[0m \x1b[1m{line}\x1b[0m"));
        let failed = |source| DemoError::Io { doing: "run a command", source };
        let (output, input) = pipe().map_err(failed)?;
        let errors = input.try_clone().map_err(failed)?;
        let mut child = command.stdin(Stdio::null()).stdout(input).stderr(errors).spawn().map_err(failed)?;
        // Replace the writing ends that `command` still holds, or the reader would never see the
        // end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut text = String::new();
        for printed in BufReader::new(output).lines() {
            let printed = printed.map_err(failed)?;
            print_line(format!("  \x1b[2m│\x1b[0m {printed}").trim_end());
            text.push_str(&printed);
            text.push('\n');
        }
        let status = child.wait().map_err(failed)?;
        self.check()?;
        Ok(CommandOutput { success: status.success(), text })
    }

    /// Whether one of the signals arrived.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<()> {
        if self.is_interrupted() { Err(DemoError::Interrupted) } else { Ok(()) }
    }
}
