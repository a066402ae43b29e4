//! The common part of `stop` and `clean`: print the plan, carry it out, and report the outcome.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Exit, Report};
use crate::execute::{self, Ended, Notice};
use crate::plan::Teardown;
use crate::podman::Podman;
use crate::terminal::{Answer, EscapedLine};

/// Carries out all stages, with a line on stderr per step.
pub(super) async fn carry_out(
    podman: &impl Podman,
    stages: &[Vec<Teardown>],
    timeout_seconds: u32,
    interrupt: impl Future<Output = ()>,
) -> Ended {
    let notify = |notice: Notice<'_>| {
        let line = match notice {
            Notice::Done(teardown) => teardown.done(),
            Notice::Slow(open, took) => match stopping(open, timeout_seconds, took) {
                Some(line) => line,
                None => return,
            },
            Notice::Waiting(1) => "waiting for the calls under way; Ctrl-C again stops waiting".to_owned(),
            Notice::Waiting(count) => format!("waiting for {count} calls under way; Ctrl-C again stops waiting"),
        };
        // A closed stderr must not stop the teardown.
        let _ = writeln!(anstream::stderr(), "{}", EscapedLine(&line));
    };
    execute::end(podman, stages, timeout_seconds, notify, interrupt, execute::interrupted()).await
}

/// The message about a stop that has taken this long: the container and the rest of the time until
/// podman kills it. None if no container is being stopped.
fn stopping(open: &[&Teardown], timeout_seconds: u32, took: Duration) -> Option<String> {
    let services = open.iter().filter_map(|teardown| match teardown {
        Teardown::Stop { service, .. } => Some(format!("`{service}`")),
        _ => None,
    });
    let services: Vec<String> = services.collect();
    let what = if services.len() == 1 { "it" } else { "the running ones" };
    let rest = Duration::from_secs(timeout_seconds.into()).saturating_sub(took);
    // Rounded up: the timer fires a moment after its second.
    let when = if rest.is_zero() { "now".to_owned() } else { format!("in {:.0} s", rest.as_secs_f64().ceil()) };
    let line = format!("waiting for {} to stop; podman kills {what} {when}", services.join(", "));
    (!services.is_empty()).then_some(line)
}

/// The planned steps, a line each.
pub(super) fn show(stages: &[Vec<Teardown>], out: &mut dyn Write) -> io::Result<()> {
    let mut endings = stages.iter().flatten().peekable();
    if endings.peek().is_none() {
        return writeln!(out, "nothing to do");
    }
    endings.try_for_each(|teardown| writeln!(out, "{}", EscapedLine(&teardown.to_string())))
}

/// The steps as JSON.
pub(super) fn list<'a>(endings: impl IntoIterator<Item = &'a Teardown>) -> Vec<Value> {
    endings.into_iter().map(Teardown::to_json).collect()
}

/// The outcome, as members of a JSON object.
pub(super) fn outcome(ended: &Ended) -> Value {
    let refused = ended.refused.iter().map(|(teardown, why)| {
        let mut refused = teardown.to_json();
        refused["why"] = json!(why);
        refused
    });
    json!({
        "done": list(&ended.done),
        "refused": refused.collect::<Vec<_>>(),
        "unknown": list(&ended.under_way),
        "left": list(&ended.left),
    })
}

/// Some steps failed or were not carried out.
#[derive(Debug)]
pub(super) struct Unfinished(Ended);

impl Unfinished {
    /// Returns an error unless every step was carried out.
    pub(super) fn check(ended: Ended) -> Result<(), Self> {
        if ended.refused.is_empty() && !ended.is_cut_short() { Ok(()) } else { Err(Self(ended)) }
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interrupted = self.0.is_cut_short().then(|| "interrupted".to_owned());
        let refused = self.0.refused.iter().map(|(teardown, why)| format!("{}: {why}", teardown.not_done()));
        f.write_str(&interrupted.into_iter().chain(refused).collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for Unfinished {}

impl Report for Unfinished {
    fn exit(&self) -> Exit {
        if self.0.is_cut_short() { Exit::Interrupted } else { Exit::Failed }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        if !self.0.is_cut_short() {
            return Some("`airpods status` shows what is left".into());
        }
        let left = self.0.left.iter().map(|teardown| format!("left: {}", teardown.not_done()));
        let unknown = self.0.under_way.iter().map(|teardown| format!("may still happen: {teardown}"));
        Some(left.chain(unknown).collect::<Vec<_>>().join("\nhint: ").into())
    }
}

/// A removal needs confirmation, and there is no terminal.
#[derive(Debug, thiserror::Error)]
#[error("removing needs confirmation, and there is no terminal")]
pub(super) struct Unconfirmed;

impl Report for Unconfirmed {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("pass `--yes`".into())
    }
}

/// Whether the command goes on after this answer.
pub(super) fn is_confirmed(answer: Answer) -> Result<bool, Unconfirmed> {
    match answer {
        Answer::Yes => Ok(true),
        Answer::No => {
            // A closed stderr does not change the exit code.
            let _ = writeln!(anstream::stderr(), "nothing was changed");
            Ok(false)
        }
        Answer::NoTerminal => Err(Unconfirmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Kind;

    #[test]
    fn an_interrupted_teardown_names_exactly_what_is_left_and_pending() {
        let stop = Teardown::Stop { service: "web".into(), container: "web-0".into(), started_at: None };
        let remove = Teardown::Remove(Kind::Container, "web-0".into());
        let ended = Ended { under_way: vec![stop], left: vec![remove], ..Ended::default() };
        let unfinished = Unfinished::check(ended).err();
        assert_eq!(unfinished.as_ref().map(Report::exit), Some(Exit::Interrupted));
        let hint = unfinished.as_ref().and_then(Report::hint);
        assert_eq!(
            hint.as_deref(),
            Some(
                "left: the container `web-0` was not removed\n\
                 hint: may still happen: stop the container `web-0` of `web`"
            )
        );
    }

    #[test]
    fn a_slow_stop_is_reported_with_the_services_and_the_time_until_they_are_killed() {
        let stop = |service: &str| Teardown::Stop { service: service.into(), container: "c".into(), started_at: None };
        let (web, model, remove) = (stop("web"), stop("model"), Teardown::Remove(Kind::Container, "c".into()));
        let second = Duration::from_millis(1003);
        let line = stopping(&[&web, &remove], 10, second);
        assert_eq!(line.as_deref(), Some("waiting for `web` to stop; podman kills it in 9 s"));
        let line = stopping(&[&web, &model], 300, second);
        let both = "waiting for `web`, `model` to stop; podman kills the running ones in 299 s";
        assert_eq!(line.as_deref(), Some(both));
        let line = stopping(&[&web], 1, second);
        assert_eq!(line.as_deref(), Some("waiting for `web` to stop; podman kills it now"));
        assert_eq!(stopping(&[&remove], 10, second), None);
    }

    #[test]
    fn everything_that_was_refused_is_in_the_error() {
        let refused = ["a", "b"].map(|name| (Teardown::Remove(Kind::Pod, name.into()), "it is in use".to_owned()));
        let unfinished = Unfinished::check(Ended { refused: refused.into(), ..Ended::default() }).err();
        let message = unfinished.map(|error| error.to_string());
        let expected = "the pod `a` was not removed: it is in use; the pod `b` was not removed: it is in use";
        assert_eq!(message.as_deref(), Some(expected));
        assert!(Unfinished::check(Ended::default()).is_ok());
    }
}
