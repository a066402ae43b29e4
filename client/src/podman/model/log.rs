//! Logs.

/// Which part of a log to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Wait for more.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u32>,
    /// Only since then: RFC 3339, seconds since 1970, or an age such as `10m`.
    pub since: Option<String>,
}

/// Where a line of a log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a log, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub source: LogSource,
    /// When it was written, in podman's words (RFC 3339).
    pub time: String,
    /// Its bytes; a program may write anything.
    pub text: Vec<u8>,
    /// The line goes on in the next: a program draws it again and again, as progress bars are.
    pub open: bool,
}
