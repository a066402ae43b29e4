//! `airpods config init`: a first file.

use std::io::ErrorKind;

use super::error::NotWritten;
use super::tell;
use crate::command::Context;
use crate::config::DEFAULTS;
use crate::error::Failure;
use crate::exit::Exit;
use crate::file;

pub(super) fn run(context: &Context, force: bool) -> Result<Exit, Failure> {
    let path = context.environment.new_file(context.config.as_deref()).ok_or(NotWritten::NoFolder)?;
    let written = if force { file::replace(&path, DEFAULTS) } else { file::create(&path, DEFAULTS) };
    match written {
        Ok(()) => tell(&format!("created {}", path.display())),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => return Err(NotWritten::Exists(path).into()),
        Err(cause) => return Err(NotWritten::Unwritable { path, cause }.into()),
    }
    Ok(Exit::Done)
}
