//! `airpods export`: the services for systemd or for Kubernetes.

mod install;
mod write;

use std::io::Write;
use std::path::PathBuf;

use clap::{Subcommand, ValueHint};

use super::{Context, completions};
use crate::config::Loaded;
use crate::error::Failure;
use crate::exit::Exit;
use crate::export::kube::Workload;
use crate::export::{self, Subject};
use crate::gpu;
use crate::plan::HostContext;
use crate::secret::SecretValues;
use crate::terminal::EscapedLine;

/// The arguments of `airpods export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write units for podman's Quadlet, by which systemd runs the services
    #[command(after_help = "Examples:
  airpods export quadlet --install
  airpods export quadlet --remove
  airpods export quadlet --dir ~/.config/containers/systemd
  airpods export quadlet ollama")]
    Quadlet {
        /// The services; every enabled one if none is named
        #[arg(value_name = "SERVICE", add = completions::services())]
        services: Vec<String>,
        /// Write the files into this folder instead of printing them
        #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath, group = "target")]
        dir: Option<PathBuf>,
        /// Install them for systemd (for this user, or for the system as root), and reload it
        #[arg(long, group = "target")]
        install: bool,
        /// Stop the units that are installed there and remove their files
        #[arg(long, conflicts_with_all = ["target", "services", "force"])]
        remove: bool,
        /// Replace existing files
        #[arg(short, long, requires = "target")]
        force: bool,
    },
    /// Write YAML for Kubernetes, or for `podman kube play`
    #[command(after_help = "Examples:
  airpods export kube -o airpods.yaml
  airpods export kube --type deployment ollama open-webui -o cluster.yaml")]
    Kube {
        /// The services; every enabled one if none is named
        #[arg(value_name = "SERVICE", add = completions::services())]
        services: Vec<String>,
        /// Write this file instead of printing
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
        /// The kind of object that runs the services
        #[arg(long = "type", value_enum, default_value_t = Workload::Pod, value_name = "TYPE")]
        workload: Workload,
        /// Replace an existing file
        #[arg(short, long, requires = "output")]
        force: bool,
    },
}

/// Runs `airpods export`.
///
/// # Errors
/// Those of the configuration, a service that there is not, or files that cannot be written.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    if let Action::Quadlet { remove: true, .. } = &args.action {
        install::remove(&context.environment)?;
        return Ok(Exit::Done);
    }
    let loaded = context.load_config_to_launch()?;
    match &args.action {
        Action::Quadlet { services, install: true, force, .. } => {
            let subject = subject(context, &loaded, services, true)?;
            install::install(&subject, &context.environment, *force)?;
        }
        Action::Quadlet { services, dir, force, .. } => {
            let subject = subject(context, &loaded, services, dir.is_some())?;
            write::quadlet(&subject, dir.as_deref(), *force)?;
        }
        Action::Kube { services, output, workload, force } => {
            let subject = subject(context, &loaded, services, output.is_some())?;
            write::kube(&subject, *workload, output.as_deref(), *force)?;
        }
    }
    warn(&export::warnings(&loaded.config));
    Ok(Exit::Done)
}

/// What is exported, with its secrets only where they go into files of their owner's.
fn subject<'a>(
    context: &Context,
    loaded: &'a Loaded,
    services: &[String],
    with_secrets: bool,
) -> Result<Subject<'a>, Failure> {
    let surroundings = HostContext { gpu: gpu::Found::here(), ..HostContext::default() };
    let mut subject = Subject::of(&loaded.config, services, &surroundings)?;
    if with_secrets {
        subject.secrets = context.kept_secrets(loaded, subject.desired.secret_sources(), &SecretValues::default())?;
    }
    Ok(subject)
}

/// Says what an export does not express; nobody reading is no failure.
fn warn(warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(anstream::stderr(), "warning: {}", EscapedLine(warning));
    }
}
