//! Why a configuration file was not changed.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::error::{Report, render, render_fault};
use crate::exit::Exit;
use crate::home::HomeFault;
use crate::terminal::EscapedLine;

/// Why a configuration file is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    /// Nothing says where it should be.
    #[error("there is no folder for a configuration file")]
    NoFolder,
    /// It is there.
    #[error("`{}` exists", _0.display())]
    Exists(PathBuf),
    /// It cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It, or a file beside it, cannot be written.
    #[error("`{}` cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The new text is no valid configuration.
    #[error("`{}` was not changed", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with the text that would have been in it.
        problems: ConfigError,
    },
    /// What was written in the editor is no configuration, as was told already.
    #[error("`{}` was not changed", path.display())]
    WrongDraft {
        /// The file.
        path: PathBuf,
        /// Where what was written in the editor is kept.
        draft: PathBuf,
        /// It was Ctrl-C that answered the question whether to go on.
        interrupted: bool,
    },
    /// The editor did not end well.
    #[error("`{}` was not changed: the editor `{editor}` {how}", path.display())]
    Editor {
        /// The file.
        path: PathBuf,
        /// The editor's command line.
        editor: String,
        /// The outcome.
        how: String,
        /// Where what was written in it is kept, if anything was.
        draft: Option<PathBuf>,
    },
    /// Somebody else changed the file meanwhile.
    #[error("`{}` was not changed: another program has changed it meanwhile", path.display())]
    Meanwhile {
        /// The file.
        path: PathBuf,
        /// Where the text that would have been written is kept.
        draft: PathBuf,
    },
    /// A yes is needed, and nobody is there to say it.
    #[error("replacing `{}` with the defaults needs confirmation, and there is no terminal", _0.display())]
    Unconfirmed(PathBuf),
}

impl NotWritten {
    /// Makes the error of an operation on a file.
    pub(super) fn unwritable(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Unwritable { path: path.clone(), cause }
    }
}

impl Report for NotWritten {
    fn exit(&self) -> Exit {
        match self {
            Self::WrongDraft { interrupted: true, .. } => Exit::Interrupted,
            Self::Wrong { .. } | Self::WrongDraft { .. } => Exit::Configuration,
            Self::Unconfirmed(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn home_fault(&self) -> Option<HomeFault> {
        match self {
            Self::Unreadable { path, .. } | Self::Unwritable { path, .. } => HomeFault::of(path),
            _ => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoFolder => Some("set `HOME`, or name a file with `--config`".into()),
            Self::Exists(_) => Some("`--force` replaces it".into()),
            Self::Unconfirmed(_) => Some("say `--force`".into()),
            Self::Editor { draft: None, .. } => Some("`$VISUAL` or `$EDITOR` names the editor".into()),
            Self::WrongDraft { draft, .. }
            | Self::Editor { draft: Some(draft), .. }
            | Self::Meanwhile { draft, .. } => Some(format!("your text is in `{}`", draft.display()).into()),
            Self::Unreadable { .. } | Self::Unwritable { .. } | Self::Wrong { .. } => None,
        }
    }

    /// With what is wrong in front.
    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        if let Self::WrongDraft { interrupted: true, .. } = self {
            // The line of the question is still open.
            writeln!(to)?;
        }
        if let Some(fault) = self.home_fault() {
            return render_fault(self, &fault, to);
        }
        let Self::Wrong { problems, .. } = self else { return render(self, self.hint().as_deref(), to) };
        problems.render(to)?;
        writeln!(to, "{}", EscapedLine(&self.to_string()))
    }
}
