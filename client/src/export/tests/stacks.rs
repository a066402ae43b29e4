//! The exports of the configurations in `tests/stacks`: no key is lost without a word.

use airpods_lab::stacks::{Stack, stacks};

use super::*;
use crate::config::{Condition, ConfigError, Environment, Loaded, Source};
use crate::gpu::Gpus;

/// Keys whose removal changes no file, each with the reason.
const WITHOUT_EFFECT: [(&str, &str); 4] = [
    ("restart_policy", "systemd and Kubernetes know no difference between `always` and `unless-stopped`"),
    ("health.start_period", "a pod that is not ready is not restarted, so nothing has to be spared"),
    ("depends_on", "a URL in `env` may name the same service; the test below judges it"),
    ("enabled", "nothing of a disabled service is exported"),
];

/// The same stack with another text.
fn load(stack: &Stack, text: String) -> Result<Loaded, ConfigError> {
    let environment = Environment { home: Some("/home/alice".into()), ..Environment::default() };
    let places = environment.places(Some(&stack.path))?;
    crate::config::parse_in(Some(Source::of_file(stack.path.clone(), text)), &places)
}

fn whole(stack: &Stack) -> Config {
    load(stack, stack.text.clone()).unwrap_or_else(|error| panic!("{}: {error:?}", stack.name)).config
}

/// Both exports of a configuration, for a machine whose GPUs are none of those that it names.
fn both(config: &Config) -> [Export; 2] {
    let gpu = Gpus { class: Some("intel.com/gpu".to_owned()), ..Gpus::default() };
    let set = ExportSet::of(config, &[], &HostContext { gpu, ..HostContext::default() }).unwrap();
    [quadlet::export(&set), kube::export(&set, Workload::Pod)]
}

/// The paths of the values of a table, arrays being values.
fn paths(table: &toml::Table, above: &[&str]) -> Vec<Vec<String>> {
    let of_one = |(key, value): (&String, &toml::Value)| {
        let path: Vec<&str> = above.iter().copied().chain([key.as_str()]).collect();
        match value.as_table() {
            Some(below) => paths(below, &path),
            None => vec![path.into_iter().map(str::to_owned).collect()],
        }
    };
    table.iter().flat_map(of_one).collect()
}

fn without(table: &toml::Table, path: &[String]) -> toml::Table {
    let mut table = table.clone();
    let (last, above) = path.split_last().unwrap();
    let holder = above.iter().try_fold(&mut table, |table, key| table.get_mut(key)?.as_table_mut());
    holder.unwrap().remove(last);
    table
}

/// Whether the files do not depend on a key, and no warning names it.
fn is_lost(service: &str, key: &str, with: &Export, without: &Export) -> bool {
    let place = format!("services.{service}.{key}");
    let differs = |warning: &String| !without.warnings.contains(warning) && warning.contains(key);
    with.files == without.files && !with.warnings.iter().any(|warning| warning.contains(&place) || differs(warning))
}

#[test]
fn every_key_of_a_stack_is_in_an_export_or_named_in_its_warnings() {
    let (mut lost, mut tried) = (Vec::new(), 0);
    for stack in stacks().unwrap() {
        let table: toml::Table = stack.text.parse().unwrap();
        let config = whole(&stack);
        let exported = both(&config);
        let counts = |path: &Vec<String>| {
            let key = path[2..].join(".");
            path[0] == "services" && !WITHOUT_EFFECT.iter().any(|(without, _)| key.starts_with(without))
        };
        for path in paths(&table, &[]).into_iter().filter(counts) {
            // A service needs its image, and others may need its other keys.
            let Ok(less) = load(&stack, toml::to_string(&without(&table, &path)).unwrap()) else { continue };
            // Some repeat what is built in.
            if less.config == config {
                continue;
            }
            tried += 1;
            for ((format, with), without) in ["quadlet", "kube"].iter().zip(&exported).zip(&both(&less.config)) {
                let lost_there = is_lost(&path[1], &path[2], with, without);
                lost.extend(lost_there.then(|| format!("{}: {} of `{}`", stack.name, format, path.join("."))));
            }
        }
    }
    assert!(tried > 400, "{tried} keys");
    assert!(lost.is_empty(), "{} keys are lost:\n{}", lost.len(), lost.join("\n"));
}

#[test]
fn the_order_of_a_stack_is_in_its_units_and_a_pod_that_does_not_wait_gets_a_warning() {
    let mut tried = 0;
    for stack in stacks().unwrap() {
        let config = whole(&stack);
        let [units, pods] = both(&config);
        for (name, service) in config.enabled() {
            for (other, condition) in &service.depends_on {
                tried += 1;
                let after = order(&units, name.as_str());
                let unit = format!("airpods-{other}.service");
                let is_after = after.iter().any(|line| line.starts_with("After=") && line.contains(&unit));
                assert!(is_after, "{}: {name}: {after:?}", stack.name);
                let place = format!("`services.{name}.depends_on`");
                let told =
                    pods.warnings.iter().any(|warning| warning.starts_with(&place) && warning.contains(other.as_str()));
                assert_eq!(told, *condition != Condition::Started, "{}: {name}", stack.name);
            }
        }
    }
    assert!(tried > 26, "{tried} dependencies");
}
