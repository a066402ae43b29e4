//! `airpods net check`: measures what the path carries, and names the cause of a fault and its
//! cure. This file also selects what is measured: the services, the servers of their images, and
//! the services' places. It draws the report: each place, each direction, where it ends, and the
//! verdict. Each user can run one check at a time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::command::{Context, completions};
use crate::config::{self, Config, PodmanUrl, Service, ServiceName};
use crate::error::{Exit, Failure, Report as _};
use crate::execute;
use crate::file::{Lock, is_safe_folder};
use crate::measure::places::{Places, places};
use crate::measure::report::{Confidence, Direction, Family, PathReport, PlaceReport, Udp};
use crate::measure::targets::{self, InvalidUrl, OnlyByProxy};
use crate::measure::verdict::{Code, Severity};
use crate::measure::{self, Plan, ProgressCallback, Report, Stage, Target, memory};
use crate::podman;
use crate::terminal::{EscapedLine, TextStyle, print_json, spinner};

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
    /// Measure sizes only: no plain transfers and no UDP
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
    let checking = async {
        let plan = subject.plan(!args.no_proof).await;
        measure::check(&plan, measure::LIMIT, progress.callback()).await
    };
    let report = execute::interruptible(interrupt.as_mut(), checking).await;
    progress.end();
    let report = report?;
    memory::remember(context.environment.state_folder().as_deref(), &report);
    if args.json {
        print_json(&report)?;
    } else {
        write(&report, &mut anstream::stdout())?;
    }
    Ok(match report.verdict.severity() {
        Severity::Fine => Exit::Done,
        Severity::Broken => Exit::Failed,
        Severity::Unmeasured => Exit::Unsupported,
    })
}

fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for line in lines(report) {
        // anstream drops colours if standard output is not a terminal.
        let style = line.style.ansi();
        writeln!(out, "{style}{}{style:#}", EscapedLine(&line.text))?;
    }
    Ok(())
}

pub(super) fn url(text: &str) -> Result<Target, InvalidUrl> {
    text.parse()
}

/// The subject of a measurement.
pub(in crate::command) struct Subject {
    config: Config,
    services: Vec<ServiceName>,
    /// The servers to measure with; empty if no image comes from a registry.
    pub(in crate::command) targets: Vec<Target>,
    /// The reason that the path to them cannot be measured.
    pub(in crate::command) unmeasurable: Option<OnlyByProxy>,
}

impl Subject {
    /// The named services, or every enabled one, with the registries of their images or with this
    /// server.
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

    /// The same for a configuration that is already loaded.
    pub(in crate::command) fn of_config(config: &Config, chosen: &[(&ServiceName, &Service)]) -> Self {
        let services = chosen.iter().map(|(name, _)| (*name).clone()).collect();
        let (targets, unmeasurable) = measurable(targets::of_images(chosen.iter().map(|(_, service)| &service.image)));
        Self { config: config.clone(), services, targets, unmeasurable }
    }

    /// Finds the places of the services.
    pub(in crate::command) async fn plan(&self, proof: bool) -> Plan {
        let services: Vec<_> =
            self.services.iter().filter_map(|name| self.config.services.get_key_value(name)).collect();
        let places = find_places(&self.config, &services).await.unwrap_or_else(|why| {
            // A closed stderr is no failure.
            let _ = writeln!(anstream::stderr(), "note: only the host is measured: {}", EscapedLine(&why));
            Places::default()
        });
        Plan { targets: self.targets.clone(), places, proof, unmeasurable: self.unmeasurable.clone() }
    }
}

/// The servers that are reached without a proxy, or the reason for having none.
fn measurable(mut targets: Vec<Target>) -> (Vec<Target>, Option<OnlyByProxy>) {
    let variable = |name: &str| std::env::var(name).ok();
    let why = if targets.is_empty() { None } else { targets::only_by_proxy(&targets, variable) };
    targets.retain(|target| targets::proxy(target, variable).is_none());
    (targets, why)
}

