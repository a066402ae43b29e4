//! `airpods config path`: which file is read.

use std::io::Write;

use super::tell;
use crate::command::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::terminal::{EscapedLine, print_json};

/// Which file is read is known without reading what it says: this must work with a wrong file, too.
pub(super) fn run(context: &Context, json: bool) -> Result<Exit, Failure> {
    let file = crate::config::locate(&context.environment, context.config.as_deref())?;
    match (&file, json) {
        (file, true) => print_json(&serde_json::json!({ "file": file }))?,
        (Some(file), false) => writeln!(anstream::stdout(), "{}", EscapedLine(&file.display().to_string()))?,
        (None, false) => tell("there is no configuration file, the built-in defaults are used"),
    }
    Ok(Exit::Done)
}
