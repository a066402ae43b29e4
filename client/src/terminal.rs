//! The terminal: escaping, colours, progress, time spans, and confirmation of what cannot be
//! undone. Without a terminal nothing waits for an answer.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::io::{self, BufRead, IsTerminal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressFinish};
use serde::Serialize;
use terminal_size::{Height, Width, terminal_size_of};

/// A text from elsewhere (the bus, a file, podman) that cannot steer the terminal: line breaks
/// stay, every other control character and every character that reorders or hides text is shown as
/// its escape.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steers = |c: char| c != '\n' && (c.is_control() || is_format(c));
        // Piece by piece, not character by character: stderr has no buffer, so each is a system
        // call.
        for piece in self.0.split_inclusive(steers) {
            let mut harmless = piece.chars();
            match harmless.next_back().filter(|last| steers(*last)) {
                Some(last) => write!(f, "{}{}", harmless.as_str(), last.escape_unicode())?,
                None => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// As [`Escaped`], for a text within a line: line breaks are escaped as well.
pub struct EscapedLine<'a>(pub &'a str);

impl fmt::Display for EscapedLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.split('\n');
        if let Some(first) = lines.next() {
            Escaped(first).fmt(f)?;
        }
        lines.try_for_each(|line| write!(f, "\\n{}", Escaped(line)))
    }
}

/// Shows on a terminal that something takes a moment, until it is finished or dropped.
#[must_use]
pub fn spinner(message: impl Into<Cow<'static, str>>) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message).with_finish(ProgressFinish::AndClear);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// JSON for programs that people may look at, too. JSON itself allows C1 controls and characters
/// that reorder their neighbours, so both are escaped. A terminal may take U+009B for the beginning
/// of an escape sequence.
///
/// # Errors
/// Those of `value`'s own serialization.
pub fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(harmless_json(&serde_json::to_string_pretty(value)?))
}

/// Escapes the characters in a JSON text that [`to_json`] names.
fn harmless_json(json: &str) -> String {
    let mut safe = String::new();
    // Such a character can only be within a string, where `\u` escapes it; each fits into one
    // UTF-16 unit.
    for c in json.chars() {
        if c != '\n' && (c.is_control() || is_format(c)) {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Prints a value on standard output as [`to_json`] writes it.
///
/// # Errors
/// Those of standard output.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    use io::Write;
    writeln!(anstream::stdout(), "{}", to_json(value)?)
}

/// Prints a value on a single line of standard output, for a stream of documents (JSON Lines).
///
/// # Errors
/// Those of standard output.
pub fn print_json_line(value: &impl Serialize) -> io::Result<()> {
    use io::Write;
    writeln!(anstream::stdout(), "{}", harmless_json(&serde_json::to_string(value)?))
}

/// Prints a text on standard output: unchanged for a file or a program, escaped for a terminal.
/// TOML, YAML and units may contain characters that control a terminal.
///
/// # Errors
/// Those of standard output.
pub fn print_text(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout();
    let is_terminal = out.is_terminal();
    write_text(text, is_terminal, &mut out)
}

fn write_text(text: &str, to_terminal: bool, out: &mut dyn io::Write) -> io::Result<()> {
    if to_terminal { write!(out, "{}", Escaped(text)) } else { out.write_all(text.as_bytes()) }
}

/// Invisible characters that change how their neighbours are shown: zero width, bidirectional
/// controls (Unicode Standard Annex #9) and the byte order mark.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The style of a text on the terminal, by what the text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextStyle {
    /// Nothing special.
    Plain,
    /// A heading.
    Heading,
    /// It is as it should be.
    Good,
    /// Something is not known, or may not work.
    Doubtful,
    /// Something is broken.
    Bad,
}

impl TextStyle {
    /// Its colour and weight; `anstream` removes them from a stream that shows no colours.
    #[must_use]
    pub fn ansi(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Heading => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Doubtful => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// An amount of bytes in powers of 1024, such as `2.00 KiB`.
#[must_use]
pub fn readable_size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// The columns and rows of standard output; 80 and 24 if it is no terminal.
#[must_use]
pub fn size() -> (usize, usize) {
    let (Width(columns), Height(rows)) = terminal_size_of(io::stdout()).unwrap_or((Width(80), Height(24)));
    (columns.into(), rows.into())
}

/// Whether a person is there to read and answer: both standard input and standard error are
/// terminals.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether the user has confirmed in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Confirmed in advance: `--yes`, or `cli.auto_confirm`.
    Given,
    /// The user has to be asked.
    Asked,
}

impl Consent {
    /// Given if the command's `--yes` or the configuration's `cli.auto_confirm` is set.
    #[must_use]
    pub fn from_switches(yes: bool, auto_confirm: bool) -> Self {
        if yes || auto_confirm { Self::Given } else { Self::Asked }
    }
}

/// The outcome of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Do it.
    Yes,
    /// Leave it: a no, or anything that is not a yes.
    No,
    /// There is no terminal to ask on, and the user did not confirm in advance.
    NoTerminal,
}

/// Asks a question such as ``Remove `web-0`?``, unless the user confirmed in advance or there is no
/// terminal. No is the default.
///
/// # Errors
/// Those of the terminal.
pub async fn ask(question: &str, consent: Consent) -> io::Result<Answer> {
    if consent == Consent::Given {
        return Ok(Answer::Yes);
    }
    if !is_interactive() {
        return Ok(Answer::NoTerminal);
    }
    ask_on(question, io::BufReader::new(io::stdin())).await
}

/// Asks without blocking the runtime, so that Ctrl-C ends the command meanwhile.
async fn ask_on(question: &str, mut answers: impl BufRead + Send + 'static) -> io::Result<Answer> {
    use io::Write;
    let mut err = anstream::stderr();
    write!(err, "{} [y/N] ", EscapedLine(question))?;
    err.flush()?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Not a thread of the runtime, which would wait for it when Ctrl-C ends the command.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = answers.read_line(&mut answer).map(|_| answer);
        // After Ctrl-C nothing receives the answer.
        let _ = sender.send(read);
    });
    let answer = receiver.await.map_err(io::Error::other)??;
    if !answer.ends_with('\n') {
        // After Ctrl-D the cursor is still on the line of the question.
        writeln!(err)?;
    }
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    Ok(if yes { Answer::Yes } else { Answer::No })
}

