//! `net clamp status`.

use std::io::Write;

use super::describe;
use crate::error::Failure;
use crate::exit::Exit;
use crate::helper_link::HelperLink;
use crate::terminal::{Escaped, print_json};

pub(super) async fn run(json: bool) -> Result<Exit, Failure> {
    let status = HelperLink::connect().await?.status().await?;
    let mut out = anstream::stdout();
    if json {
        print_json(&describe::json(&status))?;
        return Ok(Exit::Done);
    }
    for line in describe::status(&status) {
        writeln!(out, "{}", Escaped(&line))?;
    }
    Ok(Exit::Done)
}
