//! Which service uses which, so that one is started after those that it uses.

use std::collections::{BTreeMap, BTreeSet};

use super::Launch;
use super::desired::names;
use crate::config::{Condition, Config, Service, ServiceName};

/// The services that this one uses, and how far each must have come: those that it says it depends on, and those whose name on the
/// network is the host of a URL in its environment.
pub(super) fn uses(config: &Config, name: &ServiceName, service: &Service) -> BTreeMap<String, Condition> {
    let hosts: BTreeSet<&str> = service.env.values().flat_map(|value| hosts(value)).collect();
    let others = config.enabled().filter(|(other, _)| *other != name);
    let by_name = others
        .filter(|(other_name, other)| {
            let container = other.container.to_string();
            hosts.contains(container.as_str())
                || names(other_name, other).iter().any(|alias| hosts.contains(alias.as_str()))
        })
        .map(|(other, _)| (other.to_string(), Condition::Started));
    let said = service.depends_on.iter().map(|(other, condition)| (other.to_string(), *condition));
    by_name.chain(said).collect()
}

/// The hosts that a variable's value may name: those of its URLs, and the whole if it reads like a host, with or without a port.
pub(super) fn hosts(value: &str) -> impl Iterator<Item = &str> {
    let in_urls = urls(value).map(|(_, authority)| authority);
    in_urls.chain([value]).map(|authority| authority.split(':').next().unwrap_or_default())
}

/// The scheme of each URL in a variable's value, and its authority without a user (RFC 3986, section 3).
pub(crate) fn urls(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let no_scheme = |c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c));
    value.split("://").zip(value.split("://").skip(1)).map(move |(before, rest)| {
        let scheme = before.rsplit(no_scheme).next().unwrap_or_default();
        let authority = rest.split(['/', '?', '#', ' ', ',', ';']).next().unwrap_or_default();
        (scheme, authority.rsplit('@').next().unwrap_or_default())
    })
}

/// The launches, each behind those that it uses; where they use each other in a circle, as they come.
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