/// A time span, shown with its two largest units: `3 d 4 h`, `12 min 5 s`, `0 s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uptime {
    /// Whole seconds.
    pub(crate) seconds: u64,
}

impl Uptime {
    /// The time since a moment in seconds since 1970; zero if it lies in the future.
    #[must_use]
    pub(crate) fn since(moment: i64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
        Self { seconds: now.saturating_sub(u64::try_from(moment).unwrap_or(0)) }
    }
}

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        let (hours, days) = (minutes / 60, minutes / 60 / 24);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {seconds} s"),
            (0, _, _) => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        let hostile = "a\u{1b}]0;x\u{7}\r\t\u{9b}31m\u{202e}b\nc";
        let shown = Escaped(hostile).to_string();
        assert_eq!(shown, "a\\u{1b}]0;x\\u{7}\\u{d}\\u{9}\\u{9b}31m\\u{202e}b\nc");
        assert_eq!(to_json(&"\u{1b}\u{9b}\u{7f}\u{202e}é").ok().as_deref(), Some("\"\\u001b\\u009b\\u007f\\u202eé\""));
        assert_eq!(EscapedLine("é\nc").to_string(), "é\\nc");
    }

    #[test]
    fn a_text_cannot_steer_a_terminal_and_reaches_a_file_unchanged() {
        let written = |to_terminal| {
            let mut out = Vec::new();
            write_text("key = \"\u{9b}31m\"\n", to_terminal, &mut out)
                .map(|()| String::from_utf8_lossy(&out).into_owned())
                .ok()
        };
        assert_eq!(written(true).as_deref(), Some("key = \"\\u{9b}31m\"\n"));
        assert_eq!(written(false).as_deref(), Some("key = \"\u{9b}31m\"\n"));
    }

    #[test]
    fn a_harmless_text_is_written_in_one_piece() {
        struct Pieces(usize);
        impl Write for Pieces {
            fn write_str(&mut self, _: &str) -> fmt::Result {
                self.0 += 1;
                Ok(())
            }
        }
        let mut pieces = Pieces(0);
        let written = write!(pieces, "{}", Escaped("`wg0` is clamped\nto 1380"));
        assert_eq!((written, pieces.0), (Ok(()), 1));
    }

    #[tokio::test]
    async fn only_yes_counts_as_confirmation() {
        for (typed, yes) in [("y\n", true), ("Yes\n", true), ("n\n", false), ("\n", false), ("", false)] {
            let expected = if yes { Answer::Yes } else { Answer::No };
            assert_eq!(ask_on("Remove `web-0`?", typed.as_bytes()).await.unwrap(), expected, "{typed:?}");
        }
    }

    #[tokio::test]
    async fn consent_given_beforehand_is_not_asked_for() {
        let consent = Consent::from_switches(false, true);
        assert_eq!(ask("Remove `web-0`?", consent).await.unwrap(), Answer::Yes);
    }

    #[tokio::test]
    async fn an_unanswered_question_can_be_interrupted() {
        let (silent, _open) = std::os::unix::net::UnixStream::pair().unwrap();
        let interrupt = std::pin::pin!(tokio::time::sleep(std::time::Duration::from_millis(10)));
        let asked = crate::execute::interruptible(interrupt, ask_on("Remove it?", io::BufReader::new(silent))).await;
        assert!(asked.is_err(), "{asked:?}");
    }

    #[test]
    fn an_uptime_is_shown_with_its_two_largest_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_725, "1 h 2 min"),
            (90_000, "1 d 1 h"),
            (86_400 * 400, "400 d 0 h"),
        ] {
            assert_eq!(Uptime { seconds }.to_string(), shown);
        }
    }
}
