//! Tells a person how far a plan is: a line per step done, and what is going on where there is a terminal.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::plan::{Action, Step};
use crate::podman::PullProgress;
use crate::terminal::EscapedLine;

/// Something that happens while a plan is executed.
#[derive(Debug)]
#[allow(missing_docs, reason = "the index is the step's place in the plan, the rest speaks for itself")]
pub enum Event<'a> {
    /// A step begins.
    Began { index: usize, step: &'a Step },
    /// Part of a layer has come.
    Pulling { index: usize, image: &'a str, report: &'a PullProgress },
    /// A step is done; `did` tells whether it changed something.
    Finished { index: usize, step: &'a Step, did: bool, took: Duration },
    /// A service answers as it should.
    Healthy { service: &'a str, asked: &'a str, took: Duration },
    /// A step failed, or was cut off.
    Failed { index: usize, step: &'a Step },
    /// It was interrupted, and so many steps under way are waited for.
    Waiting { count: usize },
    /// The changes are being undone.
    Undoing,
}

/// The observer.
pub trait Progress {
    /// Takes notice.
    fn event(&self, event: &Event<'_>);
}

/// What suits standard error: lines that move where a person looks, and plain ones elsewhere. A terminal that cannot move them
/// (`TERM=dumb` or none) is elsewhere, too: indicatif would show nothing at all there.
#[must_use]
pub fn progress_on_stderr(verbose: bool) -> Box<dyn Progress> {
    let moves = !MultiProgress::new().is_hidden();
    if moves { Box::new(Terminal::new(verbose)) } else { Box::new(Lines::new(verbose)) }
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// A line per step done, for a file or a pipe.
#[derive(Debug, Default)]
pub(super) struct Lines {
    verbose: bool,
    layers: RefCell<BTreeMap<usize, Layers>>,
}

impl Lines {
    /// Tells of every step, also of those that nobody asks about, if `verbose`.
    fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    /// The line for an event, if it is worth one.
    fn line(&self, event: &Event<'_>) -> Option<String> {
        match event {
            Event::Pulling { index, report, .. } => {
                self.layers.borrow_mut().entry(*index).or_default().take(report);
                None
            }
            Event::Began { step: Step { action: Action::Pull(image), .. }, .. } => Some(format!("pulling `{image}`")),
            Event::Finished { index, step, took, .. } => {
                let bytes = self.layers.borrow_mut().remove(index).map_or(0, |layers| layers.sum().1);
                said(step, *took, bytes).or_else(|| self.verbose.then(|| in_detail(step, *took)))
            }
            Event::Healthy { service, asked, took } => Some(healthy(service, asked, *took)),
            Event::Waiting { count } => Some(waiting(*count)),
            Event::Undoing => Some("undoing the changes".to_owned()),
            Event::Began { .. } | Event::Failed { .. } => None,
        }
    }
}

impl Progress for Lines {
    fn event(&self, event: &Event<'_>) {
        if let Some(line) = self.line(event) {
            // Progress is a courtesy: a closed stderr must not stop a launch.
            let _ = writeln!(anstream::stderr(), "{}", EscapedLine(&line));
        }
    }
}

/// A line per step done, and below them one that moves for each step that takes time.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    verbose: bool,
    screen: MultiProgress,
    bars: RefCell<BTreeMap<usize, (ProgressBar, Layers)>>,
}

impl Terminal {
    /// Tells of every step, also of those that nobody asks about, if `verbose`.
    fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    fn begin(&self, index: usize, step: &Step) {
        let text = match &step.action {
            Action::Pull(image) => format!("pulling {image}"),
            Action::AwaitHealth { check, .. } => format!("waiting for {}", check.question()),
            Action::AwaitEnd { container, .. } => format!("waiting until `{container}` is done"),
            Action::Stop { name }
            | Action::RemoveContainer { name, running: true }
            | Action::SetAside { name, running: true, .. }
            | Action::RemovePod { name, .. } => {
                format!("stopping {name}")
            }
            _ => return,
        };
        let bar = self.screen.add(ProgressBar::new_spinner().with_message(EscapedLine(&text).to_string()));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.bars.borrow_mut().insert(index, (bar, Layers::default()));
    }

    fn end(&self, index: usize) -> u64 {
        let ended = self.bars.borrow_mut().remove(&index);
        ended.map_or(0, |(bar, layers)| {
            bar.finish_and_clear();
            layers.sum().1
        })
    }

    fn print(&self, line: &str) {
        // Progress is a courtesy: a closed stderr must not stop a launch.
        let _ = self.screen.println(EscapedLine(line).to_string());
    }
}

impl Progress for Terminal {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Began { index, step } => self.begin(*index, step),
            Event::Pulling { index, report, .. } => {
                let mut bars = self.bars.borrow_mut();
                let Some((bar, layers)) = bars.get_mut(index) else { return };
                layers.take(report);
                let (done, all) = layers.sum();
                if let (true, Ok(style)) = (all > 0, ProgressStyle::with_template(PULL_BAR)) {
                    bar.set_style(style);
                    bar.set_length(all);
                    bar.set_position(done);
                }
            }
            Event::Finished { index, step, took, .. } => {
                let bytes = self.end(*index);
                let line = said(step, *took, bytes).or_else(|| self.verbose.then(|| in_detail(step, *took)));
                if let Some(line) = line {
                    self.print(&line);
                }
            }
            Event::Failed { index, .. } => {
                self.end(*index);
            }
            Event::Healthy { service, asked, took } => self.print(&healthy(service, asked, *took)),
            Event::Waiting { count } => self.print(&waiting(*count)),
            Event::Undoing => self.print("undoing the changes"),
        }
    }
}

fn waiting(count: usize) -> String {
    let steps = if count == 1 { "the step".to_owned() } else { format!("{count} steps") };
    format!("waiting for {steps} under way; Ctrl-C again leaves everything as it is")
}

/// How a pull looks while it goes on (indicatif's template language).
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

/// What there is to say about a step that is done; nothing about those that nobody asks about.
fn said(step: &Step, took: Duration, bytes: u64) -> Option<String> {
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
        Action::Pull(image) => format!("pulled `{image}`, {}, in {seconds:.1} s", self::bytes(bytes)),
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

/// What there is to say about any step to somebody who wants to know all.
fn in_detail(step: &Step, took: Duration) -> String {
    format!("done in {:.2} s: {}", took.as_secs_f64(), step.action)
}

fn healthy(service: &str, asked: &str, took: Duration) -> String {
    format!("`{service}` answers {asked} after {:.1} s", took.as_secs_f64())
}

/// An amount of bytes for people, in powers of 1024.
#[must_use]
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(report: &PullProgress) -> Event<'_> {
        Event::Pulling { index: 0, image: "lab/web:1", report }
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
        // A layer is reported again and again as it grows.
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
        let bars = progress.bars.borrow();
        let shown = bars.get(&0).map(|(bar, _)| (bar.position(), bar.length()));
        assert_eq!(shown, Some((1024, Some(2048))));
        assert!(PULL_BAR.contains("{binary_bytes_per_sec}"));
    }

    #[test]
    fn steps_that_nobody_asks_about_are_told_only_to_those_who_want_to_know_all() {
        let step = step(Action::CreateFolder("/data".into()));
        let finished = Event::Finished { index: 0, step: &step, did: true, took: Duration::from_millis(20) };
        assert_eq!(Lines::new(false).line(&finished), None);
        let told = Lines::new(true).line(&finished);
        assert_eq!(told.as_deref(), Some("done in 0.02 s: make the folder `/data` unless it is there"));
    }
}
