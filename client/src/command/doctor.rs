//! `airpods doctor`: names the cause of each problem in one line, with a command that cures it.

use std::io::{self, Write};
use std::pin::pin;

use clap::builder::styling::{AnsiColor, Style};
use serde_json::json;

use super::Context;
use crate::config::{self, Config, ConfigError, Loaded, Severity};
use crate::doctor::{self, Finding, Level, Subject};
use crate::error::{Exit, Failure};
use crate::execute;
use crate::terminal::{EscapedLine, print_json, spinner};

/// The arguments of `airpods doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods doctor --json")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `airpods doctor`. It changes nothing and never prompts for a password.
///
/// # Errors
/// Ctrl-C, and those of standard output.
pub async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = config::load(&context.environment, context.config.as_deref());
    // `doctor` also reports keys that only `start` refuses.
    let loaded = loaded.and_then(Loaded::refuse_unknown_restrictions);
    let (config, file, warnings, wrong) = match loaded {
        Ok(loaded) => (loaded.config, loaded.file, loaded.warnings, None),
        Err(error) => (defaults(context)?, None, Vec::new(), Some(sentence(&error))),
    };
    let subject = Subject {
        config: &config,
        file,
        wrong,
        warnings: warnings.into_iter().map(|warning| warning.message).collect(),
        state_folder: context.environment.state_folder(),
        remote: std::env::var_os("SSH_CONNECTION").is_some(),
    };
    let mut interrupt = pin!(execute::interrupted());
    let waiting = spinner("asking podman, the helper and the kernel");
    let facts = execute::interruptible(interrupt.as_mut(), Box::pin(doctor::read(&subject))).await;
    waiting.finish_and_clear();
    let findings = doctor::judge(&facts?);
    if args.json {
        print_json(&json!({ "broken": is_broken(&findings), "findings": findings }))?;
    } else {
        write(&findings, &mut anstream::stdout())?;
    }
    Ok(if is_broken(&findings) { Exit::Failed } else { Exit::Done })
}

/// The built-in defaults, which are examined if the user's configuration is invalid.
fn defaults(context: &Context) -> Result<Config, ConfigError> {
    config::parse(None, context.environment.data_folder().as_deref()).map(|loaded| loaded.config)
}

/// The first error of the configuration, with its place.
fn sentence(error: &ConfigError) -> String {
    let ConfigError::Wrong(problems) = error else { return error.to_string() };
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let Some(first) = errors.next() else { return error.to_string() };
    let place = first.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
    let more = match errors.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{place}{}{more}", first.message)
}

fn is_broken(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Broken)
}

fn write(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        let style = style(finding.level);
        let cause = EscapedLine(&finding.cause);
        let level = finding.level.as_str();
        if finding.level == Level::Ok {
            writeln!(out, "{style}{level:6}{style:#}  {cause}")?;
        } else {
            writeln!(out, "{style}{level:6}{style:#}  {cause} ({})", finding.code)?;
        }
        if let Some(cure) = &finding.cure {
            writeln!(out, "        {}", EscapedLine(cure))?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let summary = match (count(Level::Broken), count(Level::Note)) {
        (0, 0) => "no problems".to_owned(),
        (0, 1) => "no problems, 1 note".to_owned(),
        (0, notes) => format!("no problems, {notes} notes"),
        (broken, 0) => format!("{broken} broken"),
        (broken, 1) => format!("{broken} broken, 1 note"),
        (broken, notes) => format!("{broken} broken, {notes} notes"),
    };
    writeln!(out, "{summary}")
}

/// The style of a level. anstream drops colours if standard output is not a terminal.
fn style(level: Level) -> Style {
    let colour = match level {
        Level::Ok => AnsiColor::Green,
        Level::Note => AnsiColor::Yellow,
        Level::Broken => AnsiColor::Red,
    };
    colour.on_default().bold()
}
