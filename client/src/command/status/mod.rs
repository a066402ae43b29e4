//! `airpods status`: the state of each service. It lists podman's containers and networks once,
//! asks how the ended ones ended, checks each service's health, and asks the kernel for the network
//! paths.
//!
//! [`row`] evaluates a service's container, its health and its path, and names the next command.
//! [`table`] draws rows, and [`watch`] repeats that.

mod row;
mod table;
mod watch;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::future::{join_all, try_join};
use serde_json::{Value, json};

use super::{Context, completions};
use crate::config::{Config, NetworkMode, PodmanUrl, Service};
use crate::egress::{self, EgressPath};
use crate::error::{Exit, Failure};
use crate::execute;
use crate::health::{HealthCheck, ask_health};
use crate::helper_link::status_if_running;
use crate::measure::memory::Memory;
use crate::plan::{self, Present, UnknownService};
use crate::podman::{self, Connection, Container, ContainerState, HealthTiming, Podman};
use crate::terminal::{self, EscapedLine, print_json};

use row::Row;
pub(super) use row::ServiceState;

/// The arguments of `airpods status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  airpods status --json\n  airpods status ollama --watch 2")]
pub struct Args {
    /// The services to show, even if removed from the configuration; all if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Repeat every SECONDS until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", value_parser = interval)]
    watch: Option<Duration>,
    /// Print JSON; with `--watch` one document per line
    #[arg(long)]
    json: bool,
}

/// Parses the seconds between two updates.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed".to_owned())?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{text} is not within 0.1 to 86400"))
    }
}

/// Runs `airpods status`.
///
/// # Errors
/// Those of the configuration and of reaching podman.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = std::pin::pin!(execute::interrupted());
    let folder = context.environment.state_folder();
    execute::interruptible(interrupt.as_mut(), status(&args, &loaded.config, folder.as_deref())).await?
}

async fn status(args: &Args, config: &Config, folder: Option<&Path>) -> Result<Exit, Failure> {
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let read = async || read_rows(&connection, config, &args.services, folder).await;
    if let Some(interval) = args.watch {
        watch::watch(interval, args, read).await?;
    } else {
        print(&read().await?, args)?;
    }
    Ok(Exit::Done)
}

/// Prints the rows. The table is data and goes to stdout, notes go to stderr.
fn print(rows: &[Row], args: &Args) -> io::Result<()> {
    if args.json {
        return print_json(&document(rows));
    }
    let mut out = anstream::stdout();
    table::lines(rows, terminal::size().0).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    let mut err = anstream::stderr();
    remarks(rows, &args.services).iter().try_for_each(|line| writeln!(err, "{}", EscapedLine(line)))
}

/// The lines below the table: a note about the clamp, and the next command.
fn remarks(rows: &[Row], named: &[String]) -> Vec<String> {
    // Services that share a link share the note, so it is printed once.
    let stale_clamp =
        rows.iter().find_map(|row| row.stale_clamp.as_ref()).map(|stale_clamp| format!("note: {stale_clamp}"));
    let next = row::next(rows, named).map(|command| format!("next: {command}"));
    stale_clamp.into_iter().chain(next).collect()
}

/// The whole status as JSON.
fn document(rows: &[Row]) -> Value {
    json!({ "services": rows.iter().map(Row::to_json).collect::<Vec<_>>() })
}

/// Reads the state of the named services once; of all if none is named.
async fn read_rows(
    connection: &Connection,
    config: &Config,
    names: &[String],
    folder: Option<&Path>,
) -> Result<Vec<Row>, Failure> {
    let (containers, networks) = try_join(connection.podman.containers(), connection.podman.networks()).await?;
    let network = networks.iter().find(|network| network.name == config.runtime.network_name.as_str());
    let facts = egress::survey(&connection.podman, network, &config.runtime);
    let ping = Duration::from_secs_f64(config.cli.ping_timeout);
    let rows = subjects(config, names, &containers)?.into_iter().map(|subject| {
        let running = subject.container.filter(|container| container.state == ContainerState::Running);
        let path = running.map(|container| facts.egress_path(mode(container)));
        look_at(&connection.podman, config, subject, path, ping)
    });
    let mut rows = join_all(rows).await;
    if rows.iter().any(Row::leaves_by_tunnel) {
        // A helper that is not running clamps nothing.
        let helper = status_if_running().await.unwrap_or_default();
        let memory = Memory::load(folder);
        for row in &mut rows {
            row.judge_clamp(&helper);
            row.judge_value(&helper, &memory);
        }
    }
    Ok(rows)
}

