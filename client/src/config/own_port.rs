//! A service of the Python airpods listens on its port of the host, because it is on the host's network. On a network of its own
//! it has to listen on the container's port, to which the host's leads.

use super::model::{Config, NetworkMode, Service};
use super::problem::{Problem, Problems};
use super::tree::Table;

/// The variable and the option that say where to listen.
const VARIABLE: &str = "PORT";
const OPTION: &str = "--port";

/// Where a service is told to listen on its own port of the host, by exactly that template, takes the container's.
pub(super) fn mend(config: &mut Config, tree: &Table, problems: &Problems) {
    for (name, service) in &mut config.services {
        let mut told = Vec::new();
        if let Some(port) = service.env.get(VARIABLE).and_then(|text| container_port(name.as_str(), service, text)) {
            service.env.insert(VARIABLE.to_owned(), port.template.clone());
            told.push((format!("services.{name}.env.{VARIABLE}"), port));
        }
        let words = service.command_args.as_ref().filter(|_| tree.is_table(&format!("services.{name}.command_args")));
        let after = words.and_then(|words| words.iter().position(|word| word == OPTION)).map(|at| at + 1);
        let found = after
            .zip(words)
            .and_then(|(at, words)| Some((at, container_port(name.as_str(), service, words.get(at)?)?)));
        if let (Some((at, port)), Some(words)) = (found, &mut service.command_args) {
            words[at].clone_from(&port.template);
            told.push((format!("services.{name}.command_args.port"), port));
        }
        for (place, Port { template, number }) in told {
            let warning = Problem::warning(format!(
                "`{place}` is the port of the host, which only a service on the host's network listens on: taken as the container's, {number}"
            ));
            problems.push(warning.at(tree.locate(&place).cloned()).hint(format!("write `{template}`")));
        }
    }
}

struct Port {
    template: String,
    number: u16,
}

fn container_port(name: &str, service: &Service, text: &str) -> Option<Port> {
    let path = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let index = path.strip_prefix("services.")?.strip_prefix(name)?.strip_prefix(".ports.")?.strip_suffix(".host")?;
    let mapping = service.ports.get(index.parse::<usize>().ok()?)?;
    let differs = service.network_mode == NetworkMode::Pod && mapping.host != mapping.container;
    differs.then(|| Port {
        template: format!("{{{{services.{name}.ports.{index}.container}}}}"),
        number: mapping.container.first().get(),
    })
}
