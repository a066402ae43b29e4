//! `airpods logs`: what the services write.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use futures_util::future::try_join_all;

use super::Context;
use crate::config::{Config, PodmanUrl};
use crate::error::{Failure, Report};
use crate::execute;
use crate::exit::Exit;
use crate::plan;
use crate::podman::{self, LogLine, LogOptions, LogSource, Podman};
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
        escape: (io::stdout().is_terminal(), io::stderr().is_terminal()),
        width: services.iter().map(|(name, _)| name.as_str().len()).max().filter(|_| services.len() > 1),
    };
    let named = !args.services.is_empty();
    // The first failure ends all: others that are followed might go on for ever.
    try_join_all(services.iter().map(|(name, service)| {
        let write = |line: &LogLine| output.line(name.as_str(), line);
        read(&connection.podman, name.as_str(), service.container.as_str(), &options, named, write)
    }))
    .await?;
    Ok(Exit::Done)
}

/// Reads one service's log. One that was never started is a failure if it was `named`.
async fn read(
    podman: &impl Podman,
    service: &str,
    container: &str,
    options: &LogOptions,
    named: bool,
    mut write: impl FnMut(&LogLine) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut broken = None;
    let mut sink = |line: LogLine| match write(&line) {
        Ok(()) => true,
        Err(error) => {
            broken = Some(error);
            false
        }
    };
    let outcome = podman.logs(container, options, &mut sink).await;
    match (broken, outcome) {
        (Some(error), _) => Err(error.into()),
        (None, Err(error)) if error.is_not_found() && named => Err(NeverStarted(service.to_owned()).into()),
        // Without names, those that were never started are simply not among them.
        (None, Err(error)) if error.is_not_found() => Ok(()),
        (None, other) => Ok(other?),
    }
}

/// Where the lines go, those of stderr to stderr.
struct Output {
    /// Whether stdout and stderr are terminals, which a log must not steer.
    escape: (bool, bool),
    /// The width of the names in front of lines; none when there is one service only.
    width: Option<usize>,
}

impl Output {
    fn line(&self, service: &str, line: &LogLine) -> io::Result<()> {
        match line.source {
            LogSource::Stdout => self.write(&mut io::stdout().lock(), service, &line.text, self.escape.0),
            LogSource::Stderr => self.write(&mut io::stderr().lock(), service, &line.text, self.escape.1),
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::{NEW, THREE, podman, start};

    #[tokio::test]
    async fn a_service_that_was_never_started_is_a_failure_if_it_was_named() {
        let podman = podman(NEW);
        let options = LogOptions::default();
        assert!(read(&podman, "web", "web-0", &options, false, |_| Ok(())).await.is_ok());
        let failure = read(&podman, "web", "web-0", &options, true, |_| Ok(())).await.unwrap_err();
        assert!(format!("{failure:?}").contains("NeverStarted"), "{failure:?}");
    }

    #[tokio::test]
    async fn an_output_that_takes_no_more_ends_the_reading() {
        let mut podman = podman(NEW);
        podman.log = vec!["first".into(), "second".into()];
        start(&podman, THREE, &["web"]).await;
        let closed = |_: &LogLine| Err(io::ErrorKind::BrokenPipe.into());
        let ended = read(&podman, "web", "web-0", &LogOptions::default(), true, closed).await.unwrap_err();
        assert_eq!(ended.exit(), Exit::Done, "a reader that has seen enough is no failure");
    }

    #[test]
    fn colours_and_tabs_pass_and_nothing_else_that_steers_a_terminal_does() {
        assert_eq!(harmless("a\t\u{1b}[1;31mred\u{1b}[0m\r"), "a\t\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(harmless("\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}"), "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}");
    }
}
