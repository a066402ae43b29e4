//! Configuration: found, merged over the built-in defaults, read into typed values, checked.
//!
//! [`load`] is the thin part that touches files; [`parse`] is the rest, a function of texts. A problem names its
//! key and its place (file, line, column). All values that are wrong by themselves are reported at once; when there are none,
//! all that are wrong together.

mod check;
mod completion_words;
mod earlier;
pub mod edit;
mod list;
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
mod sysctl;
mod template;
mod tree;
mod volume;

#[cfg(test)]
mod tests;

pub(crate) use problem::nearest;
pub(crate) use template::{literal_dollars, split_braces, split_name};

pub use completion_words::{CompletionWords, completion_words};
pub use model::{
    Cli, Condition, Config, Dependencies, EnvFile, Gpu, Health, HealthTest, Meta, NetworkMode, Pull, Resources,
    Service, Volume, VolumeSource,
};
pub use name::{ImageName, InvalidImage, Reference};
pub use name::{InvalidName, NetworkAlias, ObjectName, ServiceName};
pub use places::{Environment, FOLDER, Places, Search};
pub use port::{InvalidPort, PortMapping, PortRange};
pub use problem::{ConfigError, Problem, Severity};
pub use quantity::{
    ConcurrentPulls, Cpus, InvalidMemory, InvalidPeriod, LogLines, Memory, NetworkMtu, OutOfRange, Period, PidsLimit,
    PortNumber, StartupTimeout, StatusCode, StatusRange, StopTimeout,
};
pub use runtime::{
    DnsServers, Engine, GpuDevice, HostGateway, MssClamp, Network, NetworkDriver, PodmanUrl, RestartPolicy, Runtime,
};
pub use tree::{Location, Source};

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

/// The key of `[meta]` that leaves the built-in services out.
const BUILT_IN_SERVICES: &str = "built_in_services";

/// A configuration, and how it came about.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it comes from; `None`: built-in defaults alone.
    pub file: Option<PathBuf>,
    /// Keys without effect, unknown ones included.
    pub warnings: Vec<Problem>,
    tree: Table,
}

impl Loaded {
    /// Where a dotted key such as `services.ollama.ports.0.host` was written, or the table around it; `None` if
    /// nobody wrote anything of it. For errors that only come up when the configuration meets the world.
    #[must_use]
    pub fn locate(&self, key: &str) -> Option<&Location> {
        self.tree.locate(key)
    }

    /// The same, if every key in it is known.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`]: each unknown key is an error now.
    pub fn refuse_unknown_keys(self) -> Result<Self, ConfigError> {
        if self.unknown_keys().next().is_none() {
            return Ok(self);
        }
        Err(ConfigError::Wrong(self.warnings).refuse_unknown_keys())
    }

    /// The same, if it can be launched: without keys that are none of ours and may have been meant to restrict a service.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`]: each such key is an error now.
    pub fn refuse_unknown_restrictions(self) -> Result<Self, ConfigError> {
        let restricts = |problem: &Problem| problem.severity == Severity::UnknownRestriction;
        if !self.warnings.iter().any(restricts) {
            return Ok(self);
        }
        Err(ConfigError::Wrong(self.warnings).refuse(restricts))
    }

    /// The keys that are none of ours.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &Problem> {
        self.warnings.iter().filter(|problem| problem.is_unknown_key())
    }

    /// Writes the warnings for a person.
    pub fn tell_warnings(&self, to: &mut dyn Write) {
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

/// The file that [`load`] would read; `None` if the built-in defaults are all there is.
///
/// # Errors
/// [`ConfigError::Missing`], [`ConfigError::Unreadable`] or [`ConfigError::Dangling`].
pub fn locate(environment: &Environment, option: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    Ok(find(environment, option)?.map(|(path, _)| path))
}

/// Finds the file to read, with its text; `None` if there is none and need not be one.
fn find(environment: &Environment, option: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let read = |path: PathBuf| match file::read(&path, Links::Followed, Owner::Any) {
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
                // A user who made the link has a configuration; the defaults in its place would go unnoticed.
                if let Some((link, target)) = dangling(&path) {
                    return Err(ConfigError::Dangling { link, target });
                }
            }
            Ok(None)
        }
    }
}

/// The symbolic link to nothing that a path is or leads through, and what it says.
fn dangling(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let link = path.ancestors().find(|part| part.is_symlink() && !part.exists())?;
    Some((link.to_owned(), std::fs::read_link(link).ok()?))
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Reads a configuration from a text over the built-in defaults. `data_folder` is where `bind://` volumes lie.
///
/// # Errors
/// [`ConfigError::Wrong`] with every problem found.
pub fn parse(file: Option<Arc<Source>>, data_folder: Option<&Path>) -> Result<Loaded, ConfigError> {
    parse_in(file, &Places::from(data_folder))
}

/// The same where paths may begin at other folders too, and variables have values.
///
/// # Errors
/// [`ConfigError::Wrong`] with every problem found.
pub fn parse_in(file: Option<Arc<Source>>, places: &Places) -> Result<Loaded, ConfigError> {
    let wrong = |problem| ConfigError::Wrong(vec![problem]);
    let mut tree = Table::parse(&Source::built_in(DEFAULTS)).map_err(wrong)?;
    if let Some(source) = &file {
        let own = Table::parse(source).map_err(wrong)?;
        if own.says("meta", BUILT_IN_SERVICES, false) {
            tree.clear("services");
        }
        tree.overlay(own);
    }
    let problems = Problems::default();
    tree::take_away(&mut tree, &problems);
    volume::leave_out_covered(&mut tree, &problems);
    template::interpolate(&mut tree, &places.variables, &problems);
    let mut config = read_config(&tree, places, &problems);
    // Values that are wrong by themselves would only make for more problems when they are put together.
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

/// Reads the whole tree; `None` if a part is missing, which is among the problems then.
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
