//! `airpods logs`: prints what the services write. Lines of stderr go to stderr. With several
//! services every line begins with the service's name; with `--json` every line is JSON. [`follow`]
//! reads the log of one service, also across restarts.

mod follow;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use futures_util::future::try_join_all;
use serde_json::json;

use super::{Context, NeverStarted, completions};
use crate::config::{Config, PodmanUrl};
use crate::error::{Exit, Failure};
use crate::execute;
use crate::plan;
use crate::podman::{self, LogLine, LogOptions, LogSource};
use crate::terminal::{self, Escaped};
use follow::Source;

/// The arguments of `airpods logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods logs ollama --follow --since 10m")]
pub struct Args {
    /// The services whose logs to show; if none is named, every enabled one that was started
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Follow the output until Ctrl-C, even across restarts
    #[arg(short, long)]
    follow: bool,
    /// Show this many of the last lines (default: `cli.log_lines`)
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<u32>,
    /// Show only lines since this moment: a time as in RFC 3339, seconds since 1970, or an age such
    /// as 10m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// A moment in a form that podman reads: `2026-11-25`, `2026-11-25T22:15:00Z`, `1764108900`,
/// `1h30m`.
fn moment(text: &str) -> Result<String, String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = text.split('-').count() >= 3 && text.split('-').take(2).all(digits);
    // One or more numbers, each with a unit (Go's `time.ParseDuration`).
    let is_age = || {
        let mut rest = text;
        while !rest.is_empty() {
            let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let unit = ["ns", "us", "ms", "h", "m", "s"].into_iter().find(|unit| number.starts_with(unit));
            match unit {
                Some(unit) if number.len() < rest.len() => rest = &number[unit.len()..],
                _ => return false,
            }
        }
        !text.is_empty()
    };
    if is_date || digits(text) || is_age() {
        Ok(text.to_owned())
    } else {
        Err("it is neither a time such as 2026-11-25T22:15:00Z nor an age such as 10m or 1h30m".to_owned())
    }
}

/// Runs `airpods logs`.
///
/// # Errors
/// Those of the configuration, of reaching podman, and a service that was never started.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = std::pin::pin!(execute::interrupted());
    execute::interruptible(interrupt.as_mut(), logs(&args, &loaded.config)).await?
}

async fn logs(args: &Args, config: &Config) -> Result<Exit, Failure> {
    let services = plan::chosen(config, &args.services, !args.services.is_empty())?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let options = LogOptions {
        follow: args.follow,
        tail: Some(args.lines.unwrap_or(config.cli.log_lines.get())),
        since: args.since.clone(),
    };
    let output = Output::new(&services.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), args.json);
    let named = !args.services.is_empty();
    // The first failure ends all: other logs that are followed may never end.
    try_join_all(services.iter().enumerate().map(|(place, (name, service))| {
        let source = Source { service: name.as_str(), configured: service.container.as_str(), named };
        let output = &output;
        follow::read(&connection.podman, source, &options, move |container, line| {
            output.line(place, source.service, container, line)
        })
    }))
    .await?;
    Ok(Exit::Done)
}

/// The colours of names on a terminal (ECMA-48, "Select Graphic Rendition"): cyan, yellow, green,
/// magenta, blue, and their bright variants. Red is reserved for errors.
const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// Where and how lines are printed.
struct Output {
    json: bool,
    stdout: Mode,
    stderr: Mode,
    /// The width of the names before lines; none for a single service.
    width: Option<usize>,
    /// Unfinished lines that the program redraws, by the service's index and whether the stream is
    /// stderr.
    open: RefCell<BTreeMap<(usize, bool), Vec<u8>>>,
}

/// How a stream prints lines.
#[derive(Debug, Clone, Copy)]
struct Mode {
    /// Whether it is a terminal: then control sequences in a log are escaped.
    escape: bool,
    /// Whether names are coloured.
    colour: bool,
}

impl Output {
    fn new(services: &[&str], json: bool) -> Self {
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

    /// Prints a line. `place` is the index of the service among those shown.
    fn line(&self, place: usize, service: &str, container: &str, line: &LogLine) -> io::Result<()> {
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

    /// The bytes to print for a line. With a single service a program's redrawing is passed
    /// through. With several, or in JSON, only the final state of a redrawn line is printed, once
    /// it has ended.
    fn drawn(&self, place: usize, line: &LogLine) -> Option<Vec<u8>> {
        if self.width.is_none() && !self.json {
            return Some(line.text.clone());
        }
        let mut open = self.open.borrow_mut();
        let text = open.entry((place, line.source == LogSource::Stderr)).or_default();
        text.extend(&line.text);
        if line.open {
            // The text after a carriage return overwrites what precedes it.
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

/// Writes a line with one call, so that it stays whole if other processes write to the same stream.
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

/// A line for a terminal. Colours are kept to the end of the line, and so are tabs. All other
/// control characters are escaped.
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

/// The length in bytes of the colour sequence at the beginning of a text, if there is one.
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
    fn a_since_value_is_a_time_or_an_age() {
        for right in ["2026-11-25", "2026-11-25T22:15:00+01:00", "1764108900", "10m", "1h30m", "1.5h", "90s"] {
            assert!(moment(right).is_ok(), "{right}");
        }
        for wrong in ["", "yesterday", "m", "10d", "10 m", "-5m"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_terminal_controls_only_colours_and_tabs_pass() {
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

    /// The output for a progress bar and the line after it.
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
