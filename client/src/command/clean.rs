//! `airpods clean`: removes what airpods made, after showing the plan and asking for confirmation.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::{Pin, pin};

use futures_util::future::try_join_all;
use serde_json::json;

use super::Context;
use super::teardown::{self, Unfinished, is_confirmed};
use crate::config::{Config, Loaded, PodmanUrl, VolumeSource};
use crate::error::{Exit, Failure, Report};
use crate::execute;
use crate::file;
use crate::plan::{self, Clean, Inventory, Observed, Scope, Skipped, Teardown};
use crate::podman::{self, Connection, DiskUsage, Podman, PodmanError};
use crate::terminal::{Consent, EscapedLine, ask, print_json};
use crate::webui_secret;

/// The arguments of `airpods clean`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  airpods clean --pods --network\n  airpods clean --all --dry-run")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// Remove all of the below; `--force` keeps volumes unless `--volumes` is given
    #[arg(short, long)]
    all: bool,
    /// Remove the services' containers and pods
    #[arg(short, long)]
    pods: bool,
    /// Remove the services' volumes, with their content
    #[arg(short, long)]
    volumes: bool,
    /// Remove the services' images, unless another container uses them
    #[arg(short, long)]
    images: bool,
    /// Remove the services' network
    #[arg(short, long)]
    network: bool,
    /// Remove config.toml and the web UI's secret
    #[arg(short, long)]
    configs: bool,
    /// Do not ask for confirmation
    #[arg(short, long, visible_short_alias = 'y', visible_alias = "yes")]
    force: bool,
    /// Print the plan, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep a copy of each file of `--configs` beside it (the default)
    #[arg(long, overrides_with = "no_backup_config")]
    backup_config: bool,
    /// Keep no copy of the files of `--configs`
    #[arg(long)]
    no_backup_config: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    fn scope(&self) -> Scope {
        Scope {
            pods: self.all || self.pods,
            volumes: self.all || self.volumes,
            images: self.all || self.images,
            network: self.all || self.network,
            configs: self.all || self.configs,
        }
    }
}

/// The reason that nothing was removed.
#[derive(Debug, thiserror::Error)]
enum CleanError {
    /// No switch selects anything.
    #[error("nothing selected to clean")]
    NoScope,
    /// A file could not be backed up.
    #[error("`{}` cannot be copied, so nothing was removed", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl Report for CleanError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoScope => Exit::Usage,
            Self::NoBackup { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<std::borrow::Cow<'static, str>> {
        Some(match self {
            Self::NoScope => "pass `--pods`, `--volumes`, `--images`, `--network`, `--configs`, or `--all`".into(),
            Self::NoBackup { .. } => "`--no-backup-config` makes no copy".into(),
        })
    }
}

/// Runs `airpods clean`.
///
/// # Errors
/// Those of the configuration, of reaching podman, and of what podman refuses or Ctrl-C leaves.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    if args.scope() == Scope::default() {
        return Err(CleanError::NoScope.into());
    }
    let loaded = context.load_config()?;
    let files = files(&loaded, context);
    let mut interrupt = pin!(execute::interrupted());
    let prepared = execute::interruptible(interrupt.as_mut(), prepare(&args, &loaded.config, files)).await??;
    match prepared {
        Some((connection, plan)) => clean(&args, &loaded.config, &connection, &plan, interrupt).await,
        None => Ok(Exit::Done),
    }
}

/// The existing files of airpods' own.
fn files(loaded: &Loaded, context: &Context) -> Vec<PathBuf> {
    let secret = context.environment.state_folder().map(|folder| webui_secret::path(&folder));
    loaded.file.iter().cloned().chain(secret).filter(|file| file.symlink_metadata().is_ok()).collect()
}

