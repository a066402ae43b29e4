//! `airpods export`: prints the services for systemd or for Kubernetes, or writes them to files. If
//! one file is in the way, none is written.

mod install;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueHint};

use super::{Context, completions};
use crate::config::Loaded;
use crate::error::{Exit, Failure, Report};
use crate::export::kube::Workload;
use crate::export::{self, ExportSet, File};
use crate::file;
use crate::gpu;
use crate::home::HomeFault;
use crate::plan::HostContext;
use crate::secret::SecretValues;
use crate::terminal::{EscapedLine, print_text};

/// The arguments of `airpods export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write units for podman's Quadlet, so that systemd runs the services
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
        /// Install the units for systemd (for this user, or for the system as root), and reload it
        #[arg(long, group = "target")]
        install: bool,
        /// Stop the installed units and remove their files
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
/// Those of the configuration, an unknown or disabled service, or files that cannot be written.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    if let Action::Quadlet { remove: true, .. } = &args.action {
        install::remove(&context.environment)?;
        return Ok(Exit::Done);
    }
    let loaded = context.load_config_to_launch()?;
    match &args.action {
        Action::Quadlet { services, install: true, force, .. } => {
            let set = export_set(context, &loaded, services, true)?;
            install::install(&set, &context.environment, *force)?;
        }
        Action::Quadlet { services, dir, force, .. } => {
            let set = export_set(context, &loaded, services, dir.is_some())?;
            quadlet(&set, dir.as_deref(), *force)?;
        }
        Action::Kube { services, output, workload, force } => {
            let set = export_set(context, &loaded, services, output.is_some())?;
            kube(&set, *workload, output.as_deref(), *force)?;
        }
    }
    warn(&export::warnings(&loaded.config));
    Ok(Exit::Done)
}

/// The services to export. Secrets are included only if they go into files that only their owner
/// can read.
fn export_set<'a>(
    context: &Context,
    loaded: &'a Loaded,
    services: &[String],
    with_secrets: bool,
) -> Result<ExportSet<'a>, Failure> {
    let host_context = HostContext { gpu: gpu::Gpus::here(), ..HostContext::default() };
    let mut set = ExportSet::of(&loaded.config, services, &host_context)?;
    if with_secrets {
        set.secrets = context.kept_secrets(loaded, set.desired.secret_sources(), &SecretValues::default())?;
    }
    Ok(set)
}

/// Prints the warnings of an export. A closed stderr is no failure.
fn warn(warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(anstream::stderr(), "warning: {}", EscapedLine(warning));
    }
}

/// Writes the units into a folder, or prints those without secrets, each after its name.
fn quadlet(set: &ExportSet<'_>, folder: Option<&Path>, force: bool) -> Result<(), Failure> {
    let export = export::quadlet::export(set);
    if let Some(folder) = folder {
        let files = export.files.iter().map(|file| (folder.join(&file.name), file));
        all(&files.collect::<Vec<_>>(), force)?;
    } else {
        let shown = export.files.iter().filter(|file| !file.private);
        let texts = shown.map(|file| format!("# {}\n\n{}", file.name, file.text));
        print_text(&texts.collect::<Vec<_>>().join("\n"))?;
    }
    warn(&export.warnings);
    if folder.is_some() {
        // A closed stderr is no failure.
        let _ = writeln!(anstream::stderr(), "systemd reads them after `systemctl --user daemon-reload`");
    }
    Ok(())
}

/// Writes the file, or prints it without secrets.
fn kube(set: &ExportSet<'_>, workload: Workload, output: Option<&Path>, force: bool) -> Result<(), Failure> {
    let export = export::kube::export(set, workload);
    match output {
        Some(path) => {
            let files = export.files.iter().map(|file| (path.to_owned(), file));
            all(&files.collect::<Vec<_>>(), force)?;
        }
        None => export.files.iter().try_for_each(|file| print_text(&file.text))?,
    }
    warn(&export.warnings);
    Ok(())
}

/// The reason that files were not, or not all, written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("`{}` exists", .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("`, `"))]
    Exists(Vec<PathBuf>),
    #[error("`{}` cannot be written", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Report for WriteError {
    fn home_fault(&self) -> Option<HomeFault> {
        match self {
            Self::Unwritable { path, .. } => HomeFault::of(path),
            Self::Exists(_) => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::Exists(_)).then(|| "nothing was written; `--force` replaces existing files".into())
    }
}

/// Writes the files and names each of them.
fn all(files: &[(PathBuf, &File)], force: bool) -> Result<(), Failure> {
    let there: Vec<_> = files.iter().map(|(path, _)| path).filter(|path| path.symlink_metadata().is_ok()).collect();
    if !force && !there.is_empty() {
        return Err(WriteError::Exists(there.into_iter().cloned().collect()).into());
    }
    for (path, file) in files {
        file::put(path, &file.text, file.private)
            .map_err(|cause| WriteError::Unwritable { path: path.clone(), cause })?;
        // A closed stderr is no failure.
        let _ = writeln!(anstream::stderr(), "wrote {}", EscapedLine(&path.display().to_string()));
    }
    Ok(())
}
