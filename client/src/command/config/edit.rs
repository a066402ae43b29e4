//! `airpods config edit`: opens a draft of the file in an editor. The draft replaces the file only
//! if it is valid.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitStatus;

use tempfile::TempPath;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::print_message;
use super::write::NotWritten;
use crate::command::Context;
use crate::config::{DEFAULTS, Loaded, Source};
use crate::error::{Exit, Failure, Report};
use crate::execute::{interrupted, interruptible};
use crate::file::{self, Links, Owner};
use crate::terminal::{Answer, Consent, ask};

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    let found = crate::config::locate(&context.environment, context.config.as_deref())?;
    let path = match &found {
        Some(path) => path.clone(),
        None => context.environment.new_file(None).ok_or(NotWritten::NoFolder)?,
    };
    let old = found.map(|path| read(&path)).transpose();
    let old = old.map_err(|cause| NotWritten::Unreadable { path: path.clone(), cause })?;
    let draft = file::draft(&path, initial_text(old.as_deref())).map_err(NotWritten::unwritable(&path))?;
    let Some((draft, text)) = edited(context, &path, old.as_deref(), draft).await? else {
        print_message(&format!("{} was not changed", path.display()));
        return Ok(Exit::Done);
    };
    let _lock = file::Lock::of(&path).map_err(NotWritten::unwritable(&path))?;
    if read(&path).ok() != old {
        return Err(NotWritten::Meanwhile { draft: keep(draft, &path)?, path }.into());
    }
    file::replace(&path, &text).map_err(NotWritten::unwritable(&path))?;
    print_message(&format!("{} {}", if old.is_some() { "changed" } else { "created" }, path.display()));
    Ok(Exit::Done)
}

fn read(path: &Path) -> io::Result<String> {
    file::read(path, Links::Followed, Owner::Any)
}

/// The initial text of a draft: the present file, or the defaults.
fn initial_text(old: Option<&str>) -> &str {
    old.unwrap_or(DEFAULTS)
}

/// Opens the draft in the editor until it is valid. None if the text is unchanged.
async fn edited(
    context: &Context,
    path: &Path,
    old: Option<&str>,
    draft: TempPath,
) -> Result<Option<(TempPath, String)>, Failure> {
    let editor = editor(|name| std::env::var_os(name));
    loop {
        if let Some(how) = failure(&wait_for(&editor, &draft).await) {
            let editor = editor.to_string_lossy().into_owned();
            let draft = if is_unwritten(&draft, initial_text(old)) { None } else { Some(keep(draft, path)?) };
            return Err(NotWritten::Editor { path: path.to_owned(), editor, how, draft }.into());
        }
        let text = read(&draft).map_err(|cause| NotWritten::Unreadable { path: draft.to_path_buf(), cause })?;
        if old == Some(&text) {
            return Ok(None);
        }
        let source = Source::of_file(draft.to_path_buf(), text.clone());
        let places = context.environment.places(Some(path));
        let read = places.and_then(|places| crate::config::parse_in(Some(source), &places));
        match read.and_then(Loaded::refuse_unknown_keys) {
            Ok(loaded) => {
                loaded.print_warnings(&mut anstream::stderr());
                return Ok(Some((draft, text)));
            }
            Err(problems) => problems.refuse_unknown_keys().render(&mut anstream::stderr())?,
        }
        // Once `interrupted` was polled, Ctrl-C no longer ends the process by itself.
        let answered = interruptible(pin!(interrupted()), ask("Edit it again?", Consent::Asked)).await;
        let interrupted = answered.is_err();
        if interrupted || answered?? != Answer::Yes {
            let (path, draft) = (path.to_owned(), keep(draft, path)?);
            return Err(NotWritten::WrongDraft { path, draft, interrupted }.into());
        }
    }
}

/// The user's text editor: `$VISUAL`, `$EDITOR`, or `vi`, which POSIX requires.
fn editor(lookup: impl Fn(&str) -> Option<OsString>) -> OsString {
    let named = |name: &&str| lookup(name).filter(|editor| !editor.is_empty());
    ["VISUAL", "EDITOR"].iter().find_map(named).unwrap_or_else(|| "vi".into())
}

/// Runs the editor and waits for it. The variable may hold a program with arguments, such as `code
/// --wait`.
async fn wait_for(editor: &OsStr, draft: &Path) -> io::Result<ExitStatus> {
    // The editor is in the same process group, so Ctrl-C on the terminal reaches both. It is meant
    // for the editor.
    let _ours = signal(SignalKind::interrupt())?;
    let mut shell = Command::new("sh");
    // The shell splits the variable into words, and keeps the path in one word whatever it
    // contains.
    shell.args(["-c", "eval \"$0 \\\"\\$1\\\"\""]).arg(editor).arg(draft);
    shell.status().await
}

/// How the editor failed; none if it ended with success.
fn failure(ended: &io::Result<ExitStatus>) -> Option<String> {
    match ended {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("ended with {status}")),
        Err(cause) => Some(format!("could not be started: {cause}")),
    }
}

/// Whether the draft has its initial text or is gone.
fn is_unwritten(draft: &Path, initial_text: &str) -> bool {
    match fs::read(draft) {
        Ok(text) => text == initial_text.as_bytes(),
        Err(cause) => cause.kind() == io::ErrorKind::NotFound,
    }
}

fn keep(draft: TempPath, path: &Path) -> Result<PathBuf, NotWritten> {
    draft.keep().map_err(|failed| NotWritten::Unwritable { path: path.to_owned(), cause: failed.error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_editor_is_taken_and_an_empty_variable_is_none() {
        let editor = |variables: &[(&str, &str)]| {
            editor(|name| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into()))
        };
        assert_eq!(editor(&[("EDITOR", "nano"), ("VISUAL", "code --wait")]), "code --wait");
        assert_eq!(editor(&[("EDITOR", "nano"), ("VISUAL", "")]), "nano");
        assert_eq!(editor(&[]), "vi");
    }
}
