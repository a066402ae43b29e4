//! `airpods status`: the state of each service. It lists podman's containers and networks once,
//! asks how the ended ones ended, checks each service's health, and asks the kernel for the network
//! paths.
//!
//! [`row`] evaluates a service's container, its health and its path, and names the next command.
//! [`table`] draws rows. With `--watch` the table is repeated: in place on a terminal, one after
//! the other elsewhere.

mod row;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::future::{join_all, try_join};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

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
use crate::terminal::{self, EscapedLine, print_json, print_json_line};

use row::Row;
pub(super) use row::ServiceState;
use table::Line;

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
        watch(interval, args, read).await?;
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

/// Repeats for ever, every `interval`. Ends with the first failure, or when the output is closed.
async fn watch(
    interval: Duration,
    args: &Args,
    read: impl AsyncFn() -> Result<Vec<Row>, Failure>,
) -> Result<(), Failure> {
    let dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    if args.json || dumb || !io::stdout().is_terminal() {
        return watch_in_a_row(interval, args, read).await;
    }
    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = Screen::open(format!("every {} s, Ctrl-C ends", interval.as_secs_f64()), &args.services)?;
    loop {
        screen.show(read().await?)?;
        let pause = tokio::time::sleep(interval);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = resized.recv() => screen.draw()?,
            }
        }
    }
}

async fn watch_in_a_row(
    interval: Duration,
    args: &Args,
    read: impl AsyncFn() -> Result<Vec<Row>, Failure>,
) -> Result<(), Failure> {
    let mut first = true;
    loop {
        let rows = read().await?;
        if args.json {
            print_json_line(&document(&rows))?;
        } else {
            if !first {
                writeln!(anstream::stdout())?;
            }
            print(&rows, args)?;
        }
        first = false;
        tokio::time::sleep(interval).await;
    }
}

/// Switches to the alternate screen, which has no history, and hides the cursor (xterm's control
/// sequences, "DEC Private Mode Set": 1049 and 25).
const OPEN: &str = "\u{1b}[?1049h\u{1b}[?25l";

/// Shows the cursor and switches back.
const CLOSE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// A terminal that shows one table. Dropping it restores the terminal and leaves the last table on
/// it.
struct Screen<'a> {
    title: String,
    /// The services that the user named.
    named: &'a [String],
    rows: Vec<Row>,
}

impl<'a> Screen<'a> {
    fn open(title: String, named: &'a [String]) -> io::Result<Self> {
        write_at_once(OPEN)?;
        Ok(Self { title, named, rows: Vec::new() })
    }

    fn show(&mut self, rows: Vec<Row>) -> io::Result<()> {
        self.rows = rows;
        self.draw()
    }

    fn draw(&self) -> io::Result<()> {
        let (width, height) = terminal::size();
        let title = [Line::plain(&self.title), Line::default()].into_iter();
        let lines: Vec<Line> = title.chain(self.lines(width)).collect();
        write_at_once(&frame(&lines, width, height))
    }

    fn lines(&self, width: usize) -> Vec<Line> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let remarks = remarks(&self.rows, self.named);
        table::lines(&self.rows, width).into_iter().chain(remarks.iter().map(|line| Line::plain(line))).collect()
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let last = self.lines(terminal::size().0).iter().fold(String::new(), |text, line| text + &painted(line) + "\n");
        // A terminal that is gone needs no restoring.
        let _ = write_at_once(&format!("{CLOSE}{last}"));
    }
}

/// A line with its colours, unless the user turned them off (`NO_COLOR`, `CLICOLOR`).
fn painted(line: &Line) -> String {
    let text = line.to_string();
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(&text).to_string(),
        _ => text,
    }
}

/// Writes with one call, so that nothing flickers, and past anstream, which would take control
/// sequences for colours.
fn write_at_once(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The text that draws lines over the old content of a screen of this size. Nothing wraps or
/// scrolls.
fn frame(lines: &[Line], width: usize, height: usize) -> String {
    let fits = |line: &Line| painted(&line.cut(width));
    let shown: Vec<String> = if lines.len() > height {
        let more = lines.len() - height.saturating_sub(1);
        let kept = lines.iter().take(height.saturating_sub(1)).map(fits);
        kept.chain([fits(&Line::plain(&format!("… and {more} more")))]).collect()
    } else {
        lines.iter().map(fits).collect()
    };
    // Move home, erase the rest of each line, and erase everything below the last (ECMA-48: CUP,
    // EL, ED).
    format!("\u{1b}[H{}\u{1b}[J", shown.join("\u{1b}[K\r\n") + "\u{1b}[K")
}
