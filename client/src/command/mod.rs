//! The commands: one file each, which owns its arguments.

pub mod ask_inside;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod logs;
pub mod net;
pub mod start;
pub mod status;
pub mod stop;

use std::path::PathBuf;

use crate::config::{ConfigError, Environment, Loaded};

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
