//! Configuration: found, merged over the built-in defaults, read into typed values, checked.
//!
//! [`load`] is the thin part that touches files; [`parse`] is the rest, a function of texts. A
//! problem names its key and its place (file, line, column). Values that are wrong on their own are
//! reported all at once. Only if there are none, values that contradict each other are reported,
//! again all at once.

mod check;
mod device;
mod earlier;
pub mod edit;
mod health;
mod key;
mod model;
mod name;
mod option;
mod places;
mod port;
mod problem;
mod process;
mod quantity;
mod runtime;
mod section;
mod service;
mod template;
mod tree;
mod volume;

#[cfg(test)]
mod tests;

pub(crate) use problem::nearest;
pub(crate) use template::{literal_dollars, split_braces, split_name};

pub use device::{Gpu, GpuDevice};
pub use health::{Health, HealthTest};
pub use key::{CompletionWords, completion_words};
pub use model::{Cli, Config, Dependencies, Meta};
pub use name::{ImageName, InvalidImage, Reference};
pub use name::{InvalidName, NetworkAlias, ObjectName, ServiceName};
pub use places::{Environment, FOLDER, Places, Search};
pub use port::{InvalidPort, PortMapping, PortRange};
pub use problem::{ConfigError, Problem, Severity};
pub use process::EnvFile;
pub use quantity::{
    ConcurrentPulls, Cpus, InvalidMemory, InvalidPeriod, LogLines, Memory, NetworkMtu, OutOfRange, Period, PidsLimit,
    PortNumber, StartupTimeout, StatusCode, StatusRange, StopTimeout,
};
pub use runtime::{
    DnsServers, Engine, HostGateway, MssClamp, Network, NetworkDriver, PodmanUrl, RestartPolicy, Runtime,
};
pub use service::{Condition, NetworkMode, Pull, Resources, Service};
pub use tree::{Location, Source};
pub use volume::{Volume, VolumeSource};

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::file::{self, Links, Owner};
use problem::Problems;
use section::Section;
use tree::Table;

/// The built-in defaults, which are also what `config init` writes.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The key of `[meta]` that decides whether the built-in services are loaded.
const BUILT_IN_SERVICES: &str = "built_in_services";

/// A configuration, the file it comes from, and its warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it comes from; `None` for the built-in defaults alone.
    pub file: Option<PathBuf>,
    /// Keys without effect, unknown ones included.
    pub warnings: Vec<Problem>,
    tree: Table,
}

impl Loaded {
    /// The place where a dotted key such as `services.ollama.ports.0.host` is written, or the table
    /// around it. `None` if the key and the tables around it are written nowhere. For errors that
    /// are found after loading.
    #[must_use]
    pub fn locate(&self, key: &str) -> Option<&Location> {
        self.tree.locate(key)
    }

    /// Returns the configuration if it has no unknown key.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`], with each unknown key as an error.
    pub fn refuse_unknown_keys(self) -> Result<Self, ConfigError> {
        if self.unknown_keys().next().is_none() {
            return Ok(self);
        }
        Err(ConfigError::Wrong(self.warnings).refuse_unknown_keys())
    }

    /// Returns the configuration if it can be launched: if it has no unknown key that may be meant
    /// to restrict a service.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`], with each such key as an error.
    pub fn refuse_unknown_restrictions(self) -> Result<Self, ConfigError> {
        let restricts = |problem: &Problem| problem.severity == Severity::UnknownRestriction;
        if !self.warnings.iter().any(restricts) {
            return Ok(self);
        }
        Err(ConfigError::Wrong(self.warnings).refuse(restricts))
    }

    /// The warnings about unknown keys.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &Problem> {
        self.warnings.iter().filter(|problem| problem.is_unknown_key())
    }

    /// Writes the warnings for a person.
    pub fn print_warnings(&self, to: &mut dyn Write) {
        // A warning that cannot be written must not stop the command.
        let _ = problem::write_all(&self.warnings, to);
    }
}

/// Finds and loads the configuration; `option` is `--config`.
///
/// # Errors
/// [`ConfigError`]: the file named is missing, cannot be read, or is wrong.
pub fn load(environment: &Environment, option: Option<&Path>) -> Result<Loaded, ConfigError> {
    let file = find(environment, option)?.map(|(path, text)| Source::of_file(path, text));
    let path = file.as_ref().and_then(|source| source.path());
    let places = environment.places(path)?;
    parse_in(file, &places)
}

/// The file that [`load`] reads; `None` if only the built-in defaults apply.
///
/// # Errors
/// [`ConfigError::Missing`], [`ConfigError::Unreadable`] or [`ConfigError::Dangling`].
pub fn locate(environment: &Environment, option: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    Ok(find(environment, option)?.map(|(path, _)| path))
}

