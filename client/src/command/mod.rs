//! The commands, one file each. A command's file defines its arguments.

pub mod clean;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod export;
pub mod import;
pub mod logs;
pub mod net;
pub mod open;
pub mod overview;
pub mod restart;
pub mod start;
pub mod status;
pub mod stop;
mod teardown;
pub mod version;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use crate::config::{Cli, ConfigError, Environment, Loaded};
use crate::error::{Failure, Report};
use crate::podman::SecretSource;
use crate::secret::{self, Secret, SecretValues};
use crate::terminal::EscapedLine;
use crate::webui_secret::{self, SecretError};

/// The context of every command.
#[derive(Debug)]
pub struct Context {
    /// The paths that the environment gives.
    pub environment: Environment,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--verbose` alone. Use [`Context::is_verbose`], which also considers the configuration.
    pub verbose: bool,
}

impl Context {
    /// Loads the configuration and prints its warnings to stderr. If verbose, it also prints the
    /// path.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn load_config(&self) -> Result<Loaded, ConfigError> {
        Ok(self.report_warnings(crate::config::load(&self.environment, self.config.as_deref())?))
    }

    /// Loads the configuration for a start or an export. An unknown key that may have been meant to
    /// restrict a service is an error.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn load_config_to_launch(&self) -> Result<Loaded, ConfigError> {
        let loaded = crate::config::load(&self.environment, self.config.as_deref())?;
        Ok(self.report_warnings(loaded.refuse_unknown_restrictions()?))
    }

    /// The existing secret of the web UI: that of airpods, or that of the Python airpods.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn webui_secret(&self, loaded: &Loaded) -> Result<Option<Secret>, SecretError> {
        let earlier = self.environment.earlier_secret(loaded.file.as_deref());
        webui_secret::existing(self.environment.state_folder().as_deref(), earlier.as_deref())
    }

    /// The secret of the web UI. It is created if there is none, and stored.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn kept_webui_secret(&self, loaded: &Loaded) -> Result<Secret, SecretError> {
        let earlier = self.environment.earlier_secret(loaded.file.as_deref());
        webui_secret::load_or_create(self.environment.state_folder().as_deref(), earlier.as_deref())
    }

    /// The known values of these secrets. No secret is created.
    #[must_use]
    pub fn known_secrets(&self, loaded: &Loaded, sources: BTreeSet<SecretSource>) -> SecretValues {
        let value =
            |source: SecretSource| Some((secret_from(&source, || self.webui_secret(loaded)).ok().flatten()?, source));
        sources.into_iter().filter_map(value).collect()
    }

    /// The values of these secrets. The web UI's is created if there is none. A `known` value is
    /// not read again, so that the container gets the value that was compared and shown.
    ///
    /// # Errors
    /// [`SecretError`], or a file whose value cannot be used.
    pub fn kept_secrets(
        &self,
        loaded: &Loaded,
        sources: BTreeSet<SecretSource>,
        known: &SecretValues,
    ) -> Result<SecretValues, Failure> {
        let value = |source: SecretSource| {
            // Store the web UI's secret even if it is known: it may still be that of the Python
            // airpods.
            let kept = match source {
                SecretSource::WebUi => Some(self.kept_webui_secret(loaded)?),
                _ => None,
            };
            let value = match known.get(&source).cloned().or(kept) {
                None => secret_from(&source, || Ok(None))?,
                value => value,
            };
            Ok(value.map(|value| (value, source)))
        };
        sources.into_iter().map(value).filter_map(Result::transpose).collect()
    }

    fn report_warnings(&self, loaded: Loaded) -> Loaded {
        loaded.print_warnings(&mut anstream::stderr());
        if self.is_verbose(&loaded.config.cli) {
            let file = loaded.file.as_ref().map_or("built-in defaults".into(), |file| file.to_string_lossy());
            // A closed stderr is no failure.
            let _ = writeln!(anstream::stderr(), "configuration: {}", EscapedLine(&file));
        }
        loaded
    }

    /// Whether to print more: `--verbose`, `cli.verbose` or `cli.debug`.
    #[must_use]
    pub fn is_verbose(&self, cli: &Cli) -> bool {
        self.verbose || cli.verbose || cli.debug
    }

    /// The same for a command that also works with an invalid configuration.
    #[must_use]
    pub fn is_verbose_without_config(&self) -> bool {
        let loaded = || crate::config::load(&self.environment, self.config.as_deref());
        self.verbose || loaded().is_ok_and(|loaded| self.is_verbose(&loaded.config.cli))
    }
}

/// The value from a source; none if only podman has it. `web_ui` reads the web UI's.
fn secret_from(
    source: &SecretSource,
    web_ui: impl FnOnce() -> Result<Option<Secret>, SecretError>,
) -> Result<Option<Secret>, Failure> {
    Ok(match source {
        SecretSource::WebUi => web_ui()?,
        SecretSource::File(path) => Some(secret::read(path)?),
        SecretSource::Podman(_) => None,
    })
}

/// The user named a service that has no container.
#[derive(Debug, thiserror::Error)]
#[error("the service `{0}` was never started")]
struct NeverStarted(String);

impl Report for NeverStarted {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(format!("start it with `airpods start {}`", self.0).into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_that_was_compared_is_given_though_its_file_has_changed_since() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let write = |value: &str| {
            std::fs::write(&path, value).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        };
        let environment = Environment { home: Some(folder.path().to_owned()), ..Environment::default() };
        let context = Context { environment, config: None, verbose: false };
        let loaded = context.load_config().unwrap();
        let sources: BTreeSet<SecretSource> = [SecretSource::File(path.clone())].into();
        write("sk-1");
        let known = context.known_secrets(&loaded, sources.clone());
        write("sk-2");
        let given = |known: &SecretValues| {
            let kept = context.kept_secrets(&loaded, sources.clone(), known).unwrap();
            kept.get(&SecretSource::File(path.clone())).unwrap().expose().to_owned()
        };
        assert_eq!(given(&known), "sk-1");
        assert_eq!(given(&SecretValues::default()), "sk-2");
    }
}
