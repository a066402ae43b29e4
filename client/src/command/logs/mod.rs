//! `airpods logs`: what the services write.
//!
//! [`follow`] reads the log of one service, over restarts too; [`output`] writes lines, those of several services with their names.

mod follow;
mod output;
mod position;

use futures_util::future::try_join_all;

use super::{Context, NeverStarted, completions};
use crate::config::{Config, PodmanUrl};
use crate::error::Failure;
use crate::execute;
use crate::exit::Exit;
use crate::plan;
use crate::podman::{self, LogOptions};

use follow::Source;
use output::Output;

/// The arguments of `airpods logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods logs ollama --follow --since 10m")]
pub struct Args {
    /// The services whose logs to show; every enabled one that was started if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Follow the output, over restarts too, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to show (default: `cli.log_lines`)
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<u32>,
    /// Show only lines since this moment: a time as in RFC 3339, seconds since 1970, or an age such as 10m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// A moment as podman reads it: `2026-11-25`, `2026-11-25T22:15:00Z`, `1764108900`, `1h30m`.
fn moment(text: &str) -> Result<String, String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = text.split('-').count() >= 3 && text.split('-').take(2).all(digits);
    // A number with a unit of Go's, as often as one likes (Go's `time.ParseDuration`).
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
    let output = Output::new(&services.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), args.json);
    let named = !args.services.is_empty();
    // The first failure ends all: others that are followed might go on for ever.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        for right in ["2026-11-25", "2026-11-25T22:15:00+01:00", "1764108900", "10m", "1h30m", "1.5h", "90s"] {
            assert!(moment(right).is_ok(), "{right}");
        }
        for wrong in ["", "yesterday", "m", "10d", "10 m", "-5m"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
