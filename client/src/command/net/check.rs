//! `airpods net check`: measures what the path really carries, names the cause and the cure. This file also chooses
//! the subject: the services, the servers of their images, and where the services are. One check runs at a time for
//! each user.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use nix::fcntl::{Flock, FlockArg};

use crate::command::{Context, completions};
use crate::config::{self, Config, PodmanUrl, Service, ServiceName};
use crate::error::{Exit, Failure, Report as _};
use crate::execute;
use crate::measure::places::{Places, places};
use crate::measure::report::Family;
use crate::measure::targets::{self, InvalidUrl};
use crate::measure::verdict::Weight;
use crate::measure::{self, Plan, Report, Stage, Target, Tell, memory, picture};
use crate::podman;
use crate::terminal::{EscapedLine, print_json};

/// The arguments of `airpods net check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The services whose path is checked; every enabled one if none is named
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

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let subject = Subject::of(context, &args.services, args.url)?;
    if subject.targets.is_empty() && subject.unmeasurable.is_none() {
        return Err(NoServer.into());
    }
    let _lock = lock(context)?;
    let mut interrupt = pin!(execute::interrupted());
    let progress = Progress::new("finding the services' networks");
    let checking = async { measure::check(&subject.plan(!args.no_proof).await, progress.tell()).await };
    let report = execute::unless(interrupt.as_mut(), checking).await;
    progress.end();
    let report = report?;
    memory::remember(context.environment.state_folder().as_deref(), &report);
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

fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for line in picture::lines(report) {
        // anstream leaves colours out where standard output is no terminal.
        let style = line.tone.style();
        writeln!(out, "{style}{}{style:#}", EscapedLine(&line.text))?;
    }
    Ok(())
}

pub(super) fn url(text: &str) -> Result<Target, InvalidUrl> {
    text.parse()
}

/// The subject of the measurement.
pub(in crate::command) struct Subject {
    config: Config,
    services: Vec<ServiceName>,
    /// The servers to measure with; none where no image comes from a registry.
    pub(in crate::command) targets: Vec<Target>,
    /// Why the way to them cannot be measured.
    pub(in crate::command) unmeasurable: Option<String>,
}

impl Subject {
    /// The services of these names, every enabled one if there are none, and the registries of their images, or this server instead.
    pub(super) fn of(context: &Context, names: &[String], url: Option<Target>) -> Result<Self, Failure> {
        let config = configuration(context)?;
        let chosen = crate::plan::chosen(&config, names, !names.is_empty())?;
        let services = chosen.iter().map(|(name, _)| (*name).clone()).collect();
        let images = chosen.iter().map(|(_, service)| &service.image);
        let (targets, unmeasurable) = match url {
            Some(target) => (vec![target], None),
            None => measurable(targets::of_images(images)),
        };
        Ok(Self { config, services, targets, unmeasurable })
    }

    /// The same for a configuration that is loaded already.
    pub(in crate::command) fn of_config(config: &Config, chosen: &[(&ServiceName, &Service)]) -> Self {
        let services = chosen.iter().map(|(name, _)| (*name).clone()).collect();
        let (targets, unmeasurable) = measurable(targets::of_images(chosen.iter().map(|(_, service)| &service.image)));
        Self { config: config.clone(), services, targets, unmeasurable }
    }

    /// Looks where the services are.
    pub(in crate::command) async fn plan(&self, proof: bool) -> Plan {
        let services: Vec<_> =
            self.services.iter().filter_map(|name| self.config.services.get_key_value(name)).collect();
        let places = find_places(&self.config, &services).await.unwrap_or_else(|why| {
            // Nobody reading is no failure.
            let _ = writeln!(anstream::stderr(), "note: only the host is measured: {}", EscapedLine(&why));
            Places::default()
        });
        Plan { targets: self.targets.clone(), places, proof, unmeasurable: self.unmeasurable.clone() }
    }
}

/// The servers that are reached directly, or why there are none.
fn measurable(mut targets: Vec<Target>) -> (Vec<Target>, Option<String>) {
    let variable = |name: &str| std::env::var(name).ok();
    let why = if targets.is_empty() { None } else { targets::only_by_proxy(&targets, variable) };
    targets.retain(|target| targets::proxy(target, variable).is_none());
    (targets, why)
}

/// Another check of this user runs.
#[derive(Debug, thiserror::Error)]
#[error("another check is running; two at once would disturb each other")]
pub(in crate::command) struct Busy;

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

/// The configuration. A check needs none of it, so the built-in defaults replace one that is wrong, and that is reported.
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

/// One check at a time for each user: the lock ends with the process.
pub(in crate::command) fn lock(context: &Context) -> Result<Option<Flock<File>>, Busy> {
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

/// How long podman may take. It is slow to start on a slow machine; one that hangs must not keep the host from being measured.
const PODMAN: Duration = Duration::from_secs(30);

/// Where the services are, or why podman cannot say so.
async fn find_places(config: &Config, services: &[(&ServiceName, &Service)]) -> Result<Places, String> {
    let named = config.runtime.podman_url.as_ref().map(PodmanUrl::socket);
    let find = async {
        let connection = podman::connect(named).await.map_err(|error| error.to_string())?;
        places(&connection.podman, config, services).await.map_err(|error| error.to_string())
    };
    let late = |_| Err(format!("podman has not answered within {} s", PODMAN.as_secs()));
    tokio::time::timeout(PODMAN, find).await.unwrap_or_else(late)
}

/// The stage of the check, on a terminal; elsewhere nothing, for it is over in seconds.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(first: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(first);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub(super) fn tell(&self) -> Tell {
        let bar = self.0.clone();
        Arc::new(move |family: Family, stage: Stage| {
            bar.set_message(EscapedLine(&format!("{family}: trying {stage}")).to_string());
        })
    }

    /// Takes it off the terminal.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
