//! The output of `start`: the plan, the question before a running container is replaced, and the
//! outcome.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Context;
use crate::config::Loaded;
use crate::error::{Exit, Failure, Report};
use crate::execute::Outcome;
use crate::plan::{Action, Conflict, Launch, Plan, Replaced, Unchanged};
use crate::terminal::{Answer, Consent, Escaped, EscapedLine, ask, is_interactive, print_json};

/// Prints the plan for `--dry-run`. It is data, so it goes to stdout.
pub(in crate::command) fn plan(plan: &Plan, json: bool) -> io::Result<()> {
    if json {
        return print_json(&plan.to_json());
    }
    write!(anstream::stdout(), "{}", text(plan))?;
    size(plan)?;
    for replaced in plan.needs_consent() {
        writeln!(anstream::stderr(), "needs confirmation: stop and replace {}", EscapedLine(&replaced.to_string()))?;
    }
    Ok(())
}

/// Prints how many images will be pulled, if any, and their size.
pub(super) fn size(plan: &Plan) -> io::Result<()> {
    let size = plan.pull_size();
    if size.images > 0 { writeln!(anstream::stderr(), "{size}") } else { Ok(()) }
}

/// The number of started services and the time it took; none if no service was started.
fn total(plan: &Plan, took: Duration) -> Option<String> {
    let count = plan.steps.iter().filter(|step| matches!(step.action, Action::Start { .. })).count();
    let services = if count == 1 { "service" } else { "services" };
    (count > 0).then(|| format!("started {count} {services} in {:.1} s", took.as_secs_f64()))
}

/// The plan as text. It is escaped, because the configuration decides its paths and devices.
fn text(plan: &Plan) -> String {
    let nothing = if plan.is_empty() { "nothing to do\n" } else { "" };
    format!("{}{nothing}", Escaped(&plan.to_string()))
}

/// Reports data of the Python airpods that is used in place, and data there that no service uses.
pub(super) fn earlier_data(launches: &[Launch], loaded: &Loaded, context: &Context) -> io::Result<()> {
    let mut err = anstream::stderr();
    let Some(folder) = context.environment.places(loaded.file.as_deref()).ok().and_then(|places| places.earlier_folder)
    else {
        return Ok(());
    };
    for launch in launches {
        for path in launch.folders.iter().filter(|path| path.starts_with(&folder)) {
            let (service, path) = (EscapedLine(&launch.service), path.display().to_string());
            writeln!(err, "`{service}` uses the data of the Python airpods in {}", EscapedLine(&path))?;
        }
    }
    // A configuration file names its volumes, so data that it does not name was left out on
    // purpose.
    if loaded.file.is_none() {
        let used = |path: &Path| launches.iter().flat_map(|launch| &launch.folders).any(|used| used.starts_with(path));
        for entry in std::fs::read_dir(&folder)?.flatten().filter(|entry| !used(&entry.path())) {
            let path = entry.path().display().to_string();
            writeln!(err, "warning: no service uses {}: name it in `volumes` if it is needed", EscapedLine(&path))?;
        }
    }
    Ok(())
}

/// Prints the outcome: warnings, the total, and the services' addresses.
pub(super) fn outcome(
    plan: &Plan,
    launches: &[Launch],
    outcome: &Outcome,
    took: Duration,
    json: bool,
) -> io::Result<()> {
    let kept = |launch: &Launch| plan.kept.contains(&Unchanged::Service(launch.service.clone()));
    let mut err = anstream::stderr();
    for launch in launches.iter().filter(|launch| kept(launch)) {
        let how = if launch.oneshot { "has run before with the same settings" } else { "is running already" };
        writeln!(err, "`{}` {how}", EscapedLine(&launch.service))?;
    }
    print_warnings(outcome, &mut err)?;
    if let Some(total) = total(plan, took) {
        writeln!(err, "{total}")?;
    }
    if json {
        let service = |launch: &Launch| {
            json!({
                "service": launch.service,
                "container": launch.container.name,
                "kept": kept(launch),
                "healthy": outcome.is_healthy(&launch.service),
                "urls": urls(launch),
            })
        };
        let services: Vec<_> = launches.iter().map(service).collect();
        return print_json(&json!({ "services": services, "warnings": outcome.warnings }));
    }
    let width = launches.iter().map(|launch| launch.service.len()).max().unwrap_or_default();
    for launch in launches {
        for url in urls(launch) {
            writeln!(err, "{:width$}  {url}", launch.service)?;
        }
    }
    Ok(())
}

