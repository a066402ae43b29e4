//! Shows the progress of a plan: a line per finished step, and on a terminal also the steps under
//! way.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::{Action, Step};
use crate::podman::PullProgress;
use crate::terminal::{EscapedLine, readable_size};

/// An event during the execution of a plan.
#[derive(Debug)]
#[allow(missing_docs, reason = "the index is the step's place in the plan, the rest speaks for itself")]
pub enum Event<'a> {
    /// A step begins.
    Began { index: usize, step: &'a Step },
    /// Part of a layer has arrived.
    Pulling { index: usize, service: &'a str, report: &'a PullProgress },
    /// A step is done. `did` is true if it changed something.
    Finished { index: usize, step: &'a Step, did: bool, took: Duration },
    /// A service passed its health check.
    Healthy { service: &'a str, asked: &'a str, took: Duration },
    /// A step failed or was cancelled.
    Failed { index: usize, step: &'a Step },
    /// Ctrl-C came, and this number of steps is waited for.
    Waiting { count: usize },
    /// The changes are being undone.
    Undoing,
    /// Progress must be hidden: something else is printed from here on.
    Paused,
    /// Progress may be shown again.
    Resumed,
}

/// Receives the events of an execution.
pub trait Progress {
    /// Handles an event.
    fn event(&self, event: &Event<'_>);
}

/// The observer for standard error: moving lines on a terminal, plain ones elsewhere. A terminal
/// that cannot move lines (no `TERM`, or `TERM=dumb`) gets plain ones, because indicatif shows
/// nothing there.
#[must_use]
pub(super) fn progress_on_stderr(verbose: bool) -> Box<dyn Progress> {
    let moves = !MultiProgress::new().is_hidden();
    if moves { Box::new(Terminal::new(verbose)) } else { Box::new(Lines::new(verbose)) }
}

/// An observer that prints nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// One line per finished step, for a file or a pipe.
#[derive(Debug, Default)]
pub(super) struct Lines {
    verbose: bool,
    layers: RefCell<BTreeMap<usize, Layers>>,
}

impl Lines {
    /// With `verbose`, prints every step.
    fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    /// The line for an event, if it has one.
    fn line(&self, event: &Event<'_>) -> Option<String> {
        match event {
            Event::Pulling { index, report, .. } => {
                self.layers.borrow_mut().entry(*index).or_default().take(report);
                None
            }
            Event::Began { step: Step { action: Action::Pull(image), .. }, .. } => Some(format!("pulling `{image}`")),
            Event::Finished { index, step, took, .. } => {
                let bytes = self.layers.borrow_mut().remove(index).map_or(0, |layers| layers.sum().1);
                message(step, *took, bytes).or_else(|| self.verbose.then(|| in_detail(step, *took)))
            }
            Event::Healthy { service, asked, took } => Some(healthy(service, asked, *took)),
            Event::Waiting { count } => Some(waiting(*count)),
            Event::Undoing => Some("undoing the changes".to_owned()),
            Event::Began { .. } | Event::Failed { .. } | Event::Paused | Event::Resumed => None,
        }
    }
}

impl Progress for Lines {
    fn event(&self, event: &Event<'_>) {
        if let Some(line) = self.line(event) {
            // Progress is optional: a closed stderr must not stop a launch.
            let _ = writeln!(anstream::stderr(), "{}", EscapedLine(&line));
        }
    }
}

/// One line per service, updated in place, below lines about steps that services share.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    verbose: bool,
    screen: MultiProgress,
    services: RefCell<BTreeMap<String, ServiceLine>>,
}

/// The line of one service.
#[derive(Debug)]
struct ServiceLine {
    bar: ProgressBar,
    /// The layers of each pull under way, by step index.
    pulls: BTreeMap<usize, Layers>,
    /// The steps under way that are shown, by index.
    open: BTreeSet<usize>,
}

impl ServiceLine {
    fn begin(&mut self, index: usize, step: &Step) {
        let Some(text) = under_way(step) else { return };
        if matches!(step.action, Action::Pull(_)) {
            self.pulls.insert(index, Layers::default());
        }
        self.open.insert(index);
        self.bar.set_message(EscapedLine(&text).to_string());
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn pulling(&mut self, index: usize, report: &PullProgress) {
        let Some(layers) = self.pulls.get_mut(&index) else { return };
        layers.take(report);
        let (done, all) = layers.sum();
        if let (true, Ok(style)) = (all > 0, ProgressStyle::with_template(PULL_BAR)) {
            self.bar.set_style(style);
            self.bar.set_length(all);
            self.bar.set_position(done);
        }
    }

    /// Ends a step and returns the bytes it pulled.
    fn end(&mut self, index: usize) -> u64 {
        let bytes = self.pulls.remove(&index).map_or(0, |layers| layers.sum().1);
        if bytes > 0 {
            self.bar.set_style(ProgressStyle::default_spinner());
        }
        if self.open.remove(&index) && self.open.is_empty() {
            self.bar.disable_steady_tick();
        }
        bytes
    }

    fn print(&self, text: &str) {
        self.bar.set_message(EscapedLine(text).to_string());
    }
}

impl Terminal {
    /// With `verbose`, prints every step.
    fn new(verbose: bool) -> Self {
        Self { verbose, screen: MultiProgress::new(), services: RefCell::default() }
    }

    /// Applies `work` to the line of a service; none if the step has no service.
    fn with_line<T>(&self, service: Option<&str>, work: impl FnOnce(&mut ServiceLine) -> T) -> Option<T> {
        let mut services = self.services.borrow_mut();
        let line = services.entry(service?.to_owned()).or_insert_with(|| ServiceLine {
            bar: self.screen.add(ProgressBar::new_spinner()),
            pulls: BTreeMap::new(),
            open: BTreeSet::new(),
        });
        Some(work(line))
    }

    fn print(&self, line: &str) {
        // Progress is optional: a closed stderr must not stop a launch.
        let _ = self.screen.println(EscapedLine(line).to_string());
    }

    fn finished(&self, index: usize, step: &Step, took: Duration) {
        let service = step.service.as_deref();
        let bytes = self.with_line(service, |line| line.end(index)).unwrap_or_default();
        let text = message(step, took, bytes);
        match (&text, service) {
            (Some(text), Some(_)) => {
                self.with_line(service, |line| line.print(text));
            }
            (Some(text), None) => self.print(text),
            (None, _) => {}
        }
        if self.verbose && (text.is_none() || service.is_some()) {
            self.print(&in_detail(step, took));
        }
    }
}

impl Progress for Terminal {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Began { index, step } => {
                self.with_line(step.service.as_deref(), |line| line.begin(*index, step));
            }
            Event::Pulling { index, service, report } => {
                self.with_line(Some(service), |line| line.pulling(*index, report));
            }
            Event::Finished { index, step, took, .. } => self.finished(*index, step, *took),
            Event::Failed { index, step } => {
                self.with_line(step.service.as_deref(), |line| {
                    line.end(*index);
                    line.print(&format!("`{}` failed", step.service.as_deref().unwrap_or_default()));
                });
            }
            Event::Healthy { service, asked, took } => {
                self.with_line(Some(service), |line| line.print(&healthy(service, asked, *took)));
            }
            Event::Waiting { count } => self.print(&waiting(*count)),
            Event::Undoing => self.print("undoing the changes"),
            Event::Paused => {
                // If the lines cannot be cleared they stay above, which does no harm.
                let _ = self.screen.clear();
                self.screen.set_draw_target(ProgressDrawTarget::hidden());
            }
            Event::Resumed => self.screen.set_draw_target(ProgressDrawTarget::stderr()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // `abandon` leaves the last text of each service on the screen.
        self.services.borrow().values().for_each(|line| line.bar.abandon());
    }
}

/// The text while a step is under way; none for a step that takes no time.
fn under_way(step: &Step) -> Option<String> {
    let service = step.service.as_deref().unwrap_or_default();
    Some(match &step.action {
        Action::Pull(image) => format!("`{service}`: pulling {image}"),
        Action::CreateContainer(_) => format!("`{service}`: creating the container"),
        Action::Start { .. } => format!("`{service}`: starting"),
        Action::AwaitHealth { check, .. } => format!("`{service}`: waiting for {}", check.question()),
        Action::AwaitEnd { .. } => format!("`{service}`: waiting until it is done"),
        Action::Stop { .. }
        | Action::RemoveContainer { running: true, .. }
        | Action::SetAside { running: true, .. }
        | Action::RemovePod { .. } => format!("`{service}`: stopping"),
        _ => return None,
    })
}

fn waiting(count: usize) -> String {
    let steps = if count == 1 { "the step".to_owned() } else { format!("{count} steps") };
    format!("waiting for {steps} under way; Ctrl-C again leaves everything as it is")
}

/// The line of a pull under way (indicatif's template language).
const PULL_BAR: &str = "{spinner} {msg} {bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";

/// The layers of one pull, with bytes done and bytes in all.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, (u64, u64)>);

impl Layers {
    fn take(&mut self, report: &PullProgress) {
        if let Some(bytes) = report.bytes {
            self.0.insert(report.layer.clone(), bytes);
        }
    }

    fn sum(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(done, all), (one, whole)| (done + one, all + whole))
    }
}

/// The message about a finished step; none for one that is printed only with `--verbose`.
fn message(step: &Step, took: Duration, bytes: u64) -> Option<String> {
    let service = step.service.as_deref().unwrap_or_default();
    let seconds = took.as_secs_f64();
    Some(match &step.action {
        Action::CreateNetwork(spec) => format!("created the network `{}`", spec.name),
        Action::RemoveNetwork(name) => format!("removed the network `{name}`"),
        Action::CreateVolume(name) => format!("created the volume `{name}`"),
        Action::CreatePod(spec) => format!("created the pod `{}`", spec.name),
        Action::SetAside { name, running: true, .. } => format!("stopped `{name}` to replace it"),
        Action::RemoveContainer { name, .. } => format!("removed the container `{name}` to replace it"),
        Action::RemovePod { name, .. } => format!("removed the pod `{name}` to replace it"),
        Action::Pull(image) if bytes == 0 => format!("pulled `{image}` in {seconds:.1} s"),
        Action::Pull(image) => format!("pulled `{image}`, {}, in {seconds:.1} s", readable_size(bytes)),
        Action::Start { name } => format!("started `{service}` in the container `{name}`"),
        Action::Stop { .. } => format!("stopped `{service}`"),
        Action::AwaitEnd { .. } => format!("`{service}` is done after {seconds:.1} s"),
        Action::AwaitHealth { .. }
        | Action::CreateFolder(_)
        | Action::CreateContainer(_)
        | Action::CheckRuns { .. }
        | Action::ReadBack(_)
        | Action::SetAside { .. }
        | Action::Discard { .. } => return None,
    })
}

/// The message about any step, for verbose output.
fn in_detail(step: &Step, took: Duration) -> String {
    format!("done in {:.2} s: {}", took.as_secs_f64(), step.action)
}

fn healthy(service: &str, asked: &str, took: Duration) -> String {
    format!("`{service}` answers {asked} after {:.1} s", took.as_secs_f64())
}
#[cfg(test)]
mod tests {
    use super::*;

    fn pull(report: &PullProgress) -> Event<'_> {
        Event::Pulling { index: 0, service: "web", report }
    }

    fn report(layer: &str, done: u64, all: u64) -> PullProgress {
        PullProgress { layer: layer.into(), status: "Downloading".into(), bytes: Some((done, all)) }
    }

    fn step(action: Action) -> Step {
        Step { action, service: Some("web".into()), after: Vec::new() }
    }

    #[test]
    fn a_pull_is_two_lines_with_the_bytes_of_all_its_layers() {
        let lines = Lines::default();
        let step = step(Action::Pull("lab/web:1".into()));
        assert_eq!(lines.line(&Event::Began { index: 0, step: &step }).as_deref(), Some("pulling `lab/web:1`"));
        // podman reports a layer again and again as it grows.
        for (layer, done) in [("a", 1), ("b", 512), ("a", 1536)] {
            assert_eq!(lines.line(&pull(&report(layer, done, if layer == "a" { 1536 } else { 512 }))), None);
        }
        let finished = Event::Finished { index: 0, step: &step, did: true, took: Duration::from_millis(1500) };
        assert_eq!(lines.line(&finished).as_deref(), Some("pulled `lab/web:1`, 2.00 KiB, in 1.5 s"));
    }

    #[test]
    fn a_pull_on_a_terminal_shows_bytes_and_speed() {
        let progress = Terminal::default();
        let step = step(Action::Pull("lab/web:1".into()));
        progress.event(&Event::Began { index: 0, step: &step });
        progress.event(&pull(&report("a", 512, 1024)));
        progress.event(&pull(&report("b", 512, 1024)));
        let services = progress.services.borrow();
        let shown = services.get("web").map(|line| (line.bar.position(), line.bar.length()));
        assert_eq!(shown, Some((1024, Some(2048))));
        assert!(PULL_BAR.contains("{binary_bytes_per_sec}"));
    }

    #[test]
    fn a_service_keeps_one_line_on_a_terminal_with_its_latest_event() {
        let progress = Terminal::default();
        let pull = step(Action::Pull("lab/web:1".into()));
        let start = step(Action::Start { name: "web-0".into() });
        let message = || progress.services.borrow().values().map(|line| line.bar.message()).collect::<Vec<_>>();
        for (index, step, under_way, done) in [
            (0, &pull, "`web`: pulling lab/web:1", "pulled `lab/web:1` in 1.0 s"),
            (1, &start, "`web`: starting", "started `web` in the container `web-0`"),
        ] {
            progress.event(&Event::Began { index, step });
            assert_eq!(message(), [under_way]);
            progress.event(&Event::Finished { index, step, did: true, took: Duration::from_secs(1) });
            assert_eq!(message(), [done]);
        }
        progress.event(&Event::Healthy { service: "web", asked: "at http://[::1]:80/", took: Duration::from_secs(2) });
        assert_eq!(message(), ["`web` answers at http://[::1]:80/ after 2.0 s"]);
        progress.event(&Event::Failed { index: 2, step: &start });
        assert_eq!(message(), ["`web` failed"]);
    }

    #[test]
    fn minor_steps_are_printed_only_with_verbose() {
        let step = step(Action::CreateFolder("/data".into()));
        let finished = Event::Finished { index: 0, step: &step, did: true, took: Duration::from_millis(20) };
        assert_eq!(Lines::new(false).line(&finished), None);
        let message = Lines::new(true).line(&finished);
        assert_eq!(message.as_deref(), Some("done in 0.02 s: make the folder `/data` unless it is there"));
    }
}
