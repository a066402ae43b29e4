//! Problems of a configuration: where they are, what to do about them, and the nearest known word
//! for a mistyped one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use super::key::List;
use super::tree::{Excerpt, Location};
use crate::error::{Exit, Report, render};
use crate::terminal::Escaped;

/// How serious a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// An unknown key: ignored with a warning, and refused by `config validate`.
    Unknown,
    /// An unknown key that may be meant to restrict a service (`host_ip`, `read_only`). A launch
    /// without it would leave the service more open than its user believes, so a launch refuses it,
    /// too.
    UnknownRestriction,
    /// The configuration is used, and something in it has no effect.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, which names the key.
    pub message: String,
    /// Its place in a file; `None` if something is missing altogether.
    pub at: Option<Location>,
    /// The next action.
    pub hint: Option<String>,
}

impl Problem {
    /// The key that the problem is about, such as `services.web.ports.0`: a message about a key
    /// begins with it.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.message.strip_prefix('`')?.split_once('`').map(|(key, _)| key)
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), at: None, hint: None }
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self { severity: Severity::Unknown, ..Self::error(message) }
    }

    pub(super) fn unknown_restriction(message: impl Into<String>) -> Self {
        Self { severity: Severity::UnknownRestriction, ..Self::error(message) }
    }

    /// Whether it is about an unknown key.
    pub(super) fn is_unknown_key(&self) -> bool {
        matches!(self.severity, Severity::Unknown | Severity::UnknownRestriction)
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    pub(super) fn at(self, at: impl Into<Option<Location>>) -> Self {
        Self { at: at.into(), ..self }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Unknown | Severity::UnknownRestriction | Severity::Warning => "warning",
        };
        write!(f, "{word}: {}", Escaped(&self.message))?;
        if let Some(at) = &self.at {
            write!(f, "\n{}", Escaped(&Excerpt(at).to_string()))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", Escaped(hint)),
            None => Ok(()),
        }
    }
}

/// The problems found so far. Reading goes on after a problem, so that the user sees all of them at
/// once.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
    /// The keys that the reader asked for, whether they are set or not.
    asked_for: RefCell<Vec<String>>,
    /// The keys that hold arrays.
    lists: RefCell<Vec<List>>,
}

impl Problems {
    pub(super) fn push(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    pub(super) fn any_error(&self) -> bool {
        self.found.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.found.into_inner()
    }

    pub(super) fn note_key(&self, key: String) {
        self.asked_for.borrow_mut().push(key);
    }

    pub(super) fn into_keys(self) -> Vec<String> {
        self.asked_for.into_inner()
    }

    pub(super) fn note_list(&self, list: List) {
        self.lists.borrow_mut().push(list);
    }

    pub(super) fn into_lists(self) -> Vec<List> {
        self.lists.into_inner()
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist, but the user named it.
    #[error("there is no file `{}`, which {named_by} names", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// `--config` or the environment variable.
        named_by: &'static str,
    },
    /// The file exists and cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The path of the file is, or leads through, a symbolic link to nothing.
    #[error("`{}` cannot be read: the link leads to `{}`, which is not there", link.display(), target.display())]
    Dangling {
        /// The file, or a folder on the way to it.
        link: PathBuf,
        /// The link's target, as written in the link.
        target: PathBuf,
    },
    /// The file with variables beside the configuration has an invalid line.
    #[error("`{}` is no file of variables: {why}", path.display())]
    Variables {
        /// The file.
        path: PathBuf,
        /// The fault, and its line.
        why: String,
    },
    /// The configuration has errors. At least one of the problems is an error.
    #[error("the configuration is wrong in {} place{}", count(.0), if count(.0) == 1 { "" } else { "s" })]
    Wrong(Vec<Problem>),
}

impl ConfigError {
    /// The same error, with each unknown key as an error.
    #[must_use]
    pub fn refuse_unknown_keys(self) -> Self {
        self.refuse(Problem::is_unknown_key)
    }

    /// The same error, with the matching problems as errors.
    pub(super) fn refuse(mut self, refused: impl Fn(&Problem) -> bool) -> Self {
        if let Self::Wrong(problems) = &mut self {
            for problem in problems.iter_mut().filter(|problem| refused(problem)) {
                problem.severity = Severity::Error;
            }
        }
        self
    }
}

fn count(problems: &[Problem]) -> usize {
    problems.iter().filter(|problem| problem.severity == Severity::Error).count()
}

impl Report for ConfigError {
    fn exit(&self) -> Exit {
        Exit::Configuration
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Missing { .. } => Some("`airpods config init` creates one".into()),
            // An error that is not the system's is that of `Owner::NotOthersForRoot`.
            Self::Unreadable { cause, .. }
                if cause.kind() == ErrorKind::PermissionDenied && cause.raw_os_error().is_none() =>
            {
                Some("run the command as that user, or name the file with `--config`".into())
            }
            Self::Unreadable { .. } => Some("it must be a text file in UTF-8 that you may read".into()),
            Self::Dangling { .. } => Some("bring back what it leads to, or remove the link".into()),
            Self::Variables { .. } => {
                Some("a line is such as `NAME=value`; one that begins with `#` is a comment".into())
            }
            Self::Wrong(_) => None,
        }
    }

    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Wrong(problems) => write_all(problems, to),
            other => render(other, other.hint().as_deref(), to),
        }
    }
}

/// Writes problems one after the other, each ended by a line break.
pub(super) fn write_all(problems: &[Problem], to: &mut dyn Write) -> io::Result<()> {
    problems.iter().try_for_each(|problem| writeln!(to, "{problem}"))
}

/// The candidate closest to a word, if one is close enough: the word is its beginning, or differs
/// by one edit and one more for every four letters.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let close = |candidate: &&str| {
        (word.len() > 2 && candidate.starts_with(word))
            || distance(candidate) <= 1 + word.len().max(candidate.len()) / 4
    };
    candidates.into_iter().filter(close).min_by_key(|candidate| distance(candidate))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typos_and_abbreviations_are_understood_and_other_words_are_not() {
        let keys = ["pids_limit", "ports", "pod", "network_mode"];
        for (word, meant) in [
            ("pid_limit", Some("pids_limit")),
            ("port", Some("ports")),
            ("netwrok_mode", Some("network_mode")),
            ("network", Some("network_mode")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}
