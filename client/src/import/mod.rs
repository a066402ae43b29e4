//! Imports: reads files with which users launch their services today, and writes an equivalent
//! `config.toml`.
//!
//! `compose` reads a compose file, `quadlet` reads podman's Quadlet units. A setting that cannot be
//! carried over is noted with its line, never dropped silently. The resulting text is parsed as a
//! configuration before it is shown. A value that is refused there is removed and noted, too.

mod compose;
mod draft;
mod quadlet;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, value};

use crate::config::{self, ConfigError, Places, Problem, Severity, Source};

use draft::Draft;
pub use draft::Note;
use quadlet::UnitFile;

/// A configuration made from other files.
#[derive(Debug)]
pub struct Imported {
    /// The text of the `config.toml`.
    pub text: String,
    /// The names of its services, in order.
    pub services: Vec<String>,
    /// The settings of the imported files that it leaves out or changes, in the order of their
    /// lines.
    pub notes: Vec<Note>,
}

/// The paths of the imported file and of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct ImportPaths<'a> {
    /// The absolute path of the imported file or folder.
    pub path: &'a Path,
    /// The folder that its relative paths start from.
    pub folder: &'a Path,
    /// The absolute path of the configuration to write.
    pub output: &'a Path,
    /// The values of the paths and variables in a configuration.
    pub places: &'a Places,
}

/// The reason that nothing can be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not valid YAML.
    #[error("`{}` is not valid YAML: {cause}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The error, with its place.
        cause: yaml::InvalidYaml,
    },
    /// The file or folder has no service.
    #[error("`{}` has no services", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
}

/// Imports a compose file.
///
/// # Errors
/// [`ImportError`]: the file is not valid YAML, or has no services.
pub fn compose(paths: &ImportPaths<'_>, text: &str) -> Result<Imported, ImportError> {
    let folder = paths.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = compose::read(text, &folder, &paths.places.variables)
        .map_err(|cause| ImportError::Yaml { path: paths.path.to_owned(), cause })?;
    finish(draft, paths)
}

/// Imports Quadlet units, given as pairs of file name and text. With `only`, just that `.container`
/// is imported; the other files are there to resolve names.
///
/// # Errors
/// [`ImportError::Empty`] if none of them is a `.container`.
pub fn quadlet(
    paths: &ImportPaths<'_>,
    files: Vec<(String, String)>,
    only: Option<&str>,
) -> Result<Imported, ImportError> {
    let files: Vec<UnitFile> = files.into_iter().map(|(name, text)| UnitFile { name, text }).collect();
    finish(quadlet::read(&files, only), paths)
}

fn finish(mut draft: Draft, paths: &ImportPaths<'_>) -> Result<Imported, ImportError> {
    if draft.services.is_empty() {
        return Err(ImportError::Empty { path: paths.path.to_owned() });
    }
    if paths.output.parent() != Some(paths.folder) {
        draft.services.iter_mut().for_each(|service| service.rebase(paths.folder));
    }
    relax_dependencies(&mut draft);
    while let Some(problem) = first_refused(&draft, paths) {
        if !take_away(&mut draft, &problem) {
            break;
        }
    }
    draft.notes.sort_by_key(|note| note.line);
    let services = draft.services.iter().map(|service| service.name.clone()).collect();
    Ok(Imported { text: text(&draft, paths), services, notes: draft.notes })
}

/// Weakens or removes dependencies that airpods cannot meet.
fn relax_dependencies(draft: &mut Draft) {
    let off: Vec<String> = draft.services.iter().filter(|service| service.is_off()).map(|s| s.name.clone()).collect();
    let asked: Vec<String> =
        draft.services.iter().filter(|service| service.has("health")).map(|s| s.name.clone()).collect();
    for service in &mut draft.services {
        for (other, how) in service.dependencies() {
            if off.contains(&other) && !service.is_off() {
                let why = format!("`{other}` is switched off, so that it is not waited for");
                let origin = service.take(&format!("depends_on.{other}"));
                draft.notes.extend(origin.map(|origin| origin.note(why)));
            } else if how == "healthy" && !asked.contains(&other) {
                let origin = service.take(&format!("depends_on.{other}"));
                service.set_in("depends_on", &other, "started");
                let why = format!("`{other}` has no health check here: it is waited for until it was started");
                draft.notes.extend(origin.map(|origin| origin.note(why)));
            }
        }
    }
    // A one-shot service that has ended is never restarted, whatever its policy was.
    for service in &mut draft.services {
        let again = ["always", "unless-stopped"].iter().any(|policy| service.has_value("restart_policy", policy));
        if again && service.has("oneshot") {
            let origin = service.unset("restart_policy");
            draft.notes.extend(
                origin.map(|origin| origin.note("not carried over: the service ends, and others wait for that")),
            );
        }
    }
}

/// The first invalid value that can be left out of the configuration.
fn first_refused(draft: &Draft, paths: &ImportPaths<'_>) -> Option<Problem> {
    let source = Source::of_file(paths.output.to_owned(), text(draft, paths));
    let Err(ConfigError::Wrong(problems)) = config::parse_in(Some(source), paths.places) else { return None };
    // `image` and `env_file` are kept: the service cannot do without an image, and the user may
    // still have to write the file.
    problems.into_iter().filter(|problem| problem.severity == Severity::Error).find(|problem| {
        let key = problem.key().and_then(|key| place(draft, key));
        key.is_some_and(|(_, key)| !matches!(key.split('.').next(), Some("image" | "env_file")))
    })
}

/// The index of the service that a key belongs to, and the key within it.
fn place<'a>(draft: &Draft, key: &'a str) -> Option<(usize, &'a str)> {
    let below = key.strip_prefix("services.")?;
    draft.services.iter().enumerate().find_map(|(index, service)| {
        let rest = below.strip_prefix(service.name.as_str())?.strip_prefix('.')?;
        Some((index, rest))
    })
}

/// Removes an invalid value and notes it; returns whether it did.
fn take_away(draft: &mut Draft, problem: &Problem) -> bool {
    let Some((index, key)) = problem.key().and_then(|key| place(draft, key)) else { return false };
    let why = problem.message.split_once("`: ").map_or(problem.message.as_str(), |(_, why)| why);
    let Some(origin) = draft.services[index].take(key) else { return false };
    draft.notes.push(origin.note(format!("not carried over: {why}")));
    true
}

fn text(draft: &Draft, paths: &ImportPaths<'_>) -> String {
    let mut document = DocumentMut::new();
    let mut meta = Table::new();
    // Without this, the built-in services would be added to those of the file.
    meta.insert("built_in_services", value(false));
    document.insert("meta", Item::Table(meta));
    let mut runtime = Table::new();
    // By default neither compose nor systemd restarts a service.
    runtime.insert("restart_policy", value("no"));
    if !draft.network.is_empty() {
        runtime.insert("network", Item::Table(draft.network.clone()));
    }
    document.insert("runtime", Item::Table(runtime));
    let mut tables = Table::new();
    tables.set_implicit(true);
    for service in &draft.services {
        tables.insert(&service.name, Item::Table(service.to_table()));
    }
    document.insert("services", Item::Table(tables));
    let source = paths.path.file_name().unwrap_or(paths.path.as_os_str()).to_string_lossy();
    format!("# Written by `airpods import` from {}.\n\n{document}", source.replace(char::is_control, "?"))
}