/// Finds the file to read, with its text; `None` if there is none and none was named.
fn find(environment: &Environment, option: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    // The user who gives `--config` has chosen the file. A variable may be another user's.
    let owner = if option.is_some() { Owner::Any } else { Owner::NotOthersForRoot };
    let read = |path: PathBuf| match file::read(&path, Links::Followed, owner) {
        Ok(text) => Ok(Some((path, text))),
        Err(cause) if is_absent(&cause) => Ok(None),
        Err(cause) => Err(ConfigError::Unreadable { path, cause }),
    };
    match environment.search(option) {
        Search::Named { path, by } => {
            let found = read(path.clone())?;
            found.map(Some).ok_or(ConfigError::Missing { path, named_by: by })
        }
        Search::FirstOf(paths) => {
            for path in paths {
                if let Some(found) = read(path.clone())? {
                    return Ok(Some(found));
                }
                // A user who made the link has a configuration. Falling back to the defaults would
                // go unnoticed.
                if let Some((link, target)) = dangling(&path) {
                    return Err(ConfigError::Dangling { link, target });
                }
            }
            Ok(None)
        }
    }
}

/// The dangling symbolic link that a path is or leads through, and its target.
fn dangling(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let link = path.ancestors().find(|part| part.is_symlink() && !part.exists())?;
    Some((link.to_owned(), std::fs::read_link(link).ok()?))
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Reads a configuration from a text over the built-in defaults. `data_folder` is where `bind://`
/// volumes lie.
///
/// # Errors
/// [`ConfigError::Wrong`] with every problem found.
pub fn parse(file: Option<Arc<Source>>, data_folder: Option<&Path>) -> Result<Loaded, ConfigError> {
    parse_in(file, &Places::from(data_folder))
}

/// As [`parse`], with all folders that paths may begin at, and with variables.
///
/// # Errors
/// [`ConfigError::Wrong`] with every problem found.
pub fn parse_in(file: Option<Arc<Source>>, places: &Places) -> Result<Loaded, ConfigError> {
    let wrong = |problem| ConfigError::Wrong(vec![problem]);
    let mut tree = Table::parse(&Source::built_in(DEFAULTS)).map_err(wrong)?;
    if let Some(source) = &file {
        let own = Table::parse(source).map_err(wrong)?;
        if own.has_bool("meta", BUILT_IN_SERVICES, false) {
            tree.clear("services");
        }
        tree.overlay(own);
    }
    let problems = Problems::default();
    tree::apply_unset(&mut tree, &problems);
    volume::drop_overridden_volumes(&mut tree, &problems);
    template::interpolate(&mut tree, &places.variables, &problems);
    let mut config = read_config(&tree, places, &problems);
    // Checking values together would only repeat the errors in single values.
    if let Some(config) = config.as_mut().filter(|_| !problems.any_error()) {
        earlier::take_container_port(config, &tree, &problems);
        template::expand(config, &tree, &problems);
        check::check(config, &tree, &problems);
    }
    match config {
        Some(config) if !problems.any_error() => {
            let file = file.and_then(|source| source.path().map(Path::to_owned));
            Ok(Loaded { config, file, warnings: problems.into_vec(), tree })
        }
        _ => Err(ConfigError::Wrong(problems.into_vec())),
    }
}

/// Reads the whole tree. `None` if a part is missing, which is then among the problems.
fn read_config(tree: &Table, places: &Places, problems: &Problems) -> Option<Config> {
    let root = Section::root(tree, problems);
    let meta = model::meta(&root);
    let runtime = runtime::runtime(&root);
    let cli = model::cli(&root);
    let dependencies = model::dependencies(&root);
    let services = services(&root, places);
    root.finish();
    Some(Config { meta: meta?, runtime: runtime?, cli: cli?, dependencies, services: services? })
}

fn services(root: &Section<'_>, places: &Places) -> Option<IndexMap<ServiceName, Service>> {
    let section = root.section("services")?;
    let mut services = IndexMap::new();
    let mut complete = true;
    for (key, child) in section.children() {
        let read = match key.parse::<ServiceName>() {
            Ok(name) => service::service(&name, child, places).map(|service| (name, service)),
            Err(why) => {
                let problem = Problem::error(format!("`{}` cannot be a service: {why}", section.place(key)));
                section.push(problem.at(child.here().cloned()));
                None
            }
        };
        match read {
            Some((name, service)) => drop(services.insert(name, service)),
            None => complete = false,
        }
    }
    complete.then_some(services)
}
