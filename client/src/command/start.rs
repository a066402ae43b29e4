//! `airpods start`: plans from the configuration and from what podman holds, executes, and says where the services
//! answer.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use serde_json::json;

use super::Context;
use crate::config::{Loaded, PodmanUrl};
use crate::error::Failure;
use crate::execute::{self, Lines, Outcome, Pace, Progress, Terminal};
use crate::exit::Exit;
use crate::plan::{self, Desired, Kept, Launch, Observed, Plan, Surroundings};
use crate::podman::{self, Connection, Podman};
use crate::terminal::{Escaped, EscapedLine, print_json};
use crate::webui_secret;

/// Where CDI descriptions lie (Container Device Interface specification, "CDI JSON Specification").
const CDI_FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The arguments of `airpods start`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods start ollama open-webui")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// The services to start; every enabled one if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Use no GPU
    #[arg(long)]
    cpu: bool,
    /// Do not wait until the services answer
    #[arg(long)]
    no_wait: bool,
    /// Wait until the services answer, which is the default
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    wait: bool,
    /// If the network's settings have changed, make it anew, with every container on it
    #[arg(long)]
    reset_network: bool,
}

/// Runs `airpods start`.
///
/// # Errors
/// Those of the configuration, of reaching podman, a conflict with what podman holds, or a step that failed.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = pin!(execute::interrupted());
    let prepared = execute::unless(interrupt.as_mut(), prepare(&args, &loaded)).await??;
    let Prepared { connection, mut plan, launches } = prepared;
    if args.dry_run {
        show(&plan, args.json)?;
        return Ok(Exit::Done);
    }
    if plan.needs_secret(webui_secret::VARIABLE) {
        let secret = webui_secret::load_or_create(context.environment.state_folder().as_deref())?;
        plan.give_secret(webui_secret::VARIABLE, secret.expose());
    }
    let mut pace = Pace::from_config(&loaded.config.cli);
    if args.no_wait {
        pace.startup = Duration::ZERO;
    }
    let progress: Box<dyn Progress> =
        if io::stderr().is_terminal() { Box::new(Terminal::default()) } else { Box::new(Lines::default()) };
    let outcome = execute::execute(&connection.podman, &plan, &pace, &*progress, interrupt).await?;
    drop(progress);
    tell(&plan, &launches, &outcome, args.json)?;
    Ok(if outcome.late.is_empty() { Exit::Done } else { Exit::Failed })
}

/// All that is known before anything is done.
struct Prepared {
    connection: Connection,
    plan: Plan,
    launches: Vec<Launch>,
}

async fn prepare(args: &Args, loaded: &Loaded) -> Result<Prepared, Failure> {
    let config = &loaded.config;
    let services = plan::chosen(config, &args.services, false)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let podman = &connection.podman;
    let surroundings = Surroundings { nvidia_cdi: has_nvidia_cdi(&CDI_FOLDERS.map(Path::new)), force_cpu: args.cpu };
    let desired = Desired::from_config(config, &services, podman.version(), surroundings);
    let observed = Observed::of(podman, desired.images()).await?;
    let plan = plan::decide(&desired, &observed, args.reset_network)?;
    Ok(Prepared { connection, plan, launches: desired.launches })
}

/// Whether a description in one of the folders names NVIDIA's device.
fn has_nvidia_cdi(folders: &[&Path]) -> bool {
    let files = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml" || kind == "json"))
        .any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("nvidia.com/gpu")))
}

/// A plan is data: it goes to stdout.
fn show(plan: &Plan, json: bool) -> io::Result<()> {
    if json {
        return print_json(&plan.to_json());
    }
    write!(anstream::stdout(), "{}", text(plan))
}

/// Paths and devices in it are whatever the configuration says.
fn text(plan: &Plan) -> String {
    let nothing = if plan.is_empty() { "nothing to do\n" } else { "" };
    format!("{}{nothing}", Escaped(&plan.to_string()))
}

fn tell(plan: &Plan, launches: &[Launch], outcome: &Outcome, json: bool) -> io::Result<()> {
    let kept = |launch: &Launch| plan.kept.contains(&Kept::Service(launch.service.clone()));
    let mut err = anstream::stderr();
    for launch in launches.iter().filter(|launch| kept(launch)) {
        writeln!(err, "`{}` is running already", EscapedLine(&launch.service))?;
    }
    for warning in &outcome.warnings {
        writeln!(err, "warning: {}", EscapedLine(warning))?;
    }
    for late in &outcome.late {
        let (service, seconds) = (&late.service, late.waited.as_secs());
        let last = EscapedLine(&late.last);
        writeln!(err, "error: `{service}` runs but did not answer at {} within {seconds} s: {last}", late.url)?;
        writeln!(err, "hint: it was left running; see what it does with `airpods logs {service}`")?;
    }
    if json {
        let service = |launch: &Launch| {
            json!({
                "service": launch.service,
                "container": launch.container.name,
                "kept": kept(launch),
                "healthy": launch.health.is_some().then(|| !outcome.late.iter().any(|late| late.service == launch.service)),
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

fn urls(launch: &Launch) -> Vec<String> {
    launch.host_ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
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

    #[test]
    fn a_gpu_is_found_by_its_description_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_nvidia_cdi(&[folder.path(), Path::new("/does/not/exist")]));
        std::fs::write(folder.path().join("notes.txt"), "kind: nvidia.com/gpu").unwrap();
        assert!(!has_nvidia_cdi(&[folder.path()]));
        std::fs::write(folder.path().join("nvidia.yaml"), "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n").unwrap();
        assert!(has_nvidia_cdi(&[folder.path()]));
    }
}
