//! `secret_env`: values that a service gets and no output shows.

use airpods_lab::Place;

use crate::host::{ALONE, Host, service};

fn configuration() -> String {
    let secrets = "secret_env = { OPENAI_API_KEY = \"file:/etc/keys/openai\", HF_TOKEN = \"podman:hf\" }";
    format!("{ALONE}{}", service("one", 7001, secrets))
}

fn keep(host: &Host, file: &str, podman: &str) {
    let keep = format!(
        "mkdir -p /etc/keys && printf '{file}\\n' > /etc/keys/openai && chmod 600 /etc/keys/openai; \
         (podman secret rm hf || true) > /dev/null 2>&1; printf {podman} | podman secret create hf - > /dev/null"
    );
    host.user.sh(&keep).unwrap();
}

#[track_caller]
fn has(host: &Host, file: &str, podman: &str) {
    let env = host.inside("one-0", "env").out;
    for line in [format!("OPENAI_API_KEY={file}\n"), format!("HF_TOKEN={podman}\n")] {
        assert!(env.contains(&line), "{line}: {env}");
    }
}

#[test]
fn secrets_reach_the_service_and_are_shown_nowhere_and_another_value_replaces_it() {
    let host = Host::new();
    host.configure(&configuration());
    host.refuse(
        "start",
        1,
        &["`services.one.secret_env.HF_TOKEN`: podman has no secret named `hf`", "podman secret create hf"],
    );

    keep(&host, "sk-first", "hf-first");
    let mut told = vec![host.succeed("start --verbose")];
    has(&host, "sk-first", "hf-first");
    for command in [
        "start --dry-run --verbose",
        "start --dry-run --json",
        "config show",
        "config show --json",
        "config get services.one",
        "status --json",
        "doctor --json",
        "export quadlet",
        "export kube",
    ] {
        told.push(host.airpods(command));
    }
    for output in &told {
        assert!(!format!("{output:?}").contains("-first"), "{output:?}");
    }
    assert!(host.succeed("start --dry-run").out.contains("nothing to do"));

    keep(&host, "sk-second", "hf-first");
    let dry = host.succeed("start --dry-run --verbose");
    let words = format!("{dry:?}");
    assert!(words.contains("OPENAI_API_KEY") || words.contains("secret_env"), "{words}");
    assert!(!words.contains("-first") && !words.contains("-second"), "{words}");
    host.succeed("start --yes");
    has(&host, "sk-second", "hf-first");

    keep(&host, "sk-second", "hf-second");
    host.succeed("start --yes");
    has(&host, "sk-second", "hf-second");
    assert!(host.succeed("start --dry-run").out.contains("nothing to do"));
}

#[test]
fn a_file_that_others_can_read_is_refused_before_anything_is_made() {
    let host = Host::new();
    host.configure(&configuration());
    keep(&host, "sk-first", "hf-first");
    host.sandbox.sh("chmod 644 /etc/keys/openai").unwrap();
    let output =
        host.refuse("start", 1, &["`/etc/keys/openai` cannot be used", "others may read or change it", "chmod 600"]);
    assert!(!output.err.contains("sk-first"), "{output:?}");
}
