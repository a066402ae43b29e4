//! How a command ends: with an exit code (documented in `docs/exit-codes.md`), and after a failure
//! with an error that is printed.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use crate::home::HomeFault;
use crate::terminal::Escaped;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done, or declined by the user, or nothing to do.
    Done = 0,
    /// Failed; the message says how.
    Failed = 1,
    /// The command line asks for something that does not exist or is out of range.
    Usage = 2,
    /// The helper, or the system bus, is not there or does not answer.
    HelperAbsent = 3,
    /// The user is not authorised.
    Denied = 4,
    /// The user dismissed the prompt.
    Dismissed = 5,
    /// polkit is absent, so nobody can authorise the user.
    AuthUnavailable = 6,
    /// The link is no VPN.
    NotVpn = 7,
    /// Too much at once; the same call may work later.
    Busy = 8,
    /// The kernel or the environment does not support it.
    Unsupported = 9,
    /// The configuration is wrong, or cannot be read.
    Configuration = 10,
    /// Interrupted by Ctrl-C: 128 + SIGINT, as shells report it.
    Interrupted = 130,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl std::process::Termination for Exit {
    fn report(self) -> std::process::ExitCode {
        self.code().into()
    }
}

/// An error that a user sees: a sentence (its `Display`), its causes (`source`), what to do next,
/// and how the process ends. Every module's error enum that a command returns implements it.
pub trait Report: Error + 'static {
    /// How the process ends.
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    /// The next action, as a sentence without a full stop.
    fn hint(&self) -> Option<Cow<'static, str>> {
        None
    }

    /// A folder that the environment names and that cannot be used, if that is the cause.
    fn home_fault(&self) -> Option<HomeFault> {
        None
    }

    /// Writes the whole error, the word `error:` in front. The default is a sentence and its hint.
    ///
    /// # Errors
    /// Those of `to`.
    fn render(&self, to: &mut dyn Write) -> io::Result<()>
    where
        Self: Sized,
    {
        match self.home_fault() {
            Some(fault) => render_fault(self, &fault, to),
            None => render(self, self.hint().as_deref(), to),
        }
    }
}

/// Writes `error: SENTENCE: FAULT` and the hint of the fault, which says more than the system's
/// error.
pub(crate) fn render_fault(error: &dyn Error, fault: &HomeFault, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "error: {}", Escaped(&format!("{error}: {fault}")))?;
    writeln!(to, "hint: {}", Escaped(&fault.hint()))
}

/// Writes `error: SENTENCE: CAUSE: CAUSE` and `hint: HINT`, every value escaped.
pub(crate) fn render(error: &dyn Error, hint: Option<&str>, to: &mut dyn Write) -> io::Result<()> {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        // Some libraries repeat their cause in their own sentence.
        if !sentence.contains(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
        cause = inner.source();
    }
    writeln!(to, "error: {}", Escaped(&sentence))?;
    match hint {
        Some(hint) => writeln!(to, "hint: {}", Escaped(hint)),
        None => Ok(()),
    }
}

/// Any command's error: made from whatever implements [`Report`], shown by [`Failure::write`].
pub struct Failure(Box<dyn ErasedReport>);

impl Failure {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.0.exit()
    }

    /// Writes the error for a person.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        self.0.render(to)
    }
}

impl<E: Report> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// [`Report`] without the `Sized` bound on `render`.
trait ErasedReport: fmt::Debug {
    fn exit(&self) -> Exit;
    fn render(&self, to: &mut dyn Write) -> io::Result<()>;
}

impl<E: Report> ErasedReport for E {
    fn exit(&self) -> Exit {
        Report::exit(self)
    }

    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        Report::render(self, to)
    }
}

/// Writing to standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("writing the output failed")]
pub struct OutputFailed(#[from] io::Error);

impl Report for OutputFailed {
    /// A reader that closes the pipe has seen enough, as in `airpods logs | head`.
    fn exit(&self) -> Exit {
        if self.0.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failed }
    }

    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        if self.0.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { render(self, None, to) }
    }
}

impl From<io::Error> for Failure {
    /// For `writeln!(stdout, …)?` in commands; other I/O is wrapped in an error that says what it
    /// was for.
    fn from(error: io::Error) -> Self {
        OutputFailed(error).into()
    }
}
