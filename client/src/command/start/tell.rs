//! What `start` says: the plan, and what came of it.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::Context;
use crate::config::Loaded;
use crate::execute::Outcome;
use crate::plan::{Kept, Launch, Plan};
use crate::terminal::{Escaped, EscapedLine, print_json};

/// The plan, for `--dry-run`. It is data: it goes to stdout.
pub(in crate::command) fn plan(plan: &Plan, json: bool) -> io::Result<()> {
    if json {
        return print_json(&plan.to_json());
    }
    write!(anstream::stdout(), "{}", text(plan))?;
    for replaced in plan.needs_consent() {
        writeln!(anstream::stderr(), "needs confirmation: stop and replace {}", EscapedLine(&replaced.to_string()))?;
    }
    Ok(())
}

/// Paths and devices in it are whatever the configuration says.
fn text(plan: &Plan) -> String {
    let nothing = if plan.is_empty() { "nothing to do\n" } else { "" };
    format!("{}{nothing}", Escaped(&plan.to_string()))
}

/// Says where data of the Python airpods is, for it is used where it is; and what of it nothing uses.
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
    // Where a file names the volumes, whatever it does not name was left out on purpose.
    if loaded.file.is_none() {
        let used = |path: &Path| launches.iter().flat_map(|launch| &launch.folders).any(|used| used.starts_with(path));
        for entry in std::fs::read_dir(&folder)?.flatten().filter(|entry| !used(&entry.path())) {
            let path = entry.path().display().to_string();
            writeln!(err, "warning: no service uses {}: name it in `volumes` if it is needed", EscapedLine(&path))?;
        }
    }
    Ok(())
}

/// The outcome: the services' addresses, and warnings.
pub(super) fn outcome(plan: &Plan, launches: &[Launch], came: &Outcome, json: bool) -> io::Result<()> {
    let kept = |launch: &Launch| plan.kept.contains(&Kept::Service(launch.service.clone()));
    let mut err = anstream::stderr();
    for launch in launches.iter().filter(|launch| kept(launch)) {
        let how = if launch.oneshot { "has run before with the same settings" } else { "is running already" };
        writeln!(err, "`{}` {how}", EscapedLine(&launch.service))?;
    }
    troubles(came, &mut err)?;
    if json {
        let service = |launch: &Launch| {
            json!({
                "service": launch.service,
                "container": launch.container.name,
                "kept": kept(launch),
                "healthy": came.is_healthy(&launch.service),
                "urls": urls(launch),
            })
        };
        let services: Vec<_> = launches.iter().map(service).collect();
        return print_json(&json!({ "services": services, "warnings": came.warnings }));
    }
    let width = launches.iter().map(|launch| launch.service.len()).max().unwrap_or_default();
    for launch in launches {
        for url in urls(launch) {
            writeln!(err, "{:width$}  {url}", launch.service)?;
        }
    }
    Ok(())
}

/// Warnings although the services run.
pub(in crate::command) fn troubles(came: &Outcome, err: &mut dyn Write) -> io::Result<()> {
    for warning in &came.warnings {
        writeln!(err, "warning: {}", EscapedLine(warning))?;
    }
    for late in &came.late {
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
}
