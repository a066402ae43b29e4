//! The errors of the laboratory.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// The laboratory's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a world could not be built or observed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or file operation failed.
    #[error("cannot {doing}")]
    Io {
        /// The attempted action, as a phrase after "cannot".
        doing: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A command ran and failed.
    #[error("`{line}` failed ({status}): {stderr}")]
    Command {
        /// The command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The tail of its standard error.
        stderr: String,
    },
    /// A command or a world did not get ready.
    #[error("{what} was not ready: {reason}")]
    NotReady {
        /// The command or the world that was waited for.
        what: String,
        /// Its output instead, or the last observation.
        reason: String,
    },
    /// A program of this workspace has not been built.
    #[error("`{}` does not exist\nhint: run `{hint}` first", .path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
        /// The command that builds it.
        hint: &'static str,
    },
    /// A program of this workspace is older than its sources.
    #[error("`{}` is older than `{}`\nhint: run `{hint}` first", .path.display(), .source_file.display())]
    OutOfDate {
        /// The program.
        path: PathBuf,
        /// A source of it that is newer.
        source_file: PathBuf,
        /// The command that builds it.
        hint: &'static str,
    },
    /// Something that a tool printed could not be understood.
    #[error("cannot understand {what}: {why}")]
    Parse {
        /// The text that was parsed.
        what: String,
        /// The parser's reason.
        why: String,
    },
}

/// Turns an errno or I/O error into [`Error::Io`] with a phrase for the attempted action.
pub(crate) trait Doing<T> {
    /// `doing` completes the sentence "cannot …".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: doing(), source: source.into() })
    }
}

/// An error with all its causes on one line, for logs and for the pipe between the laboratory's
/// processes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