/// Another check of this user is running.
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

/// No server is known to measure with: every image was made on this machine.
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

/// The configuration. A check works without one, so an invalid one is reported and replaced by the
/// built-in defaults.
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

/// Takes the lock that lets each user run one check at a time, until it is dropped.
///
/// Another user's `$XDG_RUNTIME_DIR`, as after `su` or `sudo -E`, is not used: that user could
/// replace the lock. Without a folder for the lock, the check runs unlocked.
pub(in crate::command) fn lock(context: &Context) -> Result<Option<Lock>, Busy> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|folder| folder.is_absolute() && is_safe_folder(folder));
    let Some(folder) = runtime.or_else(|| context.environment.state_folder()) else { return Ok(None) };
    match Lock::at_once(&folder.join("airpods-net-check")) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(Busy),
        Err(_) => Ok(None),
    }
}

/// How long podman may take. It starts slowly on a slow machine, but a podman that hangs must not
/// stop the measurement of the host.
const PODMAN: Duration = Duration::from_secs(30);

/// The places of the services, or the reason that podman cannot tell them.
async fn find_places(config: &Config, services: &[(&ServiceName, &Service)]) -> Result<Places, String> {
    let named = config.runtime.podman_url.as_ref().map(PodmanUrl::socket);
    let find = async {
        let connection = podman::connect(named).await.map_err(|error| error.to_string())?;
        places(&connection.podman, config, services).await.map_err(|error| error.to_string())
    };
    let late = |_| Err(format!("podman has not answered within {} s", PODMAN.as_secs()));
    tokio::time::timeout(PODMAN, find).await.unwrap_or_else(late)
}

/// The stage of a check, shown on a terminal only.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(first: &'static str) -> Self {
        Self(spinner(first))
    }

    pub(super) fn callback(&self) -> ProgressCallback {
        let bar = self.0.clone();
        Arc::new(move |family: Family, stage: Stage| {
            if stage != Stage::Ended {
                bar.set_message(EscapedLine(&format!("{family}: trying {stage}")).to_string());
            }
        })
    }

    /// Removes the line from the terminal.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// A line of the drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// The text.
    text: String,
    /// Its colour.
    style: TextStyle,
}

/// Width of a bar, in characters.
const BAR_WIDTH: u32 = 24;

/// The whole drawing.
fn lines(report: &Report) -> Vec<Line> {
    let mut lines: Vec<Line> = report.places.iter().flat_map(place).collect();
    let (style, word) = match report.verdict.severity() {
        Severity::Fine => (TextStyle::Good, "ok"),
        Severity::Unmeasured => (TextStyle::Doubtful, "not measured"),
        Severity::Broken => (TextStyle::Bad, "broken"),
    };
    if !lines.is_empty() {
        lines.push(plain(String::new()));
    }
    lines.push(Line { text: format!("{word}: {} ({})", report.sentence, report.verdict), style });
    if let Some(blameless) = &report.not_to_blame {
        lines.push(plain(format!("not to blame: {blameless}")));
    }
    if let Some(cure) = &report.cure {
        lines.push(plain(format!("cure: {cure}")));
    }
    let sure = match report.confidence {
        Confidence::Sure => "this is sure",
        Confidence::AtLeast => "at least this much passes; it may be more",
        Confidence::NotMeasured => "sizes were not measured",
    };
    lines.push(plain(format!("{sure}; {} connections, {:.1} s", report.connections, report.seconds)));
    lines
}

fn plain(text: String) -> Line {
    Line { text, style: TextStyle::Plain }
}

