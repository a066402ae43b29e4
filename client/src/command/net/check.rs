//! `airpods net check`: measures what the path really carries, names the cause and the cure.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};
use indicatif::ProgressBar;
use nix::fcntl::{Flock, FlockArg};

use crate::command::{Context, completions};
use crate::config::{self, Config, PodmanUrl, Service, ServiceName};
use crate::error::{Failure, Report as _};
use crate::execute;
use crate::exit::Exit;
use crate::measure::picture::{self, Tone};
use crate::measure::places::{Places, places};
use crate::measure::report::Family;
use crate::measure::targets::{self, InvalidUrl, Target};
use crate::measure::verdict::Weight;
use crate::measure::{self, Plan, Report, Stage, Tell};
use crate::podman;
use crate::terminal::{EscapedLine, print_json};

/// The arguments of `airpods net check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The services whose way is checked; every enabled one if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Measure with this server instead of the registries that the services' images come from
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<Target>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Measure sizes only: make no plain transfers, and try no UDP
    #[arg(long)]
    no_proof: bool,
}

fn url(text: &str) -> Result<Target, InvalidUrl> {
    text.parse()
}

/// Another check of this user runs.
#[derive(Debug, thiserror::Error)]
#[error("another check is running; two at once would disturb each other")]
struct Busy;

impl crate::error::Report for Busy {
    fn exit(&self) -> Exit {
        Exit::Busy
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("wait until it ends: a check takes 12 seconds at most".into())
    }
}

/// Nothing can be measured with: every image is of this machine.
#[derive(Debug, thiserror::Error)]
#[error("no image of these services comes from a registry, so there is no server to measure with")]
struct NoServer;

impl crate::error::Report for NoServer {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("name one: `airpods net check --url https://HOST`".into())
    }
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let config = configuration(context)?;
    let services = chosen(&config, &args.services)?;
    let targets = match args.url {
        Some(target) => vec![target],
        None => targets::of_images(services.iter().map(|(_, service)| &service.image)),
    };
    if targets.is_empty() {
        return Err(NoServer.into());
    }
    let _lock = lock(context)?;
    let mut interrupt = pin!(execute::interrupted());
    let progress = Progress::new();
    let tell = progress.tell();
    let checking = async {
        let places = find_places(&config, &services).await;
        measure::check(&Plan { targets, places, proof: !args.no_proof }, tell).await
    };
    let report = execute::unless(interrupt.as_mut(), checking).await;
    progress.0.finish_and_clear();
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        write(&report, &mut anstream::stdout())?;
    }
    Ok(match report.verdict.weight() {
        Weight::Fine => Exit::Done,
        Weight::Broken => Exit::Failed,
        Weight::Unmeasured => Exit::Unsupported,
    })
}

/// What is configured. A check needs none of it, so where it is wrong the built-in defaults do, and that is said.
fn configuration(context: &Context) -> Result<Config, Failure> {
    match context.load_config() {
        Ok(loaded) => Ok(loaded.config),
        Err(wrong) => {
            let defaults = config::parse(None, context.environment.data_folder().as_deref())?;
            let mut err = anstream::stderr();
            wrong.render(&mut err)?;
            writeln!(err, "note: the built-in services are checked instead")?;
            Ok(defaults.config)
        }
    }
}

fn chosen<'a>(config: &'a Config, names: &[String]) -> Result<Vec<(&'a ServiceName, &'a Service)>, Failure> {
    Ok(crate::plan::chosen(config, names, !names.is_empty())?)
}

/// One check at a time for each user: the lock ends with the process.
fn lock(context: &Context) -> Result<Option<Flock<File>>, Busy> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let Some(folder) = runtime.or_else(|| context.environment.state_folder()) else { return Ok(None) };
    let open = std::fs::create_dir_all(&folder).and_then(|()| {
        File::options().create(true).truncate(false).write(true).open(folder.join("airpods-net-check.lock"))
    });
    // Without a place for it, nothing can be locked, and nothing is in the way.
    let Ok(file) = open else { return Ok(None) };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(Busy),
        Err(_) => Ok(None),
    }
}

/// How long podman may take: without it the host is checked all the same.
const PODMAN: Duration = Duration::from_secs(10);

async fn find_places(config: &Config, services: &[(&ServiceName, &Service)]) -> Places {
    let named = config.runtime.podman_url.as_ref().map(PodmanUrl::socket);
    let find = async {
        let connection = podman::connect(named).await.ok()?;
        places(&connection.podman, config, services).await.ok()
    };
    tokio::time::timeout(PODMAN, find).await.ok().flatten().unwrap_or_default()
}

/// What is being tried, on a terminal; elsewhere nothing, for it is over in seconds.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner().with_message("looking where the services are");
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    fn tell(&self) -> Tell {
        let bar = self.0.clone();
        Arc::new(move |family: Family, stage: Stage| {
            bar.set_message(EscapedLine(&format!("{family}: trying {stage}")).to_string());
        })
    }
}

fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for line in picture::lines(report) {
        let style = style(line.tone);
        writeln!(out, "{style}{}{style:#}", EscapedLine(&line.text))?;
    }
    Ok(())
}

/// anstream leaves colours out where standard output is no terminal.
fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Heading => Style::new().bold(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Doubtful => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
    }
}
