//! Where the lines go: those of stderr to stderr, those of several services with their names in front, or all as JSON.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use serde_json::json;

use crate::podman::{LogLine, LogSource};
use crate::terminal::{self, Escaped};

/// The colours of names on a terminal (ECMA-48, "Select Graphic Rendition"): cyan, yellow, green, magenta, blue, and the bright
/// ones. Red is for errors.
const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// The receiver of the lines.
pub(super) struct Output {
    json: bool,
    stdout: Mode,
    stderr: Mode,
    /// The width of the names in front of lines; none when there is one service only.
    width: Option<usize>,
    /// Lines that are drawn over and go on, each of the service at a place.
    open: RefCell<BTreeMap<(usize, bool), Vec<u8>>>,
}

/// How a stream takes lines.
#[derive(Debug, Clone, Copy)]
struct Mode {
    /// It is a terminal, which a log must not steer.
    escape: bool,
    /// Names are coloured.
    colour: bool,
}

impl Output {
    pub(super) fn new(services: &[&str], json: bool) -> Self {
        let width = services.iter().map(|name| name.len()).max().filter(|_| services.len() > 1);
        let colour = |choice: anstream::ColorChoice| choice != anstream::ColorChoice::Never;
        Self {
            json,
            stdout: Mode {
                escape: io::stdout().is_terminal(),
                colour: colour(anstream::AutoStream::choice(&io::stdout())),
            },
            stderr: Mode {
                escape: io::stderr().is_terminal(),
                colour: colour(anstream::AutoStream::choice(&io::stderr())),
            },
            width,
            open: RefCell::default(),
        }
    }

    /// Writes a line of a container of the service at this place among those shown.
    pub(super) fn line(&self, place: usize, service: &str, container: &str, line: &LogLine) -> io::Result<()> {
        let Some(text) = self.drawn(place, line) else { return Ok(()) };
        if self.json {
            return terminal::print_json_line(&json!({
                "service": service,
                "container": container,
                "stream": if line.source == LogSource::Stdout { "stdout" } else { "stderr" },
                "time": line.time,
                "line": String::from_utf8_lossy(&text),
            }));
        }
        let prefix = |manner: Mode| self.width.map(|width| prefix(service, width, place, manner.colour));
        match line.source {
            LogSource::Stdout => write(&mut io::stdout().lock(), prefix(self.stdout), &text, self.stdout, line.open),
            LogSource::Stderr => write(&mut io::stderr().lock(), prefix(self.stderr), &text, self.stderr, line.open),
        }
    }

    /// What there is to write of a line. Where one service is shown, what a program draws goes through as it comes; among several
    /// and in JSON it is a line once it has ended, as it was drawn last.
    fn drawn(&self, place: usize, line: &LogLine) -> Option<Vec<u8>> {
        if self.width.is_none() && !self.json {
            return Some(line.text.clone());
        }
        let mut open = self.open.borrow_mut();
        let text = open.entry((place, line.source == LogSource::Stderr)).or_default();
        text.extend(&line.text);
        if line.open {
            // A carriage return draws over what precedes it.
            let drawn = text.iter().rposition(|byte| *byte == b'\r').unwrap_or_default();
            text.drain(..drawn);
            return None;
        }
        let whole = std::mem::take(text);
        let last = whole.strip_suffix(b"\r").unwrap_or(&whole).rsplit(|byte| *byte == b'\r').next();
        Some(last.unwrap_or_default().to_vec())
    }
}

fn prefix(service: &str, width: usize, place: usize, colour: bool) -> String {
    let name = format!("{service:width$} | ");
    if colour { format!("\u{1b}[{}m{name}\u{1b}[0m", COLOURS[place % COLOURS.len()]) } else { name }
}

/// In one piece, so that lines stay whole whoever else writes there.
fn write(to: &mut dyn Write, prefix: Option<String>, text: &[u8], manner: Mode, open: bool) -> io::Result<()> {
    let mut line = prefix.unwrap_or_default().into_bytes();
    if manner.escape {
        let text = String::from_utf8_lossy(text);
        let parts: Vec<String> = text.split('\r').map(harmless).collect();
        line.extend(parts.join("\r").bytes());
    } else {
        line.extend(text);
    }
    if !open {
        line.push(b'\n');
    }
    to.write_all(&line)?;
    to.flush()
}

/// A line for a terminal: colours stay, to the end of the line, and tabs; whatever else would steer the terminal is shown as its
/// escape.
fn harmless(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line.strip_suffix('\r').unwrap_or(line);
    let mut coloured = false;
    while let Some(start) = rest.find(['\u{1b}', '\t']) {
        let (before, from) = rest.split_at(start);
        shown += &Escaped(before).to_string();
        let length = if from.starts_with('\t') { 1 } else { colour(from).unwrap_or(0) };
        if length == 0 {
            shown += &Escaped("\u{1b}").to_string();
        } else {
            shown += &from[..length];
            coloured |= length > 1;
        }
        rest = &from[length.max(1)..];
    }
    shown += &Escaped(rest).to_string();
    if coloured { shown + "\u{1b}[0m" } else { shown }
}

/// The length of the colour sequence that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn colours_and_tabs_pass_and_nothing_else_that_steers_a_terminal_does() {
        assert_eq!(harmless("a\t\u{1b}[1;31mred\r"), "a\t\u{1b}[1;31mred\u{1b}[0m", "a colour ends with its line");
        assert_eq!(harmless("\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}"), "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}");
    }

    #[test]
    fn names_are_coloured_only_where_colours_are_wanted() {
        let mut written = Vec::new();
        let (file, terminal) = (Mode { escape: false, colour: false }, Mode { escape: true, colour: true });
        write(&mut written, Some(prefix("web", 5, 1, false)), b"\x1b[2J", file, false).unwrap();
        write(&mut written, Some(prefix("web", 5, 1, true)), b"x", terminal, false).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "web   | \u{1b}[2J\n\u{1b}[33mweb   | \u{1b}[0mx\n");
    }

    /// What becomes of a progress bar, and of what comes after it.
    fn drawn(services: &[&str], json: bool) -> Vec<String> {
        let output = Output::new(services, json);
        let pieces = [("10%\r20%", true), ("\r30%", true), ("\r100%", false), ("next", false)];
        let line = |(text, open): &(&str, bool)| LogLine {
            source: LogSource::Stdout,
            time: String::new(),
            text: text.as_bytes().to_vec(),
            open: *open,
        };
        let shown = pieces.iter().filter_map(|piece| output.drawn(0, &line(piece)));
        shown.map(|text| String::from_utf8(text).unwrap()).collect()
    }

    #[test]
    fn a_progress_bar_is_drawn_as_it_comes_and_among_others_is_the_line_that_it_ends_as() {
        assert_eq!(drawn(&["web"], false), ["10%\r20%", "\r30%", "\r100%", "next"]);
        assert_eq!(drawn(&["web", "model"], false), ["100%", "next"]);
        assert_eq!(drawn(&["web"], true), ["100%", "next"]);
        let mut written = Vec::new();
        let terminal = Mode { escape: true, colour: true };
        write(&mut written, None, b"\r30%\x1b[2J", terminal, true).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "\r30%\\u{1b}[2J");
    }
}
