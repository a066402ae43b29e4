//! Compatibility with files of the Python airpods. Its keys without effect here are known, so that
//! its files load. A value that did something there gives a warning. Its services are on the host's
//! network and listen on their port of the host. On its own network a service must listen on the
//! container's port instead.

use super::model::Config;
use super::problem::{Problem, Problems};
use super::section::{Section, boolean, entries, list, owned_text};
use super::service::{NetworkMode, Service};
use super::tree::Table;

pub(super) fn runtime(section: &Section<'_>) {
    if section.optional("comfyui_provider", owned_text).is_some_and(|provider| provider != "auto") {
        warn(section, "comfyui_provider", "name the image that you want");
    }
}

pub(super) fn cli(section: &Section<'_>) {
    if section.optional("plugin_owner", owned_text).is_some_and(|owner| owner != "auto") {
        warn(section, "plugin_owner", "plugins are for the service itself to install");
    }
}

pub(super) fn dependencies(section: &Section<'_>) {
    section.optional("runtime_deps", |node| entries(node, |_, node| list(owned_text)(node)));
}

pub(super) fn service(section: &Section<'_>) {
    if section.optional("default_model_url", owned_text).is_some() {
        warn(section, "default_model_url", "no model is downloaded: put it where the service looks for it");
    }
    // `open-webui` gets the address of `ollama` in any case.
    section.optional("auto_configure_ollama", boolean);
    if section.optional("cuda_override", owned_text).is_some_and(|version| version != "auto") {
        warn(section, "cuda_override", "name the image that you want");
    }
    if section.optional("custom_nodes", |node| entries(node, |_, _| Ok(()))).is_some_and(|nodes| !nodes.is_empty()) {
        warn(
            section,
            "custom_nodes",
            "nodes that were installed are found in their volume; new ones are for ComfyUI to install",
        );
    }
    if !section.list_or("auto_pull_models", Vec::new(), list(owned_text)).is_empty() {
        warn(
            section,
            "auto_pull_models",
            "pull models in the service, such as by `podman exec ollama-0 ollama pull NAME`",
        );
    }
}

fn warn(section: &Section<'_>, key: &'static str, instead: &str) {
    let warning = Problem::warning(format!("`{}` has no effect", section.place(key)));
    section.push(warning.at(section.at(key).cloned()).hint(instead));
}

/// The variable and the option that set the port to listen on.
const VARIABLE: &str = "PORT";
const OPTION: &str = "--port";

/// If exactly that template makes a service listen on its own port of the host, replaces it by the
/// container's port.
pub(super) fn take_container_port(config: &mut Config, tree: &Table, problems: &Problems) {
    for (name, service) in &mut config.services {
        let mut replaced = Vec::new();
        if let Some(port) = service.env.get(VARIABLE).and_then(|text| container_port(name.as_str(), service, text)) {
            service.env.insert(VARIABLE.to_owned(), port.template.clone());
            replaced.push((format!("services.{name}.env.{VARIABLE}"), port));
        }
        let words = service.command_args.as_ref().filter(|_| tree.is_table(&format!("services.{name}.command_args")));
        let after = words.and_then(|words| words.iter().position(|word| word == OPTION)).map(|at| at + 1);
        let found = after
            .zip(words)
            .and_then(|(at, words)| Some((at, container_port(name.as_str(), service, words.get(at)?)?)));
        if let (Some((at, port)), Some(words)) = (found, &mut service.command_args) {
            words[at].clone_from(&port.template);
            replaced.push((format!("services.{name}.command_args.port"), port));
        }
        for (place, ContainerPort { template, number }) in replaced {
            let warning = Problem::warning(format!(
                "`{place}` is the port of the host, which only a service on the host's network listens on: taken as the container's, {number}"
            ));
            problems.push(warning.at(tree.locate(&place).cloned()).hint(format!("write `{template}`")));
        }
    }
}

struct ContainerPort {
    template: String,
    number: u16,
}

fn container_port(name: &str, service: &Service, text: &str) -> Option<ContainerPort> {
    let path = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let index = path.strip_prefix("services.")?.strip_prefix(name)?.strip_prefix(".ports.")?.strip_suffix(".host")?;
    let mapping = service.ports.get(index.parse::<usize>().ok()?)?;
    let differs = service.network_mode == NetworkMode::Pod && mapping.host != mapping.container;
    differs.then(|| ContainerPort {
        template: format!("{{{{services.{name}.ports.{index}.container}}}}"),
        number: mapping.container.first().get(),
    })
}
