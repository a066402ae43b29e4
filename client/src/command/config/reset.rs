//! `airpods config reset`: the defaults in place of the file, of which a copy is kept.

use super::error::NotWritten;
use super::tell;
use crate::command::Context;
use crate::config::DEFAULTS;
use crate::error::Failure;
use crate::exit::Exit;
use crate::file;
use crate::question::{Answer, Consent, ask};

pub(super) async fn run(context: &Context, force: bool) -> Result<Exit, Failure> {
    // A wrong file can be reset as well, so nothing is asked of it but where it is.
    let Some(path) = crate::config::locate(&context.environment, context.config.as_deref())? else {
        tell("there is no configuration file, the built-in defaults are used");
        return Ok(Exit::Done);
    };
    let question = format!("Put the defaults in place of `{}`, and keep a copy of it?", path.display());
    match ask(&question, Consent::from_switches(force, false)).await? {
        Answer::Yes => {}
        Answer::No => return Ok(Exit::Done),
        Answer::Nobody => return Err(NotWritten::Unconfirmed(path).into()),
    }
    let unwritable = NotWritten::unwritable(&path);
    let _lock = file::Lock::of(&path).map_err(&unwritable)?;
    let backup = file::back_up(&path).map_err(&unwritable)?;
    file::replace(&path, DEFAULTS).map_err(&unwritable)?;
    tell(&format!("{} has the defaults now, and {} what it had", path.display(), backup.display()));
    Ok(Exit::Done)
}
