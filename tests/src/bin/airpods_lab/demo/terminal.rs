//! How the demo shows itself: commands as they are typed, with what they really print.

use std::io::{BufRead, BufReader, Write, pipe};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::{DemoError, INTERRUPTED, Result};

/// Prints a line. A reader who leaves early (`| head`) misses the rest; the demo still goes on to its end and cleans up.
fn say(line: &str) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// Begins a scene.
pub(super) fn scene(title: &str) {
    say(&format!("\n\x1b[1m{title}\x1b[0m\n"));
}

/// Says something beside the commands.
pub(super) fn aside(text: &str) {
    text.split('\n').for_each(|line| say(format!("  {line}").trim_end()));
}

/// Says what was checked and is as it should be.
pub(super) fn verdict(text: &str) {
    say(&format!("  \x1b[32m✓\x1b[0m {text}"));
}

/// Runs commands and shows them, on standard output, until somebody presses Ctrl-C.
#[derive(Debug)]
pub(super) struct Terminal {
    interrupted: Arc<AtomicBool>,
}

/// The output of a command, and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    /// Whether it exited with 0.
    pub(super) success: bool,
    /// Both of its outputs, in the order they came.
    pub(super) text: String,
}

impl Terminal {
    /// From here on SIGINT, SIGTERM and SIGHUP end the demo after the running command, so that it can clean up; a second one
    /// ends it at once, and the guardian of the sandbox cleans up.
    pub(super) fn new() -> Result<Self> {
        let failed = |source| DemoError::Io { doing: "listen to Ctrl-C", source };
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag unset.
            register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&interrupted)).map_err(failed)?;
            register(signal, Arc::clone(&interrupted)).map_err(failed)?;
        }
        Ok(Self { interrupted })
    }

    /// Shows a command line and, line by line, what it prints.
    pub(super) fn show(&self, line: &str, command: &mut Command) -> Result<Said> {
        self.check()?;
        say(&format!("  \x1b[1;36m$\x1b[0m \x1b[1m{line}\x1b[0m"));
        let failed = |source| DemoError::Io { doing: "run a command", source };
        let (output, input) = pipe().map_err(failed)?;
        let errors = input.try_clone().map_err(failed)?;
        let mut child = command.stdin(Stdio::null()).stdout(input).stderr(errors).spawn().map_err(failed)?;
        // The command keeps the writing ends until it is reconfigured; the reader would wait for them.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut text = String::new();
        for said in BufReader::new(output).lines() {
            let said = said.map_err(failed)?;
            say(format!("  \x1b[2m│\x1b[0m {said}").trim_end());
            text.push_str(&said);
            text.push('\n');
        }
        let status = child.wait().map_err(failed)?;
        self.check()?;
        Ok(Said { success: status.success(), text })
    }

    /// Whether somebody pressed Ctrl-C.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<()> {
        if self.is_interrupted() { Err(DemoError::Interrupted) } else { Ok(()) }
    }
}
