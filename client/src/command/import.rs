//! `airpods import`: makes a `config.toml` from a compose file or from Quadlet units.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueHint;
use serde::Serialize;

use super::Context;
use crate::config::{self, Loaded, Source, VolumeSource};
use crate::error::{Exit, Failure, OutputFailed, Report};
use crate::file::{self, Links, Owner};
use crate::home::HomeFault;
use crate::import::{self, ImportError, ImportPaths, Imported, Note};
use crate::terminal::{EscapedLine, print_json};

/// The kinds of units that Quadlet reads (podman-systemd.unit(5)).
const UNIT_KINDS: [&str; 7] = ["container", "volume", "network", "pod", "image", "kube", "build"];

/// The arguments of `airpods import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  airpods import compose.yaml
  airpods import ~/.config/containers/systemd -o -
  airpods import docker-compose.yml -o ~/.config/airpods/config.toml")]
pub struct Args {
    /// A compose file, a Quadlet unit, or a folder of units
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    file: PathBuf,
    /// Write this file instead of `config.toml` beside FILE; `-` prints it and writes nothing
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Replace an existing file
    #[arg(short, long)]
    force: bool,
    /// Print JSON: the written file, its services, and the keys not carried over
    #[arg(long)]
    json: bool,
}

/// The reason that nothing was imported.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` exists", .0.display())]
    Exists(PathBuf),
    #[error("cannot write `{}`", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Report for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreadable { cause, .. } if cause.kind() == io::ErrorKind::NotFound => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn home_fault(&self) -> Option<HomeFault> {
        match self {
            Self::Unwritable { path, .. } => HomeFault::of(path),
            Self::Unreadable { .. } | Self::Exists(_) => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unreadable { .. } => Some("name a compose file, a Quadlet unit or a folder of units".into()),
            Self::Exists(_) => Some("`--force` replaces it, `-o FILE` writes another; nothing was written".into()),
            Self::Unwritable { .. } => None,
        }
    }
}

impl Report for ImportError {
    fn exit(&self) -> Exit {
        Exit::Configuration
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("a compose file has them under `services:`, Quadlet in `.container` files".into())
    }
}

#[derive(Serialize)]
struct Outcome<'a> {
    /// The written file; `null` with `-o -`.
    file: Option<&'a Path>,
    /// Its content.
    text: &'a str,
    services: &'a [String],
    not_carried_over: &'a [Note],
    /// Folders and files of the host that the services need and that do not exist.
    missing: &'a [PathBuf],
}

/// Runs `airpods import`.
///
/// # Errors
/// The file cannot be read or has no services, or there is a configuration already.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let unreadable = |cause| Error::Unreadable { path: args.file.clone(), cause };
    let path = std::path::absolute(&args.file).map_err(unreadable)?;
    let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
    let prints = args.output.as_ref().is_some_and(|output| output.as_os_str() == "-");
    let output = match &args.output {
        Some(output) if !prints => std::path::absolute(output).map_err(unreadable)?,
        _ => folder.join("config.toml"),
    };
    let places = context.environment.places(Some(&output))?;
    let paths = ImportPaths { path: &path, folder, output: &output, places: &places };
    let imported = read(&paths)?;
    let source = Source::of_file(output.clone(), imported.text.clone());
    let loaded = config::parse_in(Some(source), &places);
    let missing = loaded.as_ref().map(missing).unwrap_or_default();
    let written = (!prints).then_some(output.as_path());
    if let Some(path) = written {
        write(path, &imported.text, args.force)?;
    } else if !args.json {
        io::stdout().write_all(imported.text.as_bytes()).map_err(OutputFailed::from)?;
    }
    if args.json {
        let (text, services, not_carried_over) = (&*imported.text, &*imported.services, &*imported.notes);
        let outcome = Outcome { file: written, text, services, not_carried_over, missing: &missing };
        print_json(&outcome).map_err(OutputFailed::from)?;
    } else {
        report(&imported, &paths, &missing, written);
    }
    match loaded {
        Ok(_) => Ok(Exit::Done),
        // Report the error and go on: the user has to correct the file, for example if it names a
        // file that does not exist yet.
        Err(error) => {
            let failure = Failure::from(error);
            let _ = failure.write(&mut anstream::stderr());
            Ok(failure.exit())
        }
    }
}

/// Missing folders and files of the host that `start` would not create.
fn missing(loaded: &Loaded) -> Vec<PathBuf> {
    let volumes = loaded.config.enabled().flat_map(|(_, service)| service.volumes.values());
    let of_host = volumes.filter_map(|volume| match &volume.source {
        VolumeSource::Host(path) if !path.exists() => Some(path.clone()),
        _ => None,
    });
    let mut paths: Vec<_> = of_host.collect();
    paths.sort();
    paths.dedup();
    paths
}

fn read(paths: &ImportPaths<'_>) -> Result<Imported, Failure> {
    let path = paths.path;
    if path.is_dir() {
        return Ok(import::quadlet(paths, units(path)?, None)?);
    }
    let text = text(path)?;
    if is_unit(path) {
        return Ok(import::quadlet(paths, units(paths.folder)?, Some(&name(path)))?);
    }
    Ok(import::compose(paths, &text)?)
}

/// The units in a folder, sorted by name.
fn units(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let unreadable = |cause| Error::Unreadable { path: folder.to_owned(), cause };
    let entries = fs::read_dir(folder).map_err(unreadable)?.collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(|path| is_unit(path)).collect();
    paths.sort();
    paths.into_iter().map(|path| Ok((name(&path), text(&path)?))).collect()
}

fn is_unit(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|kind| UNIT_KINDS.contains(&kind))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn text(path: &Path) -> Result<String, Error> {
    file::read(path, Links::Followed, Owner::Any).map_err(|cause| Error::Unreadable { path: path.to_owned(), cause })
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Error> {
    let written = if force { file::put(path, text, true) } else { file::create(path, text) };
    written.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
        _ => Error::Unwritable { path: path.to_owned(), cause },
    })
}

/// Prints what was written and what is left to do. A closed stderr is no failure.
fn report(imported: &Imported, paths: &ImportPaths<'_>, missing: &[PathBuf], written: Option<&Path>) {
    let mut to = anstream::stderr();
    let mut print = |text: String| drop(writeln!(to, "{}", EscapedLine(&text)));
    for note in &imported.notes {
        print(format!("warning: {note}"));
    }
    let variables = paths.folder.join(".env");
    if paths.output.parent() != Some(paths.folder) && variables.exists() {
        let (variables, folder) = (variables.display(), paths.output.parent().unwrap_or(paths.output).display());
        print(format!("warning: `{variables}` is not read from there: copy it to `{folder}`"));
    }
    for path in missing {
        print(format!("warning: `{}` is missing: create it before the start", path.display()));
    }
    let Some(path) = written else { return };
    print(format!("wrote {} with {}", path.display(), imported.services.join(", ")));
    print(format!("next: airpods --config {} start --dry-run", path.display()));
}