/// Reads the state, plans, prints the plan and asks for confirmation. None if nothing is to be
/// done.
async fn prepare(args: &Args, config: &Config, files: Vec<PathBuf>) -> Result<Option<(Connection, Clean)>, Failure> {
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let inventory = read_inventory(&connection.podman, args.scope(), config, files).await?;
    let consent = Consent::from_switches(args.force, config.cli.auto_confirm);
    let keep_volumes = consent == Consent::Given && !args.volumes;
    let plan = plan::clean(args.scope(), keep_volumes, &inventory);
    if args.dry_run && args.json {
        print_json(&plan.to_json())?;
        return Ok(None);
    }
    // The plan of a dry run is data and goes to stdout. Before a question it is for the user and
    // goes to stderr.
    let mut out: Box<dyn Write> =
        if args.dry_run { Box::new(anstream::stdout()) } else { Box::new(anstream::stderr()) };
    plan.lines().try_for_each(|line| writeln!(out, "{}", EscapedLine(&line)))?;
    for skipped in &plan.skipped {
        writeln!(anstream::stderr(), "{}", EscapedLine(&skipped.to_string()))?;
    }
    if plan.stages.is_empty() {
        writeln!(out, "nothing to clean")?;
    }
    let empty = plan.stages.is_empty() && !args.json;
    if args.dry_run || empty || !is_confirmed(ask_unless_empty(&plan, consent).await?)? {
        return Ok(None);
    }
    Ok(Some((connection, plan)))
}

/// Asks for confirmation, unless there is nothing to confirm.
async fn ask_unless_empty(plan: &Clean, consent: Consent) -> io::Result<crate::terminal::Answer> {
    let consent = if plan.stages.is_empty() { Consent::Given } else { consent };
    ask(&plan.question(), consent).await
}

/// Reads what the plan needs. Nothing out of scope is looked up.
async fn read_inventory(
    podman: &impl Podman,
    scope: Scope,
    config: &Config,
    files: Vec<PathBuf>,
) -> Result<Inventory, PodmanError> {
    let images = config.services.values().filter(|_| scope.images).map(|service| service.image.to_string());
    let observed = Observed::of(podman, images.collect()).await?;
    let named: BTreeSet<String> = config
        .services
        .values()
        .flat_map(|service| service.volumes.values())
        .filter_map(|volume| match &volume.source {
            VolumeSource::Named(name) => Some(name.to_string()),
            _ => None,
        })
        .filter(|name| scope.volumes && observed.volumes.contains(name))
        .collect();
    let users = named.into_iter().map(|name| async move {
        let users = podman.volume_users(&name).await?;
        Ok::<_, PodmanError>((name, users))
    });
    let volumes = try_join_all(users).await?.into_iter().collect();
    // The sizes are only information, so the command goes on without them.
    let wanted = scope.volumes || scope.images;
    let usage = if wanted { podman.disk_usage().await.unwrap_or_default() } else { DiskUsage::default() };
    Ok(Inventory { observed, volumes, usage, files })
}

async fn clean(
    args: &Args,
    config: &Config,
    connection: &Connection,
    plan: &Clean,
    interrupt: Pin<&mut impl Future<Output = ()>>,
) -> Result<Exit, Failure> {
    let files = plan.stages.iter().flatten().filter_map(|teardown| match teardown {
        Teardown::Discard(file) => Some(file),
        _ => None,
    });
    let mut copies = Vec::new();
    for file in files.filter(|_| !args.no_backup_config) {
        let copy = file::back_up(file).map_err(|source| CleanError::NoBackup { path: file.clone(), source })?;
        let message = format!("copied `{}` to `{}`", file.display(), copy.display());
        writeln!(anstream::stderr(), "{}", EscapedLine(&message))?;
        copies.push(copy);
    }
    let ended = teardown::carry_out(&connection.podman, &plan.stages, config.cli.stop_timeout.get(), interrupt).await;
    if args.json {
        let mut outcome = teardown::outcome(&ended);
        outcome["kept"] = plan.skipped.iter().map(Skipped::to_json).collect();
        outcome["backups"] = json!(copies);
        print_json(&outcome)?;
    }
    Unfinished::check(ended)?;
    Ok(Exit::Done)
}
