//! Selects the services of a command, from the configuration or from leftover containers. Finds out
//! which service uses which, so that each starts after those it uses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::desired::names;
use super::label::{NETWORK, service_of};
use super::{Launch, Observed, Replaced};
use crate::config::{Condition, Config, Service, ServiceName};
use crate::error::{Exit, Report};
use crate::podman::{Container, ContainerState};

/// The user named a service that is not in the configuration or must not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownService {
    /// No service has this name.
    #[error("there is no service `{name}` in the configuration")]
    Unknown {
        /// The given name.
        name: String,
        /// The service with the most similar name.
        nearest: Option<String>,
    },
    /// The service is disabled.
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

/// The named services in the configuration's order. Without names, every enabled service, or every
/// service if `disabled` is set.
///
/// `disabled` allows disabled services: they can be stopped and inspected, not started.
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

/// The service with the most similar name, if one is similar enough.
fn nearest(config: &Config, name: &str) -> Option<String> {
    let distances = config.services.keys().map(|known| (strsim::damerau_levenshtein(known.as_str(), name), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.as_str().len().div_ceil(3)).then(|| known.to_string())
}

/// The services that can be inspected and stopped, including removed ones whose containers still
/// exist.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Present<'a> {
    /// The configured services in their order, including disabled ones.
    pub services: Vec<(&'a ServiceName, &'a Service)>,
    /// The containers of services that are not in the configuration.
    pub leftover: Vec<&'a Container>,
}

impl<'a> Present<'a> {
    /// The named services; all if no name is given.
    ///
    /// # Errors
    /// A name belongs neither to the configuration nor to a container.
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

    /// The same without leftover containers: those may belong to another configuration with the
    /// same network.
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

/// Reports services that are not in the configuration and keep running after the replacements, a
/// sentence each.
#[must_use]
pub fn left_running(config: &Config, observed: &Observed, replaced: &[Replaced]) -> Vec<String> {
    let goes = |container: &Container| replaced.iter().any(|replaced| replaced.stops.contains(&container.name));
    let stays = observed.containers.iter().filter(|container| {
        container.state == ContainerState::Running && is_left_over(config, container) && !goes(container)
    });
    let services: BTreeSet<&str> = stays.filter_map(|container| service_of(&container.labels)).collect();
    let warning = |name| format!("`{name}` runs and is not in the configuration; `airpods stop {name}` ends it");
    services.into_iter().map(warning).collect()
}

/// Whether a container of ours belongs to a service that is not in the configuration. A container
/// on another network belongs to another configuration. One whose network is unknown may belong to
/// this one, and counts.
fn is_left_over(config: &Config, container: &Container) -> bool {
    let network = container.labels.get(NETWORK).or(container.networks.first());
    service_of(&container.labels).is_some_and(|service| !config.services.contains_key(service))
        && network.is_none_or(|network| network == config.runtime.network_name.as_str())
}

/// The services that this one uses, with the condition that each must meet. They are those in
/// `depends_on`, and those whose name on the network is a host in its environment. A user or a
/// database may have the name of a service, so one that depends on this one is none of the latter.
pub(super) fn uses(config: &Config, name: &ServiceName, service: &Service) -> BTreeMap<String, Condition> {
    let hosts: BTreeSet<&str> = service.env.values().flat_map(|value| hosts(value)).collect();
    let has_host = |other_name: &ServiceName, other: &Service| {
        let container = other.container.to_string();
        hosts.contains(container.as_str())
            || names(other_name, other).iter().any(|alias| hosts.contains(alias.as_str()))
    };
    let by_name = config
        .enabled()
        .filter(|(other_name, other)| {
            *other_name != name && has_host(other_name, other) && !depends(config, other, name)
        })
        .map(|(other, _)| (other.to_string(), Condition::Started));
    let configured = service.depends_on.iter().map(|(other, condition)| (other.to_string(), *condition));
    by_name.chain(configured).collect()
}

/// Whether a service depends on another by `depends_on`, directly or through others.
fn depends(config: &Config, service: &Service, on: &ServiceName) -> bool {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&ServiceName> = service.depends_on.keys().collect();
    while let Some(name) = next.pop() {
        if name == on {
            return true;
        }
        if seen.insert(name) {
            next.extend(config.services.get(name).into_iter().flat_map(|service| service.depends_on.keys()));
        }
    }
    false
}

/// The possible hosts in a variable's value: those of its URLs, and the whole value without its
/// port.
pub(super) fn hosts(value: &str) -> impl Iterator<Item = &str> {
    let in_urls = urls(value).map(|(_, authority)| authority);
    in_urls.chain([value]).map(|authority| authority.split(':').next().unwrap_or_default())
}

/// The scheme and the authority without the user of each URL in a variable's value (RFC 3986,
/// section 3).
pub(crate) fn urls(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let no_scheme = |c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c));
    value.split("://").zip(value.split("://").skip(1)).map(move |(before, rest)| {
        let scheme = before.rsplit(no_scheme).next().unwrap_or_default();
        let authority = rest.split(['/', '?', '#', ' ', ',', ';']).next().unwrap_or_default();
        (scheme, authority.rsplit('@').next().unwrap_or_default())
    })
}

/// The launches, each after those that it uses. In a cycle the given order decides.
pub(crate) fn ordered<'a>(launches: &[&'a Launch]) -> Vec<&'a Launch> {
    let mut ordered = Vec::new();
    let mut visited = BTreeSet::new();
    for launch in launches {
        visit(launch, launches, &mut visited, &mut ordered);
    }
    ordered
}

fn visit<'a>(
    launch: &'a Launch,
    launches: &[&'a Launch],
    visited: &mut BTreeSet<&'a str>,
    ordered: &mut Vec<&'a Launch>,
) {
    if !visited.insert(&launch.service) {
        return;
    }
    for used in launches.iter().filter(|other| launch.uses.contains_key(&other.service)) {
        visit(used, launches, visited, ordered);
    }
    ordered.push(launch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_the_hosts_of_its_urls_and_itself() {
        for (text, found) in [
            ("http://ollama:11434", "ollama"),
            ("postgres://me:pass@db/x?y", "db"),
            ("a=http://one, b=http://two:2/", "two"),
            ("ollama:11434", "ollama"),
        ] {
            assert!(hosts(text).any(|host| host == found), "{text}");
        }
        assert!(!hosts("http://other/ollama").any(|host| host == "ollama"));
    }
}
