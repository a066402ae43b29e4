//! Keys of the Python airpods that have no effect here. They are known, so that its files load, and a value that would have done
//! something there gives a warning.

use super::problem::Problem;
use super::section::{Section, boolean, entries, list, owned_text};

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
    // `open-webui` is told of `ollama` in any case.
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
