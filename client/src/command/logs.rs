//! `airpods logs`: what the services write.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, ErrorKind, IsTerminal, Write};

use futures_util::future::join_all;

use super::Context;
use crate::config::{Config, PodmanUrl};
use crate::error::{Failure, Report};
use crate::execute;
use crate::exit::Exit;
use crate::plan;
use crate::podman::{self, LogLine, LogOptions, LogSource, Podman, PodmanError};
use crate::terminal::Escaped;

/// The arguments of `airpods logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods logs ollama --follow --since 10m")]
pub struct Args {
    /// The services whose logs to show; every enabled one that was started if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Go on showing what is written, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to show (default: `cli.log_lines`)
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<u32>,
    /// Show only what was written since: a time as in RFC 3339, or an age such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// The service has no log.
#[derive(Debug, thiserror::Error)]
#[error("the service `{0}` was never started")]
struct NeverStarted(String);

impl Report for NeverStarted {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(format!("start it with `airpods start {}`", self.0).into())
    }
}

/// Runs `airpods logs`.
///
/// # Errors
/// Those of the configuration, of reaching podman, and a service that was never started.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = std::pin::pin!(execute::interrupted());
    execute::unless(interrupt.as_mut(), logs(&args, &loaded.config)).await?
}

async fn logs(args: &Args, config: &Config) -> Result<Exit, Failure> {
    let services = plan::chosen(config, &args.services, !args.services.is_empty())?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let options = LogOptions {
        follow: args.follow,
        tail: Some(args.lines.unwrap_or(config.cli.log_lines.get())),
        since: args.since.clone(),
    };
    let output = Output {
        broken: RefCell::new(None),
        escape: (io::stdout().is_terminal(), io::stderr().is_terminal()),
        width: services.iter().map(|(name, _)| name.as_str().len()).max().filter(|_| services.len() > 1),
    };
    let reading = services.iter().map(|(name, service)| {
        let (podman, options, output) = (&connection.podman, &options, &output);
        async move {
            let mut sink = |line: LogLine| output.line(name.as_str(), &line);
            (name.as_str(), podman.logs(service.container.as_str(), options, &mut sink).await)
        }
    });
    let read = join_all(reading).await;
    if let Some(error) = output.broken.take() {
        return Err(error.into());
    }
    for (name, outcome) in read {
        match outcome {
            Err(error) if PodmanError::is_not_found(&error) => {
                // Without names, those that were never started are simply not among them.
                if !args.services.is_empty() {
                    return Err(NeverStarted(name.to_owned()).into());
                }
            }
            other => other?,
        }
    }
    Ok(Exit::Done)
}

/// Where the lines go, those of stderr to stderr.
struct Output {
    broken: RefCell<Option<io::Error>>,
    /// Whether stdout and stderr are terminals, which a log must not steer.
    escape: (bool, bool),
    /// The width of the names in front of lines; none when there is one service only.
    width: Option<usize>,
}

impl Output {
    /// Writes a line; answers whether more can be written.
    fn line(&self, service: &str, line: &LogLine) -> bool {
        let written = match line.source {
            LogSource::Stdout => self.write(&mut io::stdout().lock(), service, &line.text, self.escape.0),
            LogSource::Stderr => self.write(&mut io::stderr().lock(), service, &line.text, self.escape.1),
        };
        match written {
            Ok(()) => true,
            Err(error) => {
                let first = error.kind();
                let mut broken = self.broken.borrow_mut();
                if broken.as_ref().is_none_or(|known| known.kind() == ErrorKind::BrokenPipe && first != known.kind()) {
                    *broken = Some(error);
                }
                false
            }
        }
    }

    fn write(&self, to: &mut dyn Write, service: &str, text: &[u8], escape: bool) -> io::Result<()> {
        if let Some(width) = self.width {
            write!(to, "{service:width$} | ")?;
        }
        if escape {
            writeln!(to, "{}", harmless(&String::from_utf8_lossy(text)))
        } else {
            to.write_all(text)?;
            to.write_all(b"\n")
        }
    }
}

/// A line for a terminal: colours stay (ECMA-48, "Select Graphic Rendition"), and tabs; whatever else would steer
/// the terminal is shown as its escape.
fn harmless(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line.strip_suffix('\r').unwrap_or(line);
    while let Some(start) = rest.find(['\u{1b}', '\t']) {
        let (before, from) = rest.split_at(start);
        shown += &Escaped(before).to_string();
        let length = if from.starts_with('\t') { 1 } else { colour(from).unwrap_or(0) };
        if length == 0 {
            shown += &Escaped("\u{1b}").to_string();
        } else {
            shown += &from[..length];
        }
        rest = &from[length.max(1)..];
    }
    shown + &Escaped(rest).to_string()
}

/// The length of the colour sequence that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_tabs_pass_and_nothing_else_that_steers_a_terminal_does() {
        assert_eq!(harmless("a\t\u{1b}[1;31mred\u{1b}[0m\r"), "a\t\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(harmless("\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}"), "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}");
    }
}
