//! `airpods stop`: ends services, and removes them when asked to.

use std::io::{self, BufRead, Write};

use futures_util::future::join_all;

use super::Context;
use crate::config::{Config, PodmanUrl};
use crate::error::{Failure, Report};
use crate::execute;
use crate::exit::Exit;
use crate::plan::{self, Observed, Stop};
use crate::podman::{self, Podman, PodmanError};
use crate::terminal::is_interactive;
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
    if !plan.remove_containers.is_empty() && !args.yes && !config.cli.auto_confirm {
        if !is_interactive() {
            return Err(StopError::Unconfirmed.into());
        }
        if !confirm(&plan.remove_containers, io::BufReader::new(io::stdin())).await? {
            return Ok(Exit::Done);
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

/// Asks; anything but yes is no. Waiting does not block, so that Ctrl-C is heard meanwhile.
async fn confirm(containers: &[String], mut answers: impl BufRead + Send + 'static) -> io::Result<bool> {
    let names = containers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut err = anstream::stderr();
    write!(err, "Remove {names}? [y/N] ")?;
    err.flush()?;
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own and none of the runtime's, which would wait for it when Ctrl-C ends the command.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = answers.read_line(&mut answer).map(|_| answer);
        // Nobody waits for the answer any more after Ctrl-C.
        let _ = tell.send(read);
    });
    let answer = told.await.map_err(io::Error::other)??;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names() -> [String; 1] {
        ["web-0".to_owned()]
    }

    #[tokio::test]
    async fn only_a_yes_is_a_yes() {
        for (answer, yes) in [("y\n", true), ("Yes\n", true), ("n\n", false), ("\n", false), ("", false)] {
            assert_eq!(confirm(&names(), answer.as_bytes()).await.unwrap(), yes, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_question_that_nobody_answers_can_be_interrupted() {
        let (silent, _open) = std::os::unix::net::UnixStream::pair().unwrap();
        let interrupt = std::pin::pin!(tokio::time::sleep(std::time::Duration::from_millis(10)));
        let asked = execute::unless(interrupt, confirm(&names(), io::BufReader::new(silent))).await;
        assert!(asked.is_err(), "{asked:?}");
    }
}
