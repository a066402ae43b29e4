//! `airpods restart`: stops and starts services without applying new settings.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use serde_json::json;

use super::start::{host_context, print_warnings};
use super::{Context, NeverStarted, completions};
use crate::config::{Config, PodmanUrl};
use crate::error::{Exit, Failure};
use crate::execute::{self, Open, Outcome, Pace};
use crate::plan::{self, Desired, Observed, Restart, Restarted};
use crate::podman::{self, Connection, Podman};
use crate::terminal::{EscapedLine, print_json};

/// The arguments of `airpods restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods restart open-webui")]
pub struct Args {
    /// The services to restart; every running one if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Seconds until a container that does not stop is killed (default: `cli.stop_timeout`)
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Do not wait until the services answer
    #[arg(long)]
    no_wait: bool,
    /// Print the plan, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `airpods restart`.
///
/// # Errors
/// Those of the configuration, of reaching podman, a service that was never started, or a step that
/// failed.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = pin!(execute::interrupted());
    let prepared = execute::interruptible(interrupt.as_mut(), prepare(&args, &loaded.config)).await?;
    let (connection, restart) = prepared?;
    if args.dry_run {
        super::start::show_plan(&restart.plan, args.json)?;
        return Ok(Exit::Done);
    }
    let mut pace = Pace::from_config(&loaded.config.cli);
    pace.stop_seconds = args.timeout.unwrap_or(pace.stop_seconds);
    if args.no_wait {
        pace.startup = Duration::ZERO;
    }
    let verbose = context.is_verbose(&loaded.config.cli);
    let outcome =
        execute::execute_with_progress(&connection.podman, &restart.plan, &pace, verbose, &Open, interrupt).await?;
    print(&restart, &outcome, args.json)?;
    Ok(if outcome.late.is_empty() { Exit::Done } else { Exit::Failed })
}

async fn prepare(args: &Args, config: &Config) -> Result<(Connection, Restart), Failure> {
    let services = plan::chosen(config, &args.services, true)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    // A restart also works if this fails; it then only does not compare the settings.
    let known = host_context(config, &services, false, connection.podman.is_rootless()).await.ok();
    let host_context = known.clone().unwrap_or_default();
    let desired = Desired::from_config(config, &services, connection.podman.version(), &host_context);
    let observed = Observed::of(&connection.podman, BTreeSet::new()).await?;
    let named = !args.services.is_empty();
    let mut restart = plan::restart(&desired, &observed, named);
    restart.services.iter_mut().for_each(|one| one.differs &= known.is_some());
    match restart.absent.first() {
        Some(service) if named => Err(NeverStarted(service.clone()).into()),
        _ => Ok((connection, restart)),
    }
}

fn print(restart: &Restart, outcome: &Outcome, json: bool) -> io::Result<()> {
    let mut err = anstream::stderr();
    if restart.services.is_empty() {
        writeln!(err, "no service was running")?;
    }
    restart.services.iter().try_for_each(|one| note(one, &mut err))?;
    print_warnings(outcome, &mut err)?;
    if json {
        let service = |one: &Restarted| {
            json!({
                "service": one.service,
                "container": one.container,
                "healthy": outcome.is_healthy(&one.service),
                "enabled": !one.switched_off,
                "settings_differ": (!one.switched_off).then_some(one.differs),
            })
        };
        let services: Vec<_> = restart.services.iter().map(service).collect();
        print_json(&json!({ "services": services, "warnings": outcome.warnings }))?;
    }
    Ok(())
}

/// Notes that the configuration of a service differs from what it was restarted with.
fn note(one: &Restarted, to: &mut dyn Write) -> io::Result<()> {
    let service = EscapedLine(&one.service);
    if one.switched_off {
        writeln!(to, "note: restarted `{service}`, although `services.{service}.enabled` is `false`")?;
        writeln!(
            to,
            "hint: `airpods stop {service}` stops it, `airpods config set services.{service}.enabled true` enables it"
        )?;
    }
    if one.differs {
        writeln!(to, "note: `{service}` keeps its old settings, which differ from the configuration")?;
        writeln!(to, "hint: `airpods start {service}` applies them")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn noted(differs: bool, switched_off: bool) -> String {
        let (service, container) = ("web".to_owned(), "web-0".to_owned());
        let mut output = Vec::new();
        note(&Restarted { service, container, differs, switched_off }, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_service_as_configured_gets_no_note() {
        assert_eq!(noted(false, false), "");
    }

    #[test]
    fn start_is_advised_where_it_applies_something() {
        assert!(noted(true, false).contains("hint: `airpods start web` applies them"));
    }

    #[test]
    fn start_which_would_refuse_it_is_not_advised_for_a_service_that_is_switched_off() {
        let output = noted(false, true);
        assert!(output.starts_with("note: restarted `web`, although `services.web.enabled` is `false`"), "{output}");
        assert!(!output.contains("airpods start"), "{output}");
    }
}