/// Prints the warnings of a successful start.
pub(in crate::command) fn print_warnings(outcome: &Outcome, err: &mut dyn Write) -> io::Result<()> {
    for warning in &outcome.warnings {
        writeln!(err, "warning: {}", EscapedLine(warning))?;
    }
    for late in &outcome.late {
        let (service, seconds) = (&late.service, late.waited.as_secs());
        let last = EscapedLine(&late.last);
        let asked = EscapedLine(&late.asked);
        writeln!(err, "error: `{service}` runs but did not answer {asked} within {seconds} s: {last}")?;
        writeln!(err, "hint: it was left running; see what it does with `airpods logs {service}`")?;
    }
    Ok(())
}

fn urls(launch: &Launch) -> Vec<String> {
    let ports = launch.host_ports.iter().filter(|port| launch.is_published && port.protocol.is_tcp());
    ports.map(|port| port.url()).collect()
}

/// Replacing something that runs needs confirmation, and there is no terminal.
#[derive(Debug, thiserror::Error)]
#[error("replacing {what} needs confirmation, and there is no terminal")]
struct Unconfirmed {
    what: String,
}

impl Report for Unconfirmed {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("pass `--yes`, or set `cli.auto_confirm = true`".into())
    }
}

/// Prints what is replaced and why, and asks for confirmation if something running is stopped.
/// Returns whether to go on.
///
/// `conflict` is the error to return if the user cannot be asked about the network.
pub(super) async fn confirm(plan: &Plan, consent: Consent, conflict: Option<Conflict>) -> Result<bool, Failure> {
    let asked = plan.needs_consent();
    if asked.is_empty() {
        print_replaced(plan)?;
        return Ok(true);
    }
    let what = list(&asked);
    if consent == Consent::Asked && !is_interactive() {
        if let Some(conflict) = conflict {
            return Err(conflict.into());
        }
        print_replaced(plan)?;
        return Err(Unconfirmed { what }.into());
    }
    print_replaced(plan)?;
    let answer = ask(&format!("Stop and replace {what}? Volumes stay."), consent).await?;
    if answer != Answer::Yes {
        writeln!(anstream::stderr(), "nothing was changed")?;
    }
    Ok(answer == Answer::Yes)
}

/// Prints why each object is replaced.
fn print_replaced(plan: &Plan) -> io::Result<()> {
    let mut err = anstream::stderr();
    for replaced in &plan.replaced {
        let (kind, name) = (replaced.kind, EscapedLine(&replaced.name));
        let why = match replaced.why.as_slice() {
            [] if replaced.asked_for => "as asked for".to_owned(),
            [] => "its settings have changed".to_owned(),
            why => why.join(", "),
        };
        writeln!(err, "the {kind} `{name}` needs replacing: {}", EscapedLine(&why))?;
    }
    Ok(())
}

fn list(replaced: &[&Replaced]) -> String {
    replaced.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_plan_cannot_steer_the_terminal() {
        use crate::plan::tests::{NEW, THREE, plan, podman};
        let hostile = THREE.replace("source = \"weights\"", "source = \"/a\\u001b[2J\"");
        let plan = plan(&podman(NEW), &hostile, &[]).await.unwrap();
        assert!(text(&plan).contains("/a\\u{1b}[2J at /weights"), "{:?}", text(&plan));
    }

    #[tokio::test]
    async fn the_total_counts_the_started_services() {
        use crate::plan::tests::{NEW, THREE, plan, podman};
        let start = plan(&podman(NEW), THREE, &[]).await.unwrap();
        assert_eq!(total(&start, Duration::from_millis(12_340)).unwrap(), "started 3 services in 12.3 s");
        assert_eq!(total(&Plan::default(), Duration::ZERO), None);
    }
}