/// A service that is shown.
#[derive(Debug, Clone, Copy)]
struct Subject<'a> {
    name: &'a str,
    /// Its configuration; `None` for a leftover container whose service was removed from the
    /// configuration.
    service: Option<&'a Service>,
    container: Option<&'a Container>,
}

/// The services to show. A disabled service without a container is shown only if it is named.
fn subjects<'a>(
    config: &'a Config,
    names: &[String],
    containers: &'a [Container],
) -> Result<Vec<Subject<'a>>, UnknownService> {
    let present = Present::of(config, names, containers)?;
    let configured = present.services.iter().filter_map(|(name, service)| {
        let (name, called) = (name.as_str(), service.container.as_str());
        let container = plan::container_made_for(name, Some(called), containers);
        let shown = service.enabled || container.is_some() || !names.is_empty();
        shown.then_some(Subject { name, service: Some(service), container })
    });
    let left = present.leftover_services().into_iter().map(|name| {
        let container = plan::container_made_for(name, None, present.leftover.iter().copied());
        Subject { name, service: None, container }
    });
    Ok(configured.chain(left).collect())
}

/// The network mode that a container actually has.
fn mode(container: &Container) -> NetworkMode {
    if container.pod.is_some() || !container.networks.is_empty() { NetworkMode::Pod } else { NetworkMode::Host }
}

async fn look_at(
    podman: &impl Podman,
    config: &Config,
    subject: Subject<'_>,
    path: Option<EgressPath>,
    ping: Duration,
) -> Row {
    let Subject { name, service, container } = subject;
    let state = ServiceState::of(podman, service, container).await;
    let called = container.map(|container| container.name.as_str());
    let called = called.or(service.map(|service| service.container.as_str()));
    let check = service.and_then(|service| HealthCheck::of(config, service));
    let check = check.filter(|_| state.runs());
    let health = match check {
        Some(check) => {
            let times = service.map(HealthTiming::of).unwrap_or_default();
            let outcome = ask_health(podman, called.unwrap_or_default(), &check, times.timeout_or(ping)).await;
            Some((check, outcome))
        }
        None => None,
    };
    Row {
        service: name.to_owned(),
        configured: service.is_some(),
        container: called.unwrap_or_default().to_owned(),
        state,
        started_at: container.and_then(|container| container.started_at),
        health,
        path,
        clamp: None,
        stale_clamp: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::{NEW, THREE, config, podman, start};

    #[tokio::test]
    async fn the_existing_container_is_shown_or_else_the_configured_name() {
        let podman = podman(NEW);
        start(&podman, THREE, &["web"]).await;
        let config = config(&THREE.replace("[services.web]", "[services.web]\ncontainer = \"w-0\""));
        let containers = podman.containers().await.unwrap();
        for (containers, expected) in [(&containers[..], "web-0"), (&[], "w-0")] {
            let subject = subjects(&config, &["web".into()], containers).unwrap()[0];
            let row = look_at(&podman, &config, subject, None, Duration::ZERO).await;
            assert_eq!(row.to_json()["container"], expected);
        }
    }

    #[tokio::test]
    async fn leftovers_of_a_service_removed_from_the_configuration_are_shown() {
        let podman = podman(NEW);
        start(&podman, THREE, &[]).await;
        let containers = podman.containers().await.unwrap();
        let taken_out = config(THREE.split("[services.web]").next().unwrap());
        let shown = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let subjects = subjects(&taken_out, &names, &containers);
            subjects.map(|all| all.iter().map(|one| (one.name, one.service.is_some())).collect::<Vec<_>>())
        };
        assert_eq!(shown(&[]).unwrap(), [("model", true), ("paint", false), ("web", false)]);
        assert_eq!(shown(&["web"]).unwrap(), [("web", false)]);
        shown(&["wob"]).unwrap_err();
        let left = subjects(&taken_out, &["web".into()], &containers).unwrap()[0];
        let row = look_at(&podman, &taken_out, left, None, Duration::ZERO).await;
        assert_eq!((row.state.word(), row.container.as_str(), row.configured), ("running", "web-0", false));
    }

    #[test]
    fn a_service_that_is_switched_off_is_shown_where_it_has_a_container_or_is_named() {
        let off = config(&THREE.replace("[services.web]", "[services.web]\nenabled = false"));
        let shown = |names: &[String]| {
            subjects(&off, names, &[]).unwrap().iter().map(|one| one.name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[]), ["model", "paint"]);
        assert_eq!(shown(&["web".into()]), ["web"]);
    }

    #[test]
    fn an_interval_is_a_number_of_seconds_that_makes_sense() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "2s", "0", "-1", "NaN", "inf", "1e9"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
