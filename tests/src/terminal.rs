//! A person at a terminal.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::error::{Doing, Result};
use crate::place::Place;

/// The line that the terminal shows once it no longer shows typed keys.
const HIDDEN: &str = "[typed keys are hidden]";

/// Wraps a shell line so that the terminal prints [`HIDDEN`] once the echo is off, as at a password
/// prompt. Keys typed between the prompt and that moment are lost: polkit's agent discards them
/// (TCSAFLUSH, tcsetattr(3)). On a slow machine that gap is long enough to matter.
fn watched(line: &str) -> String {
    let watch = "until stty -F /dev/tty -a | grep -q -- ' -echo '; do sleep 0.3; done";
    format!("({watch}; echo '{HIDDEN}' >/dev/tty) 2>/dev/null & watch=$!\n{line}\nkill $watch 2>/dev/null")
}

/// The time limit in seconds. A command that hangs is ended then, and the test sees how far it
/// came. An emulated machine is slow.
const LIMIT: &str = "300";

/// Runs a shell line in a terminal of its own, by script(1), to its end, and returns what was on
/// the screen. `keys` are typed once a password prompt has turned the echo off; an empty text types
/// nothing.
///
/// # Errors
/// When script(1) cannot be started there.
pub fn in_a_terminal(place: &dyn Place, line: &str, keys: &str) -> Result<String> {
    at_the_prompt(place, line, || keys.to_owned())
}

/// The same, but `then` runs while the prompt is open and returns the keys to type.
///
/// # Errors
/// When script(1) cannot be started there.
pub fn at_the_prompt(place: &dyn Place, line: &str, then: impl FnOnce() -> String) -> Result<String> {
    once_shown(place, &watched(line), HIDDEN, then)
}

/// The same, but `then` runs once the screen has shown `awaited`.
///
/// # Errors
/// When script(1) cannot be started there.
pub fn once_shown(place: &dyn Place, line: &str, awaited: &str, then: impl FnOnce() -> String) -> Result<String> {
    let mut child = place
        .command("timeout")
        .args([LIMIT, "script", "--quiet", "--command", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .doing(|| "start script".into())?;
    let (mut screen, mut part, mut then) = (String::new(), [0; 1024], Some(then));
    if let (Some(mut stdin), Some(mut output)) = (child.stdin.take(), child.stdout.take()) {
        loop {
            let count = output.read(&mut part).doing(|| "read the screen".into())?;
            if count == 0 {
                break;
            }
            screen.push_str(&String::from_utf8_lossy(&part[..count]));
            if screen.contains(awaited)
                && let Some(then) = then.take()
            {
                // The command may have ended meanwhile and read no keys.
                let _ = stdin.write_all(then().as_bytes());
            }
        }
    }
    child.wait().doing(|| "wait for script".into())?;
    Ok(screen)
}
