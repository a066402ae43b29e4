//! Which services a command is about: those that were named, of the configuration or of what is left of an earlier one.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::label::{NETWORK, service_of};
use super::{Observed, Replaced};
use crate::config::{Config, Service, ServiceName};
use crate::error::Report;
use crate::exit::Exit;
use crate::podman::{Container, ContainerState};

/// A service was named that is not in the configuration, or must not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownService {
    /// There is none of this name.
    #[error("there is no service `{name}` in the configuration")]
    Unknown {
        /// The name given.
        name: String,
        /// The name of a service that looks like it.
        nearest: Option<String>,
    },
    /// It is switched off.
    #[error("the service `{0}` is switched off: `services.{0}.enabled` is false")]
    Disabled(String),
}

impl Report for UnknownService {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unknown { nearest, .. } => nearest.as_ref().map(|name| format!("did you mean `{name}`?").into()),
            Self::Disabled(name) => Some(format!("set `services.{name}.enabled = true` to use it").into()),
        }
    }
}

/// The services named, in the configuration's order; every enabled one when none is named.
///
/// `disabled` allows services that are switched off: they can be stopped and looked at, not started.
pub fn chosen<'a>(
    config: &'a Config,
    names: &[String],
    disabled: bool,
) -> Result<Vec<(&'a ServiceName, &'a Service)>, UnknownService> {
    for name in names {
        let known = config.services.iter().find(|(known, _)| known.as_str() == name);
        match known {
            None => return Err(UnknownService::Unknown { name: name.clone(), nearest: nearest(config, name) }),
            Some((_, service)) if !service.enabled && !disabled => {
                return Err(UnknownService::Disabled(name.clone()));
            }
            Some(_) => {}
        }
    }
    let asked = |name: &ServiceName| names.iter().any(|asked| asked == name.as_str());
    let wanted = |name: &ServiceName, service: &Service| {
        if names.is_empty() { service.enabled || disabled } else { asked(name) }
    };
    Ok(config.services.iter().filter(|(name, service)| wanted(name, service)).collect())
}

/// The service whose name is closest, if any is close.
fn nearest(config: &Config, name: &str) -> Option<String> {
    let distances = config.services.keys().map(|known| (strsim::damerau_levenshtein(known.as_str(), name), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.as_str().len().div_ceil(3)).then(|| known.to_string())
}

/// The services that can be looked at and ended: also those that were taken out of the configuration, as long as their containers
/// are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Present<'a> {
    /// Those of the configuration, in its order, those that are switched off too.
    pub services: Vec<(&'a ServiceName, &'a Service)>,
    /// The containers of those that are not in it.
    pub leftover: Vec<&'a Container>,
}

impl<'a> Present<'a> {
    /// The services named; all when none is named.
    ///
    /// # Errors
    /// A name that neither the configuration nor a container has.
    pub fn of(config: &'a Config, names: &[String], containers: &'a [Container]) -> Result<Self, UnknownService> {
        let mut leftover: Vec<&Container> =
            containers.iter().filter(|container| is_left_over(config, container)).collect();
        if names.is_empty() {
            return Ok(Self { services: chosen(config, names, true)?, leftover });
        }
        leftover.retain(|container| names.iter().any(|name| service_of(&container.labels) == Some(name)));
        let is_left = |name: &&String| leftover.iter().any(|container| service_of(&container.labels) == Some(name));
        let configured: Vec<String> = names.iter().filter(|name| !is_left(name)).cloned().collect();
        let services = if configured.is_empty() { Vec::new() } else { chosen(config, &configured, true)? };
        Ok(Self { services, leftover })
    }

    /// The same without what is not in the configuration: somebody else's may have the same network.
    #[must_use]
    pub fn configured(self) -> Self {
        Self { leftover: Vec::new(), ..self }
    }

    /// The services that are not in the configuration.
    #[must_use]
    pub fn leftover_services(&self) -> BTreeSet<&'a str> {
        self.leftover.iter().filter_map(|container| service_of(&container.labels)).collect()
    }
}

/// The services that are not in the configuration and run on when this has been made anew, a sentence each.
#[must_use]
pub fn left_running(config: &Config, observed: &Observed, replaced: &[Replaced]) -> Vec<String> {
    let goes = |container: &Container| replaced.iter().any(|replaced| replaced.stops.contains(&container.name));
    let stays = observed.containers.iter().filter(|container| {
        container.state == ContainerState::Running && is_left_over(config, container) && !goes(container)
    });
    let services: BTreeSet<&str> = stays.filter_map(|container| service_of(&container.labels)).collect();
    let told = |name| format!("`{name}` runs and is not in the configuration; `airpods stop {name}` ends it");
    services.into_iter().map(told).collect()
}

/// Whether a container of ours runs a service that is not in the configuration. What is of another network is another
/// configuration's business; of a container that does not tell its network that is not known.
fn is_left_over(config: &Config, container: &Container) -> bool {
    let network = container.labels.get(NETWORK).or(container.networks.first());
    service_of(&container.labels).is_some_and(|service| !config.services.contains_key(service))
        && network.is_none_or(|network| network == config.runtime.network_name.as_str())
}
