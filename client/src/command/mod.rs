//! The commands: one file each, which owns its arguments.

pub mod ask_inside;
pub mod completions;
pub mod config;
pub mod doctor;
mod ending;
pub mod logs;
pub mod net;
pub mod restart;
pub mod start;
pub mod status;
pub mod stop;
pub mod version;

use std::borrow::Cow;
use std::path::PathBuf;

use crate::config::{Cli, ConfigError, Environment, Loaded};
use crate::error::Report;

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// What the environment says about where things are.
    pub environment: Environment,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--verbose`.
    pub verbose: bool,
}

impl Context {
    /// Whether every step is told: by `--verbose`, or as configured.
    #[must_use]
    pub fn tells_all(&self, cli: &Cli) -> bool {
        self.verbose || cli.verbose || cli.debug
    }

    /// Loads the configuration and tells its warnings on stderr.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem there is.
    pub fn load_config(&self) -> Result<Loaded, ConfigError> {
        let loaded = crate::config::load(&self.environment, self.config.as_deref())?;
        loaded.tell_warnings(&mut anstream::stderr());
        Ok(loaded)
    }
}

/// A service that is named has no container.
#[derive(Debug, thiserror::Error)]
#[error("the service `{0}` was never started")]
struct NeverStarted(String);

impl Report for NeverStarted {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(format!("start it with `airpods start {}`", self.0).into())
    }
}
