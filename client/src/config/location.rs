//! A place in a TOML text: the text, and the position in it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One TOML text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    path: Option<PathBuf>,
    text: String,
}

impl Source {
    /// The text of a file.
    #[must_use]
    pub fn of_file(path: PathBuf, text: String) -> Arc<Self> {
        Arc::new(Self { path: Some(path), text })
    }

    /// The text of the built-in defaults.
    #[must_use]
    pub fn built_in(text: &str) -> Arc<Self> {
        Arc::new(Self { path: None, text: text.to_owned() })
    }

    /// The file; `None` for the built-in defaults.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The text itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("built-in defaults"),
        }
    }
}

/// A range of a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    source: Arc<Source>,
    span: Range<usize>,
}

impl Location {
    pub(super) fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// The text it lies in.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it is in the user's file, not in the built-in defaults.
    #[must_use]
    pub fn is_users(&self) -> bool {
        self.source.path.is_some()
    }

    /// Line and column of its beginning, both from 1; the column counts characters.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.span.start).unwrap_or(&self.source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The whole line of its beginning, and how many characters of that line it covers (at least
    /// one).
    fn line_and_width(&self) -> (&str, usize) {
        let text = self.source.text.as_str();
        let start = self.span.start.min(text.len());
        let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let line_end = text.get(start..).and_then(|after| after.find('\n')).map_or(text.len(), |at| start + at);
        let covered = text.get(start..self.span.end.min(line_end)).unwrap_or_default();
        (text.get(line_start..line_end).unwrap_or_default().trim_end(), covered.chars().count().max(1))
    }
}

impl fmt::Display for Location {
    /// `FILE:LINE:COLUMN`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.source)
    }
}

/// A [`Location`] with its line, the place underlined.
pub(super) struct Excerpt<'a>(pub(super) &'a Location);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, column) = self.0.line_and_column();
        let (line, width) = self.0.line_and_width();
        let margin = " ".repeat(number.to_string().len());
        // The width of a tab depends on the terminal, and would shift the underline.
        let line = line.replace('\t', " ");
        writeln!(f, " {margin}--> {}", self.0)?;
        writeln!(f, " {margin} |")?;
        writeln!(f, " {number} | {line}")?;
        write!(f, " {margin} | {}{}", " ".repeat(column - 1), "^".repeat(width))
    }
}
