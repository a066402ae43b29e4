//! A start that fails or is interrupted restores everything that was there before, or names it.

use super::*;
use crate::plan::tests::{desired, observed, start};
use crate::plan::{NetworkReset, decide};
use crate::podman::ContainerState;

/// Two running services with other desired settings, and one that stays.
const CHANGED: [(&str, &str); 2] =
    [("[services.model]", "[services.model]\npids_limit = 8"), ("[services.web]", "[services.web]\npids_limit = 9")];

pub(super) fn changed(toml: &str) -> String {
    CHANGED.iter().fold(toml.to_owned(), |toml, (from, to)| toml.replace(from, to))
}

pub(super) async fn running(toml: &str) -> Simulated {
    let podman = podman(NEW);
    start(&podman, toml, &[]).await;
    podman
}

pub(super) async fn proposed(podman: &Simulated, toml: &str) -> Plan {
    let desired = desired(toml, &[], NEW);
    let mut plan = decide(&desired, &observed(podman, &desired).await, NetworkReset::Proposed).unwrap();
    plan.ports.clear();
    plan
}

/// Asserts that everything from before exists in its former state or is named, and that nothing
/// else exists.
#[track_caller]
pub(super) fn is_as_before_or_named(before: &Objects, after: &Objects, left: &[String]) {
    let named = |name: &str| left.iter().any(|left| left.contains(&format!("`{name}`")));
    let changed = |name: &String, (spec, state): &(crate::podman::ContainerSpec, ContainerState)| {
        after.containers.get(name).is_none_or(|(other, now)| (other, now) != (spec, state))
    };
    for (name, container) in &before.containers {
        assert!(!changed(name, container) || named(name), "`{name}` is not as it was: {left:?}");
    }
    for name in before.networks.keys().chain(before.pods.keys()) {
        let there =
            before.networks.get(name) == after.networks.get(name) && before.pods.get(name) == after.pods.get(name);
        assert!(there || named(name), "`{name}` is not as it was: {left:?}");
    }
    let new = after.containers.keys().filter(|name| !before.containers.contains_key(*name));
    let unnamed: Vec<_> = new.filter(|name| !named(name)).collect();
    assert!(unnamed.is_empty(), "{unnamed:?} was left behind: {left:?}");
}

#[tokio::test]
async fn an_interrupt_at_any_time_restores_the_containers_to_be_recreated() {
    // Sequentially there is an interruptible moment per step; concurrently there are fewer, with
    // several steps under way.
    for (sequential, moments) in [(true, 8), (false, 4)] {
        let pace = Pace { sequential, ..PACE };
        let (mut restored, mut finished) = (0, 0);
        for polls in 1..40 {
            let podman = running(THREE).await;
            let before = podman.objects();
            let plan = prepared(&podman, &changed(THREE)).await;
            match execute(&podman, &plan, &pace, &Silent, after_polls(polls)).await {
                Err(aborted) => {
                    assert_eq!((aborted.left, podman.objects()), (Vec::new(), before), "after {polls} polls");
                    restored += 1;
                }
                Ok(outcome) => {
                    let names: Vec<String> = podman.objects().containers.into_keys().collect();
                    assert_eq!(names, ["model-0", "paint-0", "web-0"], "after {polls} polls");
                    assert_eq!(outcome.warnings, Vec::<String>::new());
                    finished += 1;
                }
            }
        }
        assert!(restored >= moments && finished > 0, "{restored} restored, {finished} finished");
    }
}

#[tokio::test]
async fn a_failure_at_any_step_restores_the_containers_to_be_recreated() {
    let failing = [
        Call::StopContainer("web-0".into()),
        Call::RenameContainer("web-0".into(), "web-0-former".into()),
        Call::CreateContainer("web-0".into()),
        Call::CreateContainer("model-0".into()),
    ];
    for call in failing {
        let podman = running(THREE).await;
        let before = podman.objects();
        podman.fail_at(call.clone());
        let plan = prepared(&podman, &changed(THREE)).await;
        let aborted = run_plan(&podman, &plan).await.unwrap_err();
        assert_eq!((aborted.left, podman.objects()), (Vec::new(), before), "{call:?}");
    }
}

#[tokio::test]
async fn a_former_container_that_does_not_come_back_is_named() {
    // The former container and its replacement are both started as `web-0`, so podman starts
    // neither.
    let podman = running(THREE).await;
    let before = podman.objects();
    podman.fail_at(Call::StartContainer("web-0".into()));
    let plan = prepared(&podman, &changed(THREE)).await;
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    assert_ne!(podman.objects(), before);
    is_as_before_or_named(&before, &podman.objects(), &aborted.left);
}

#[tokio::test]
async fn a_former_container_that_stays_is_reported_and_the_start_succeeds() {
    let podman = running(THREE).await;
    podman.fail_at(Call::RemoveContainer("web-0-former".into()));
    let plan = prepared(&podman, &changed(THREE)).await;
    let outcome = run_plan(&podman, &plan).await.unwrap();
    assert!(outcome.warnings[0].contains("`web-0-former` was not removed"), "{outcome:?}");
    assert_eq!(podman.objects().containers["web-0"].1, ContainerState::Running);
}

#[tokio::test]
async fn an_interrupt_while_recreating_a_network_or_pod_names_what_is_gone() {
    let podded = THREE.replace("[services.model]", "[services.model]\npod = \"both\"");
    let podded = podded.replace("[services.web]", "[services.web]\npod = \"both\"");
    let internal = format!("runtime.network.internal = true\n{THREE}");
    let moved = podded.replace("7001", "7009");
    for (first, second) in [(THREE, internal.as_str()), (podded.as_str(), moved.as_str())] {
        let mut gone = 0;
        for polls in 1..60 {
            let podman = running(first).await;
            let before = podman.objects();
            let plan = proposed(&podman, second).await;
            if let Err(aborted) = execute(&podman, &plan, &PACE, &Silent, after_polls(polls)).await {
                is_as_before_or_named(&before, &podman.objects(), &aborted.left);
                gone += usize::from(!aborted.left.is_empty());
            }
        }
        assert!(gone > 0, "no interrupt came when something was gone");
    }
}

#[tokio::test]
async fn a_pod_that_podman_does_not_remove_runs_again() {
    let podded = THREE.replace("[services.web]", "[services.web]\npod = \"alone\"");
    let podman = running(&podded).await;
    let before = podman.objects();
    podman.fail_at(Call::RemovePod("alone".into()));
    let plan = prepared(&podman, &podded.replace("7002", "7009")).await;
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    assert_eq!((aborted.left, podman.objects()), (Vec::new(), before));
}
