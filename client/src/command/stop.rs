//! `airpods stop`: ends services, and removes them when asked to.

use std::io::{self, Write};

use futures_util::future::join_all;

use super::Context;
use crate::config::{Config, PodmanUrl};
use crate::error::{Failure, Report};
use crate::execute;
use crate::exit::Exit;
use crate::plan::{self, Observed, Stop};
use crate::podman::{self, Podman, PodmanError};
use crate::question::{Answer, Consent, ask};
use crate::uptime::Uptime;

/// The arguments of `airpods stop`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods stop comfyui --remove --yes")]
pub struct Args {
    /// The services to stop; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Remove the containers and their pods as well; named volumes stay
    #[arg(short, long)]
    remove: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// How long a container has to stop by itself, in seconds (default: `cli.stop_timeout`)
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

/// Why services were not stopped.
#[derive(Debug, thiserror::Error)]
enum StopError {
    /// Removal needs a yes, and nobody is there to say it.
    #[error("removing containers has to be confirmed, and there is no terminal to ask on")]
    Unconfirmed,
    /// podman refused some of it.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
}

impl Report for StopError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unconfirmed => Exit::Usage,
            Self::Refused(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<std::borrow::Cow<'static, str>> {
        match self {
            Self::Unconfirmed => Some("say `--yes`".into()),
            Self::Refused(_) => Some("see what is left with `airpods status`".into()),
        }
    }
}

/// Runs `airpods stop`.
///
/// # Errors
/// Those of the configuration, of reaching podman, and of what podman refuses.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = std::pin::pin!(execute::interrupted());
    execute::unless(interrupt.as_mut(), stop(&args, &loaded.config)).await?
}

async fn stop(args: &Args, config: &Config) -> Result<Exit, Failure> {
    let services: Vec<String> =
        plan::chosen(config, &args.services, true)?.into_iter().map(|(name, _)| name.to_string()).collect();
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let observed = Observed::of(&connection.podman, std::collections::BTreeSet::new()).await?;
    let plan = plan::stop(&services, &observed, args.remove, config.runtime.network_name.as_str());
    if !plan.remove_containers.is_empty() {
        let names = plan.remove_containers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match ask(&format!("Remove {names}?"), Consent::from_switches(args.yes, config.cli.auto_confirm)).await? {
            Answer::Yes => {}
            Answer::No => return Ok(Exit::Done),
            Answer::Nobody => return Err(StopError::Unconfirmed.into()),
        }
    }
    let timeout = args.timeout.unwrap_or(config.cli.stop_timeout.get());
    let refused = carry_out(&connection.podman, &plan, timeout).await?;
    for service in plan.idle.iter().filter(|_| !args.services.is_empty()) {
        writeln!(anstream::stderr(), "`{service}` was not running")?;
    }
    if plan == (Stop { idle: plan.idle.clone(), ..Stop::default() }) && args.services.is_empty() {
        writeln!(anstream::stderr(), "no service was running")?;
    }
    if refused.is_empty() { Ok(Exit::Done) } else { Err(StopError::Refused(refused).into()) }
}

/// Stops all at once, then removes: containers, pods, and the network at last. Answers what podman refused.
async fn carry_out(podman: &impl Podman, plan: &Stop, timeout: u32) -> io::Result<Vec<String>> {
    let stopping = plan.running.iter().map(|(service, container, started)| async move {
        let outcome = podman.stop_container(container, timeout).await;
        (service, container, started, outcome)
    });
    let mut refused = Vec::new();
    for (service, container, started, outcome) in join_all(stopping).await {
        if let Err(error) = outcome {
            refused.push(format!("the container `{container}` was not stopped: {}", error.message()));
            continue;
        }
        let uptime = started.map(|moment| format!(" after {}", Uptime::since(moment))).unwrap_or_default();
        writeln!(anstream::stderr(), "stopped `{service}`{uptime}")?;
    }
    let mut note = |what: String, outcome: podman::Result<()>| match outcome {
        Ok(()) => writeln!(anstream::stderr(), "removed {what}"),
        Err(error) if PodmanError::is_not_found(&error) => Ok(()),
        Err(error) => {
            refused.push(format!("{what} was not removed: {}", error.message()));
            Ok(())
        }
    };
    for pod in &plan.pods {
        if let Err(error) = podman.stop_pod(pod, timeout).await {
            note(format!("the pod `{pod}`"), Err(error))?;
        }
    }
    let removals = plan.remove_containers.iter().map(|name| async move { (name, podman.remove_container(name).await) });
    for (name, outcome) in join_all(removals).await {
        note(format!("the container `{name}`"), outcome)?;
    }
    let removals = plan.remove_pods.iter().map(|name| async move { (name, podman.remove_pod(name).await) });
    for (name, outcome) in join_all(removals).await {
        note(format!("the pod `{name}`"), outcome)?;
    }
    if let Some(network) = &plan.remove_network {
        note(format!("the network `{network}`"), podman.remove_network(network).await)?;
    }
    Ok(refused)
}
