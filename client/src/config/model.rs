//! The whole configuration as values that have been checked, each on its own and against the rest.
//! It also reads the tables other than `[runtime]` and those of services.

use indexmap::IndexMap;
use serde::Serialize;

use super::name::ServiceName;
use super::quantity::{ConcurrentPulls, LogLines, StartupTimeout, StopTimeout};
use super::runtime::{NetworkDriver, Runtime};
use super::section::{Section, boolean, list, number, owned_text, whole};
use super::service::{NetworkMode, Service};
use super::{earlier, template};
use crate::port::HostPort;

/// Everything that can be configured. Serialized, it is a `config.toml` that loads to the same
/// value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// `[meta]`
    pub meta: Meta,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[cli]`
    pub cli: Cli,
    /// `[dependencies]`
    #[serde(skip_serializing_if = "Dependencies::is_default")]
    pub dependencies: Dependencies,
    /// `[services.NAME]`, in the order of the built-in defaults and then of the file. Disabled ones
    /// are here too.
    pub services: IndexMap<ServiceName, Service>,
}

impl Config {
    /// The services that are enabled, in order.
    pub fn enabled(&self) -> impl Iterator<Item = (&ServiceName, &Service)> {
        self.services.iter().filter(|(_, service)| service.enabled)
    }

    /// The configuration as it is written in a file: a text that would be read as a variable or a
    /// template is escaped.
    ///
    /// # Errors
    /// A value that TOML cannot express.
    pub fn written(&self) -> Result<toml::Value, toml::ser::Error> {
        let mut value = toml::Value::try_from(self)?;
        let services = value.get_mut("services").and_then(toml::Value::as_table_mut);
        for (_, service) in services.into_iter().flatten() {
            let env = service.get_mut("env").and_then(toml::Value::as_table_mut);
            for (_, text) in env.into_iter().flatten() {
                each_text(text, template::literal);
            }
            each_text(service, template::literal_dollars);
        }
        Ok(value)
    }

    /// Whether a service answers on ports of the host. With its own link on the network (macvlan,
    /// ipvlan) it has its own address instead, and podman publishes nothing.
    #[must_use]
    pub fn is_published(&self, service: &Service) -> bool {
        service.network_mode == NetworkMode::Host || self.runtime.network.driver == NetworkDriver::Bridge
    }

    /// The port by which the host reaches a service: its first TCP port, if it answers on one.
    #[must_use]
    pub fn reached_by(&self, service: &Service) -> Option<HostPort> {
        service.host_ports().find(|port| port.protocol.is_tcp()).filter(|_| self.is_published(service))
    }
}

/// Changes every text within a value.
fn each_text(value: &mut toml::Value, change: fn(&str) -> String) {
    match value {
        toml::Value::String(text) => *text = change(text),
        toml::Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, item)| each_text(item, change)),
        _ => {}
    }
}

/// For serde, which leaves out a switch that is off.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(super) fn is_false(on: &bool) -> bool {
    !on
}

/// The settings about the file itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Meta {
    /// The version of the file's format; any text, today.
    pub version: String,
    /// Whether the built-in services are loaded, for the file to change or to leave as they are.
    pub built_in_services: bool,
}

/// Programs that `airpods doctor` looks for, in addition to those that airpods itself needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dependencies {
    /// `doctor` reports a missing one as broken.
    pub required: Vec<String>,
    /// `doctor` reports a missing one as a note.
    pub optional: Vec<String>,
    /// Look for none of them.
    pub skip_checks: bool,
}

impl Dependencies {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the command behaves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cli {
    /// Seconds that a container has to stop before it is killed.
    pub stop_timeout: StopTimeout,
    /// The default number of log lines to show.
    pub log_lines: LogLines,
    /// Time limit of one health check, in seconds (0.1 to 60).
    pub ping_timeout: f64,
    /// Time that a service has to become healthy, in seconds.
    pub startup_timeout: StartupTimeout,
    /// Time between two health checks during a start, in seconds (0.5 to 10).
    pub startup_check_interval: f64,
    /// Images pulled at the same time.
    pub max_concurrent_pulls: ConcurrentPulls,
    /// Confirms every question in advance.
    pub auto_confirm: bool,
    /// Print more details, as `--verbose` does.
    pub verbose: bool,
    /// The same as `verbose`.
    pub debug: bool,
}

/// Reads `[meta]`.
pub(super) fn meta(root: &Section<'_>) -> Option<Meta> {
    let section = root.section("meta")?;
    let version = section.required("version", owned_text);
    let built_in_services = section.required("built_in_services", boolean);
    section.finish();
    Some(Meta { version: version?, built_in_services: built_in_services? })
}

/// Reads `[dependencies]`.
pub(super) fn dependencies(root: &Section<'_>) -> Dependencies {
    let Some(section) = root.section("dependencies") else { return Dependencies::default() };
    let dependencies = Dependencies {
        required: section.list_or("required", Vec::new(), list(owned_text)),
        optional: section.list_or("optional", Vec::new(), list(owned_text)),
        skip_checks: section.or("skip_checks", false, boolean),
    };
    earlier::dependencies(&section);
    section.finish();
    dependencies
}

/// Reads `[cli]`.
pub(super) fn cli(root: &Section<'_>) -> Option<Cli> {
    let section = root.section("cli")?;
    let stop_timeout = section.required("stop_timeout", whole);
    let log_lines = section.required("log_lines", whole);
    let ping_timeout = section.required("ping_timeout", number(0.1, 60.0));
    let startup_timeout = section.required("startup_timeout", whole);
    let startup_check_interval = section.required("startup_check_interval", number(0.5, 10.0));
    let max_concurrent_pulls = section.required("max_concurrent_pulls", whole);
    let auto_confirm = section.required("auto_confirm", boolean);
    let verbose = section.required("verbose", boolean);
    let debug = section.required("debug", boolean);
    earlier::cli(&section);
    section.finish();
    Some(Cli {
        stop_timeout: stop_timeout?,
        log_lines: log_lines?,
        ping_timeout: ping_timeout?,
        startup_timeout: startup_timeout?,
        startup_check_interval: startup_check_interval?,
        max_concurrent_pulls: max_concurrent_pulls?,
        auto_confirm: auto_confirm?,
        verbose: verbose?,
        debug: debug?,
    })
}
