//! `airpods status`: what each service is doing, from one listing of podman's containers and of
//! its networks, one look at each health path, and the kernel's word on which way the packets go.
//!
//! [`row`] is what is known of a service, [`table`] draws rows, and [`watch`] does so again and again.

mod row;
mod table;
mod watch;

use std::io::{self, Write};
use std::time::Duration;

use futures_util::future::{join_all, try_join};
use serde_json::{Value, json};

use super::{Context, completions};
use crate::config::{Config, NetworkMode, PodmanUrl, Service, ServiceName};
use crate::error::Failure;
use crate::execute::{self, probe};
use crate::exit::Exit;
use crate::helper_link::status_if_running;
use crate::plan::{self, HealthCheck};
use crate::podman::{self, Connection, Container, ContainerState, Podman};
use crate::terminal::print_json;
use crate::way::{self, Way};

use row::Row;

/// The arguments of `airpods status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  airpods status --json\n  airpods status ollama --watch 2")]
pub struct Args {
    /// The services to look at; all if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Look again and again, with so many seconds in between, until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", value_parser = interval)]
    watch: Option<Duration>,
    /// Print JSON; with `--watch` one document a line
    #[arg(long)]
    json: bool,
}

/// Seconds between two looks.
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
    execute::unless(interrupt.as_mut(), status(&args, &loaded.config)).await?
}

async fn status(args: &Args, config: &Config) -> Result<Exit, Failure> {
    let services = plan::chosen(config, &args.services, true)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let look = async || look(&connection, config, &services, !args.services.is_empty()).await;
    if let Some(interval) = args.watch {
        watch::watch(interval, args.json, look).await?;
    } else {
        print(&look().await?, args.json)?;
    }
    Ok(Exit::Done)
}

fn print(rows: &[Row], json: bool) -> io::Result<()> {
    if json {
        return print_json(&document(rows));
    }
    let mut out = anstream::stdout();
    table::lines(rows).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// The whole answer as JSON.
fn document(rows: &[Row]) -> Value {
    json!({ "services": rows.iter().map(Row::to_json).collect::<Vec<_>>() })
}

/// Looks once. `named` shows services, too, that are switched off and were never started.
async fn look(
    connection: &Connection,
    config: &Config,
    services: &[(&ServiceName, &Service)],
    named: bool,
) -> Result<Vec<Row>, Failure> {
    let (containers, networks) = try_join(connection.podman.containers(), connection.podman.networks()).await?;
    let network = networks.iter().find(|network| network.name == config.runtime.network_name.as_str());
    let facts = way::survey(&connection.podman, network, &config.runtime);
    let ping = Duration::from_secs_f64(config.cli.ping_timeout);
    let rows = services.iter().filter_map(|(name, service)| {
        let container = plan::container_made_for(name.as_str(), service.container.as_str(), &containers);
        let shown = service.enabled || container.is_some() || named;
        let way = container.filter(|container| container.state == ContainerState::Running);
        let way = way.map(|container| facts.way(mode(container)));
        shown.then(|| look_at(name, service, container, way, ping))
    });
    let mut rows = join_all(rows).await;
    if rows.iter().any(Row::is_helped_by_a_clamp) {
        // A helper that does not run clamps nothing.
        let helper = status_if_running().await.unwrap_or_default();
        for row in &mut rows {
            row.judge_clamp(&helper);
        }
    }
    Ok(rows)
}

/// The network that a container is really on.
fn mode(container: &Container) -> NetworkMode {
    if container.pod.is_some() || !container.networks.is_empty() { NetworkMode::Pod } else { NetworkMode::Host }
}

async fn look_at(
    name: &ServiceName,
    service: &Service,
    container: Option<&Container>,
    way: Option<Way>,
    ping: Duration,
) -> Row {
    let state = container.map(|container| container.state);
    let check = HealthCheck::of(service).filter(|_| state == Some(ContainerState::Running));
    let health = match check {
        Some(check) => {
            let outcome = probe(&check, ping).await;
            Some((check, outcome))
        }
        None => None,
    };
    Row {
        service: name.to_string(),
        container: container.map_or_else(|| service.container.to_string(), |container| container.name.clone()),
        state,
        started_at: container.and_then(|container| container.started_at),
        health,
        way,
        clamped: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::{NEW, THREE, config, podman, start};

    #[tokio::test]
    async fn the_container_that_there_is_is_told_and_where_there_is_none_the_configured_one() {
        let podman = podman(NEW);
        start(&podman, THREE, &["web"]).await;
        let config = config(&THREE.replace("[services.web]", "[services.web]\ncontainer = \"w-0\""));
        let (name, service) = config.services.get_key_value("web").unwrap();
        let containers = podman.containers().await.unwrap();
        for (found, told) in [(containers.first(), "web-0"), (None, "w-0")] {
            let row = look_at(name, service, found, None, Duration::ZERO).await;
            assert_eq!(row.to_json()["container"], told);
        }
    }

    #[test]
    fn an_interval_is_a_number_of_seconds_that_makes_sense() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "2s", "0", "-1", "NaN", "inf", "1e9"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
