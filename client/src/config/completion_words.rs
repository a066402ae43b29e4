//! The words of a configuration, for completing a command line. A file with errors gives words,
//! too.

use std::path::Path;

use super::places::Places;
use super::problem::Problems;
use super::tree::{Table, Value};
use super::{DEFAULTS, Environment, ServiceName, Source, find, read_config};

/// The names and keys of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionWords {
    /// The services, in the order of the configuration.
    pub services: Vec<String>,
    /// The keys of single values, including those that are not set.
    pub keys: Vec<String>,
}

/// Reads the file that [`super::load`] would read, as far as possible; `option` is `--config`. If
/// there is none, or it is not TOML, the words are those of the defaults.
#[must_use]
pub fn completion_words(environment: &Environment, option: Option<&Path>) -> CompletionWords {
    let file = find(environment, option).ok().flatten();
    CompletionWords::of(file.map(|(_, text)| text).as_deref())
}

impl CompletionWords {
    fn of(text: Option<&str>) -> Self {
        let Ok(mut tree) = Table::parse(&Source::built_in(DEFAULTS)) else { return Self::default() };
        if let Some(Ok(over)) = text.map(|text| Table::parse(&Source::built_in(text))) {
            tree.overlay(over);
        }
        let problems = Problems::default();
        read_config(&tree, &Places::default(), &problems);
        let asked_for = problems.into_keys();
        let has_parts = |key: &String| {
            let below = format!("{key}.");
            asked_for.iter().any(|other| other.starts_with(&below))
        };
        // A volume may have any name. A name that needs quotes is left out, since the shell would
        // have to quote it again.
        let is_plain = |key: &String| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let mut keys: Vec<String> = asked_for.iter().filter(|key| is_plain(key) && !has_parts(key)).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        Self { services: services(&tree), keys }
    }
}

fn services(tree: &Table) -> Vec<String> {
    let Some(Value::Table(services)) = tree.get("services").map(|node| &node.value) else { return Vec::new() };
    services.iter().filter(|(name, _)| name.parse::<ServiceName>().is_ok()).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: [&str; 3] = ["ollama", "open-webui", "comfyui"];

    #[test]
    fn services_are_those_of_the_file_and_the_built_in_ones() {
        let named = CompletionWords::of(Some("[services.whisper]\nimage = 'x'\n[services.ollama]\nenabled = false\n"));
        assert_eq!(named.services, [&BUILT_IN[..], &["whisper"]].concat());
    }

    #[test]
    fn a_wrong_file_still_has_words_and_one_that_is_not_toml_leaves_the_built_in_ones() {
        let wrong = CompletionWords::of(Some("cli.log_lines = 'many'\n[services.whisper]\n[services.'a b']\n"));
        assert_eq!(wrong.services.last().map(String::as_str), Some("whisper"));
        assert!(wrong.keys.contains(&"services.whisper.image".to_owned()), "{:?}", wrong.keys);
        assert_eq!(CompletionWords::of(Some("[services.whisper")), CompletionWords::of(None));
        assert_eq!(CompletionWords::of(Some("services = 3")).services, [""; 0]);
        assert_eq!(CompletionWords::of(None).services, BUILT_IN);
    }

    #[test]
    fn keys_are_those_of_single_values_set_or_not() {
        let keys = CompletionWords::of(None).keys;
        let has = |key: &str| keys.iter().any(|found| found == key);
        for key in ["cli.log_lines", "runtime.network.mtu", "services.ollama.ports.0.host", "services.ollama.pod"] {
            assert!(has(key), "{key}: {keys:?}");
        }
        let hostile =
            CompletionWords::of(Some("services.ollama.volumes.\"\\u001b[31m\" = { source = 'a', target = '/b' }"));
        assert!(!hostile.keys.iter().any(|key| key.contains('\u{1b}')), "{hostile:?}");
        assert!(!has("runtime.network") && !has("services") && !has("services.ollama.ports"), "{keys:?}");
    }
}
