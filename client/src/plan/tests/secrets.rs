//! Secret variables are passed without being shown, and a changed value replaces the container.

use super::*;

fn keys() -> String {
    let keys = "secret_env = { OPENAI_API_KEY = \"file:/keys/openai\", HF_TOKEN = \"podman:hf\" }\n";
    format!("{ALONE}[services.model]\nimage = \"docker.io/lab/model:1\"\n{keys}")
}

fn openai(value: &str) -> SecretValues {
    [(Secret::new(value.to_owned()), SecretSource::File("/keys/openai".into()))].into_iter().collect()
}

/// The plan of a start in which the file has this value.
async fn plan_with(podman: &Simulated, value: &str) -> Result<Plan, Conflict> {
    let mut desired = desired(&keys(), &[], NEW);
    desired.give_secrets(&openai(value));
    decide(&desired, &observed(podman, &desired).await, NetworkReset::Never)
}

async fn start_with(podman: &Simulated, value: &str) -> Plan {
    let mut plan = plan_with(podman, value).await.unwrap();
    plan.ports.clear();
    plan.give_secrets(&openai(value));
    execute(podman, &plan, &PACE, &Silent, std::future::pending()).await.unwrap();
    plan
}

/// The reasons for replacing the container.
fn why(plan: &Plan) -> Vec<String> {
    plan.replaced.iter().flat_map(|replaced| replaced.why.clone()).collect()
}

#[tokio::test]
async fn a_secret_is_given_and_neither_shown_nor_digested_and_a_second_start_has_nothing_to_do() {
    let podman = podman(NEW);
    podman.keep_secret("hf", "1d");
    let plan = start_with(&podman, "sk-1").await;
    for expected in [plan.to_string(), plan.to_json().to_string()] {
        assert!(!expected.contains("sk-1"), "{expected}");
        assert!(expected.contains("secret OPENAI_API_KEY from file:/keys/openai"), "{expected}");
        assert!(expected.contains("secret HF_TOKEN from podman:hf"), "{expected}");
    }
    let (spec, _) = &podman.objects().containers["model-0"];
    assert_eq!(spec.env["OPENAI_API_KEY"], "sk-1");
    assert!(!spec.env.contains_key("HF_TOKEN") && spec.labels.values().all(|label| !label.contains("sk-1")));
    assert!(plan_with(&podman, "sk-1").await.unwrap().is_empty());
    let elsewhere = keys().replace("/keys/openai", "/other/openai");
    let mut desired = desired(&elsewhere, &[], NEW);
    let value = (Secret::new("sk-1".to_owned()), SecretSource::File("/other/openai".into()));
    desired.give_secrets(&SecretValues::from_iter([value]));
    let moved = decide(&desired, &observed(&podman, &desired).await, NetworkReset::Never).unwrap();
    assert!(moved.is_empty(), "a file that was moved has the same value: {moved}");
}

#[tokio::test]
async fn another_value_creates_a_new_container_and_names_the_variable() {
    let podman = podman(NEW);
    podman.keep_secret("hf", "1d");
    start_with(&podman, "sk-1").await;
    let other = why(&plan_with(&podman, "sk-2").await.unwrap());
    assert_eq!(
        other,
        ["`services.model.secret_env`: `OPENAI_API_KEY` was given a value and podman has another"],
        "neither value is shown"
    );
    podman.keep_secret("hf", "2d");
    let replaced = start_with(&podman, "sk-1").await;
    assert!(why(&replaced)[0].starts_with("`services.model.secret_env`: "), "{:?}", why(&replaced));
    assert!(plan_with(&podman, "sk-1").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_secret_that_podman_does_not_give_to_what_runs_is_a_difference() {
    for (shown, expected) in [(&[("HF_TOKEN", "x")][..], 0), (&[("hf", "*******")][..], 0), (&[][..], 1)] {
        let desired = desired(&keys(), &[], NEW);
        let podman = podman(NEW);
        podman.keep_secret("hf", "1d");
        start_with(&podman, "sk-1").await;
        let mut detail = crate::podman::Podman::inspect_container(&podman, "model-0").await.unwrap();
        detail.env.remove("HF_TOKEN");
        detail.env.extend(shown.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let found = read_back(&desired.expected(&desired.launches[0]), &detail, &crate::kernel::View::default());
        assert_eq!(found.iter().filter(|one| one.setting == Setting::SecretEnv).count(), expected, "{found:?}");
    }
}

#[tokio::test]
async fn a_secret_missing_in_podman_is_reported_before_the_first_step() {
    let missing = plan_with(&podman(NEW), "sk-1").await.unwrap_err();
    assert_eq!(missing.to_string(), "`services.model.secret_env.HF_TOKEN`: podman has no secret named `hf`");
    let hint = crate::error::Report::hint(&missing).unwrap();
    assert!(hint.contains("podman secret create hf"), "{hint}");
}
