//! `airpods status`: what each service is doing, from one listing of podman's and one look at each health path.

use std::io::{self, Write};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::Context;
use crate::config::{Config, PodmanUrl, Service, ServiceName};
use crate::error::Failure;
use crate::execute::{self, Answer, probe};
use crate::exit::Exit;
use crate::plan::{self, HealthCheck, SERVICE_LABEL, is_ours};
use crate::podman::{self, Container, ContainerState, Podman};
use crate::terminal::{EscapedLine, print_json};
use crate::uptime::Uptime;

/// The arguments of `airpods status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods status --json")]
pub struct Args {
    /// The services to look at; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `airpods status`.
///
/// # Errors
/// Those of the configuration and of reaching podman.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = std::pin::pin!(execute::interrupted());
    let rows = execute::unless(interrupt.as_mut(), look(&args, &loaded.config)).await??;
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
        print_json(&json!({ "services": rows }))?;
    } else {
        table(&rows, &mut anstream::stdout())?;
    }
    Ok(Exit::Done)
}

async fn look(args: &Args, config: &Config) -> Result<Vec<Row>, Failure> {
    let services = plan::chosen(config, &args.services, true)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let containers = connection.podman.containers().await?;
    let ping = Duration::from_secs_f64(config.cli.ping_timeout);
    let rows = services.into_iter().filter_map(|(name, service)| {
        let container = containers.iter().find(|container| {
            is_ours(&container.labels)
                && container.labels.get(SERVICE_LABEL).is_some_and(|label| label == name.as_str())
        });
        // What is switched off and was never started is of no interest, unless somebody asks.
        let shown = service.enabled || container.is_some() || !args.services.is_empty();
        shown.then(|| row(name, service, container, ping))
    });
    Ok(join_all(rows).await)
}

async fn row(name: &ServiceName, service: &Service, container: Option<&Container>, ping: Duration) -> Row {
    let state = container.map(|container| container.state);
    let check = HealthCheck::of(service).filter(|_| state == Some(ContainerState::Running));
    let health = match &check {
        Some(check) => Some((check.clone(), probe(check, ping).await)),
        None => None,
    };
    Row {
        service: name.to_string(),
        container: service.container.to_string(),
        state,
        started_at: container.and_then(|container| container.started_at),
        health,
    }
}

/// What there is to say about a service.
struct Row {
    service: String,
    container: String,
    /// None if there is no container: it was never started, or was removed.
    state: Option<ContainerState>,
    started_at: Option<i64>,
    health: Option<(HealthCheck, Result<Answer, String>)>,
}

impl Row {
    fn status(&self) -> &'static str {
        match self.state {
            None => "never started",
            Some(ContainerState::Created) => "created",
            Some(ContainerState::Running) => "running",
            Some(ContainerState::Exited(0)) => "stopped",
            Some(ContainerState::Exited(_)) => "exited",
            Some(ContainerState::Other) => "changing",
        }
    }

    fn uptime(&self) -> Option<Uptime> {
        self.started_at.filter(|_| self.state == Some(ContainerState::Running)).map(Uptime::since)
    }

    fn info(&self) -> String {
        match (&self.health, self.state) {
            (Some((check, Ok(answer))), _) => {
                let verdict = if check.expected.contains(answer.code) { "" } else { ", which is not healthy" };
                format!("HTTP {} in {} ms at {}{verdict}", answer.code, answer.latency.as_millis(), check.url())
            }
            (Some((check, Err(reason))), _) => format!("no answer at {}: {reason}", check.url()),
            (None, Some(ContainerState::Exited(code))) => format!("exit code {code}"),
            (None, _) => String::new(),
        }
    }

    fn to_json(&self) -> Value {
        let health = self.health.as_ref().map(|(check, outcome)| match outcome {
            Ok(answer) => json!({
                "url": check.url(),
                "code": answer.code,
                "latency_ms": answer.latency.as_secs_f64() * 1000.0,
                "healthy": check.expected.contains(answer.code),
            }),
            Err(reason) => json!({ "url": check.url(), "healthy": false, "error": reason }),
        });
        json!({
            "service": self.service,
            "container": self.container,
            "status": self.status(),
            "uptime_seconds": self.uptime().map(|uptime| uptime.seconds),
            "exit_code": match self.state {
                Some(ContainerState::Exited(code)) => Some(code),
                _ => None,
            },
            "health": health,
        })
    }
}

fn table(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let mut lines = vec![["Service".to_owned(), "Status".to_owned(), "Uptime".to_owned(), "Info".to_owned()]];
    lines.extend(rows.iter().map(|row| {
        let uptime = row.uptime().map_or_else(|| "-".to_owned(), |uptime| uptime.to_string());
        [row.service.clone(), row.status().to_owned(), uptime, row.info()]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    for [service, status, uptime, info] in &lines {
        let line = format!("{service:0$}  {status:1$}  {uptime:2$}  {info}", widths[0], widths[1], widths[2]);
        writeln!(out, "{}", EscapedLine(line.trim_end()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::StatusRange;

    #[test]
    fn an_answer_from_elsewhere_cannot_steer_the_terminal() {
        let check = HealthCheck { port: 80, path: "/".to_owned(), expected: StatusRange::SUCCESS };
        let row = Row {
            service: "web".to_owned(),
            container: "web-0".to_owned(),
            state: Some(ContainerState::Running),
            started_at: None,
            health: Some((check, Err("\u{1b}[2J\u{9b}".to_owned()))),
        };
        let mut shown = Vec::new();
        table(&[row], &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.ends_with("web      running  -       no answer at http://127.0.0.1:80/: \\u{1b}[2J\\u{9b}\n"),
            "{shown}"
        );
    }
}
