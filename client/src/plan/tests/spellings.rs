//! A second start has nothing to do, in any spelling that the configuration uses or podman reports.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::podman::Podman;

/// A value in one of the spellings that the configuration accepts.
fn one_of(spellings: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    select(spellings)
}

const IMAGES: &[&str] = &[
    "localhost/probe",
    "localhost/probe:1",
    "docker.io/debian",
    "docker.io/library/debian:13",
    "index.docker.io/lab/web",
    "localhost:5000/lab/web",
    "quay.io/lab/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "quay.io/lab/web:1.2@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

/// Lines of `[runtime.network]`, each with a different key.
const NETWORK: &[&str] = &[
    "dns_servers = [\"2001:DB8:0:0::53\", \"192.0.2.53\"]",
    "mtu = 1380",
    "subnet = \"10.77.0.0/24\"",
    "internal = true",
];

/// Lines of a service, each with a different key.
const SERVICE: &[&str] = &[
    "resources.memory = \"64M\"",
    "resources.cpus = \"0.123456\"",
    "network_aliases = [\"b\", \"a\", \"web\"]",
    "ports = [{ host = 7001, container = 80 }, { host = 7000, container = 81 }]",
    "volumes.host = { source = \"/srv/../usr/./share//doc/\", target = \"/a//b/./c/\" }",
    "volumes.data = { source = \"bind://./models//x\", target = \"/data/\" }",
    "volumes.named = { source = \"kept\", target = \"/kept\" }",
    "env = { HOME = \"\", A = \"x=y\", B = 1.0, PATH = \"/opt\" }",
    "command_args = [\"\", \"--fast\"]",
    "entrypoint_override = [\"/serve\", \"\"]",
    "pids_limit = 1",
    "ulimits = { nofile = \"-1\" }",
    "tmpfs = [\"/cache/:size=1024k\"]",
];

fn configurations() -> impl Strategy<Value = String> {
    let policies: &[&str] = &["no", "on-failure", "always", "unless-stopped"];
    let places: &[&str] = &["", "pod = \"p\"\n", "network_mode = \"host\"\n"];
    let lines = |lines: &'static [&'static str]| subsequence(lines, 0..=lines.len());
    (one_of(IMAGES), select(policies), select(places), lines(NETWORK), lines(SERVICE)).prop_map(
        |(image, policy, place, network, service)| {
            format!(
                "{ALONE}runtime.restart_policy = \"{policy}\"\n[runtime.network]\n{}\n\
                 [services.web]\nimage = \"{image}\"\n{place}{}\n",
                network.join("\n"),
                service.join("\n"),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_second_start_of_generated_configurations_has_nothing_to_do(toml in configurations(), old: bool) {
        let images = IMAGES.iter().map(|image| (*image).to_owned()).collect();
        let podman = Simulated::new(if old { OLD } else { NEW }, Objects { images, ..Objects::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut first = plan(&podman, &toml, &[]).await.unwrap();
            first.ports.clear();
            // Folders are on the test machine, not in the simulated podman.
            first.steps.iter_mut().for_each(|step| if let Action::CreateFolder(_) = step.action {
                step.action = Action::Pull("localhost/nothing".into());
            });
            prop_assert!(!first.is_empty());
            let podman = with_nothing_to_pull(&podman);
            let ran = execute(&podman, &first, &PACE, &Silent, std::future::pending()).await;
            prop_assert!(ran.is_ok(), "{}\n{:?}", toml, ran.err().map(|error| error.to_string()));
            let again = plan(&podman, &toml, &[]).await.unwrap();
            prop_assert!(again.is_empty(), "{toml}\n{again}\n{:?}", again.replaced);
            Ok(())
        })?;
    }
}

/// The same podman with a registry that lacks the services' images, so that every pull fails.
fn with_nothing_to_pull(podman: &Simulated) -> Simulated {
    let registry = ["localhost/nothing".to_owned()].into();
    Simulated::new(podman.version(), Objects { registry, ..podman.objects() })
}