fn place(place: &PlaceReport) -> Vec<Line> {
    let mut heading = if place.place == "host" { "host".to_owned() } else { format!("network {}", place.place) };
    if let Some(mtu) = place.own_mtu {
        // Writing to a String cannot fail.
        let _ = write!(heading, " (MTU {mtu})");
    }
    if let Some(link) = &place.link {
        let kind = if link.kind.is_empty() { String::new() } else { format!("{}, ", link.kind) };
        let _ = write!(heading, " -> {} ({kind}MTU {})", link.name, link.mtu);
    }
    if !place.services.is_empty() {
        let _ = write!(heading, ": {}", place.services.join(", "));
    }
    let mut lines = vec![Line { text: heading, style: TextStyle::Heading }];
    lines.extend(place.judged_from_host.iter().map(|why| plain(format!("  judged from the host: {why}"))));
    lines.extend(place.paths.iter().flat_map(path));
    lines
}

fn path(path: &PathReport) -> Vec<Line> {
    let rtt = path.rtt_ms.map(|rtt| format!(", {rtt:.0} ms away")).unwrap_or_default();
    let mut lines = vec![plain(format!("  {} to {}{rtt}", path.family, path.server))];
    if let Some(error) = &path.error {
        lines.push(Line { text: format!("    {error}"), style: TextStyle::Bad });
        return lines;
    }
    lines.push(direction("up", &path.up, path.top));
    lines.push(direction("down", &path.down, path.top));
    lines.extend(path.udp.as_ref().map(|found| udp(found, path.verdict)));
    if let Some(made) = &path.transfers {
        let slowest = made.slowest.map(|slowest| format!(" ({slowest:.2} s)")).unwrap_or_default();
        let style = if made.completed == made.of { TextStyle::Good } else { TextStyle::Bad };
        lines
            .push(Line { text: format!("    transfers  {} of {} completed{slowest}", made.completed, made.of), style });
    }
    lines
}

fn udp(udp: &Udp, verdict: Code) -> Line {
    let (said, style) = match udp {
        Udp { answered: true, proven, failed: Some(failed), .. } => {
            (format!("{} pass, {failed} vanishes", proven.unwrap_or_default()), TextStyle::Bad)
        }
        Udp { answered: true, proven, .. } => (format!("{} pass", proven.unwrap_or_default()), TextStyle::Good),
        Udp { refused: Some(error), .. } => (format!("refused: {error}"), TextStyle::Doubtful),
        _ if verdict == Code::QuicBlocked => {
            ("no answer, although the server speaks QUIC".to_owned(), TextStyle::Doubtful)
        }
        _ => ("no answer: the server may not speak QUIC, or UDP is blocked".to_owned(), TextStyle::Plain),
    };
    Line { text: format!("    udp   {said}"), style }
}

fn direction(name: &str, direction: &Direction, top: u16) -> Line {
    let Some(proven) = direction.proven else {
        let why = direction.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        return Line {
            text: format!("    {name:4}  {:BAR_WIDTH$}  not measured{why}", "", BAR_WIDTH = BAR_WIDTH as usize),
            style: TextStyle::Doubtful,
        };
    };
    let filled = (u32::from(proven) * BAR_WIDTH).checked_div(u32::from(top)).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
    // The bar of a path that is slightly narrower than the link is not full.
    let filled = if proven < top { filled.min(BAR_WIDTH - 1) } else { filled };
    let bar = format!("{}{}", "=".repeat(filled as usize), ".".repeat((BAR_WIDTH - filled) as usize));
    let mut text = format!("    {name:4}  {bar}  {proven} of {top} pass");
    if let Some(failed) = direction.failed {
        let _ = write!(text, ", {failed} vanishes");
    }
    match direction.confidence {
        Confidence::Sure => text.push_str(", sure"),
        other => {
            let why = direction.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            let _ = write!(text, ", {}{why}", other.as_str());
        }
    }
    let style = match direction {
        Direction { failed: Some(_), .. } => TextStyle::Bad,
        Direction { confidence: Confidence::Sure, .. } => TextStyle::Good,
        _ => TextStyle::Doubtful,
    };
    Line { text, style }
}
