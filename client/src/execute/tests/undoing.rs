//! The undo when podman's answer is lost, and when podman refuses for a moment.

use super::replacing::{changed, is_as_before_or_named, proposed, running};
use super::*;

/// A plan with two services in a pod and one on the host's network, with a volume.
fn podded() -> String {
    THREE.replace("[services.web]", "[services.web]\npod = \"alone\"")
}

/// Runs the plan once for each call that it makes, and loses the answer to that call.
async fn with_lost_answers(
    fresh: impl AsyncFn() -> (Simulated, Plan),
    check: impl Fn(&Call, &Objects, &Objects, &[String]),
) {
    let (podman, plan) = fresh().await;
    let made = podman.calls().len();
    run_plan(&podman, &plan).await.unwrap();
    let calls: BTreeSet<Call> = podman.calls().split_off(made).into_iter().collect();
    assert!(calls.len() > 5, "{calls:?}");
    for call in calls.into_iter().filter(|call| !matches!(call, Call::Pull(_))) {
        let (podman, plan) = fresh().await;
        let before = podman.objects();
        podman.lose_answer_to(call.clone());
        match run_plan(&podman, &plan).await {
            Err(aborted) => check(&call, &before, &podman.objects(), &aborted.left),
            // Set-aside containers are removed at the very end, so a lost answer there is only a
            // warning.
            Ok(outcome) => assert!(!outcome.warnings.is_empty(), "{call:?}"),
        }
    }
}

#[tokio::test]
async fn a_step_of_a_first_start_that_was_done_though_its_answer_got_lost_is_undone() {
    let fresh = async || {
        let podman = podman(NEW);
        let plan = prepared(&podman, &podded()).await;
        (podman, plan)
    };
    with_lost_answers(fresh, |call, before, after, left| {
        assert_eq!((after, left), (before, &[][..]), "{call:?}");
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_while_containers_are_replaced_leaves_them_as_they_were() {
    let fresh = async || {
        let podman = running(THREE).await;
        let plan = prepared(&podman, &changed(THREE)).await;
        (podman, plan)
    };
    with_lost_answers(fresh, |call, before, after, left| {
        // If the answer to the call that brings a container back is lost, its state is unknown.
        let comes_back = matches!(call, Call::StartContainer(_));
        assert!(comes_back || (after, left) == (before, &[][..]), "{call:?}: {left:?}");
        is_as_before_or_named(before, after, left);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_to_a_removal_is_looked_up_and_an_existing_object_not_called_gone() {
    let internal = format!("runtime.network.internal = true\n{}", podded());
    let fresh = async || {
        let podman = running(&podded()).await;
        let plan = proposed(&podman, &internal).await;
        (podman, plan)
    };
    with_lost_answers(fresh, |call, before, after, left| {
        is_as_before_or_named(before, after, left);
        let is_back = |name: &String| before.containers.get(name) == after.containers.get(name);
        for name in before.containers.keys().filter(|name| is_back(name)) {
            let gone = format!("the container `{name}` with its former settings was removed");
            assert!(!left.iter().any(|left| left.starts_with(&gone)), "{call:?}: {left:?}");
        }
        if matches!(call, Call::StopContainer(_) | Call::StopPod(_)) {
            let networks = before.networks == after.networks;
            assert!(!networks || !left.iter().any(|left| left.starts_with("the network")), "{call:?}: {left:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_temporarily_refused_undo_is_retried() {
    for refused in [
        Call::RemoveContainer("web-0".into()),
        Call::RemoveContainer("model-0".into()),
        Call::RemoveNetwork("airpods_network".into()),
        Call::RemoveVolume("weights".into()),
    ] {
        let podman = podman(NEW);
        let before = podman.objects();
        podman.fail_at(Call::StartContainer("web-0".into()));
        podman.fail_once(refused.clone());
        let aborted = run_plan(&podman, &prepared(&podman, THREE).await).await.unwrap_err();
        assert_eq!((podman.objects(), aborted.left), (before, Vec::new()), "{refused:?}");
    }
}

#[tokio::test]
async fn a_container_that_was_set_aside_comes_back_though_podman_refuses_that_at_first() {
    for refused in [Call::RenameContainer("web-0-former".into(), "web-0".into()), Call::RemoveContainer("web-0".into())]
    {
        let podman = running(THREE).await;
        let before = podman.objects();
        podman.fail_at(Call::CreateContainer("model-0".into()));
        podman.fail_once(refused.clone());
        let plan = prepared(&podman, &changed(THREE)).await;
        let aborted = run_plan(&podman, &plan).await.unwrap_err();
        assert_eq!((podman.objects(), aborted.left), (before, Vec::new()), "{refused:?}");
    }
}

#[tokio::test]
async fn an_interrupt_ends_the_tries_and_names_what_is_left() {
    let podman = podman(NEW);
    podman.fail_at(Call::StartContainer("web-0".into()));
    podman.fail_at(Call::RemoveContainer("web-0".into()));
    let tries = || podman.calls().iter().filter(|call| **call == Call::RemoveContainer("web-0".into())).count();
    // Ctrl-C comes as soon as podman is asked for the first time.
    let interrupt = async {
        while tries() == 0 {
            tokio::task::yield_now().await;
        }
    };
    let plan = prepared(&podman, THREE).await;
    let aborted = execute_until(&podman, &plan, &PACE, &Silent, &Open, interrupt, pending()).await.unwrap_err();
    assert_eq!(tries(), 1);
    assert!(aborted.left.iter().any(|left| left.contains("the container `web-0`")), "{aborted:?}");
    assert!(matches!(aborted.cause, StepError::Refused { .. }), "{aborted:?}");
}
