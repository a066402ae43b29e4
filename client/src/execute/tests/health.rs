//! Whether services pass their health checks.

use super::*;
use crate::podman::ReadCall;

/// Three services. `web` has a port that no program listens on: discard (RFC 863).
fn without_server() -> String {
    THREE.replace("host = 7002", "host = 9").replace("[services.web]", "[services.web]\nhealth.path = \"/\"")
}

const SHORT_PACE: Pace = Pace { startup: Duration::from_millis(50), ..PACE };

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_late_and_left_running() {
    let podman = podman(NEW);
    let plan = prepared(&podman, &without_server()).await;
    let outcome = execute(&podman, &plan, &SHORT_PACE, &Silent, pending()).await.unwrap();
    assert_eq!(outcome.late.len(), 1);
    assert_eq!((outcome.late[0].service.as_str(), outcome.late[0].asked.as_str()), ("web", "at http://127.0.0.1:9/"));
    assert_eq!(podman.objects().containers.len(), 3);
}

#[tokio::test]
async fn podman_is_not_asked_again_while_the_process_of_a_service_lives() {
    let mut podman = podman(NEW);
    let mut plan = prepared(&podman, &without_server()).await;
    run_plan(&podman, &plan).await.unwrap();
    podman.distort = Some(|detail: &mut ContainerDetail| detail.pid = Some(std::process::id()));
    plan.steps.retain(|step| matches!(step.action, Action::AwaitHealth { .. }));
    plan.steps[0].after.clear();
    let before = podman.read_calls().len();
    assert_eq!(execute(&podman, &plan, &SHORT_PACE, &Silent, pending()).await.unwrap().late.len(), 1);
    assert_eq!(podman.read_calls()[before..], [ReadCall::Inspect("web-0".into())]);
}

#[tokio::test]
async fn a_service_that_runs_already_is_asked_too_and_is_late_if_it_does_not_answer() {
    let podman = podman(NEW);
    run_plan(&podman, &prepared(&podman, &without_server()).await).await.unwrap();
    let calls = podman.calls().len();
    let again = prepared(&podman, &without_server()).await;
    assert!(again.is_empty(), "asking is nothing to do: {again}");
    let outcome = execute(&podman, &again, &SHORT_PACE, &Silent, pending()).await.unwrap();
    assert_eq!(outcome.late.len(), 1);
    let healthy = ["web", "model"].map(|service| outcome.is_healthy(service));
    assert_eq!(healthy, [Some(false), None], "nobody asked the one without a check");
    assert_eq!(podman.calls().len(), calls, "nothing was changed");
}

#[tokio::test]
async fn without_waiting_the_health_of_services_is_unknown() {
    let podman = podman(NEW);
    let plan = prepared(&podman, &without_server()).await;
    let pace = Pace { startup: Duration::ZERO, ..PACE };
    let outcome = execute(&podman, &plan, &pace, &Silent, pending()).await.unwrap();
    assert_eq!(outcome.is_healthy("web"), None);
}

#[tokio::test]
async fn restarts_of_long_ago_do_not_count_against_a_service_that_runs_already() {
    let mut podman = podman(NEW);
    run_plan(&podman, &prepared(&podman, &without_server()).await).await.unwrap();
    podman.distort = Some(|detail: &mut ContainerDetail| detail.restarts = 3);
    let again = prepared(&podman, &without_server()).await;
    let outcome = execute(&podman, &again, &SHORT_PACE, &Silent, pending()).await.unwrap();
    assert_eq!(outcome.late.len(), 1);
}

#[tokio::test]
async fn a_container_that_ends_while_it_is_read_back_has_ended_and_does_not_differ() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static LOOKED_AT: AtomicBool = AtomicBool::new(false);
    let mut podman = podman(NEW);
    let plan = plan(&podman, THREE, &["web"]).await.unwrap();
    // The limits and ports go with the process, but podman reports the container as running for a
    // moment.
    podman.distort = Some(|detail: &mut ContainerDetail| {
        detail.image = "gone".into();
        if LOOKED_AT.swap(true, Ordering::Relaxed) {
            detail.state = ContainerState::Exited(3);
        }
    });
    let aborted = execute(&podman, &Plan { ports: Vec::new(), ..plan }, &PACE, &Silent, pending()).await.unwrap_err();
    assert!(matches!(aborted.cause, StepError::Ended { code: Some(3), .. }), "{aborted:?}");
}

#[tokio::test]
async fn services_are_not_probed_on_unpublished_ports() {
    let podman = podman(NEW);
    let asked = async |toml: &str| {
        let steps = prepared(&podman, toml).await.steps;
        steps.iter().any(|step| matches!(step.action, Action::AwaitHealth { .. }))
    };
    assert!(asked(&without_server()).await);
    assert!(!asked(&format!("runtime.network.driver = \"macvlan\"\n{}", without_server())).await);
    let host = without_server().replace("[services.web]", "[services.web]\nnetwork_mode = \"host\"");
    assert!(asked(&format!("runtime.network.driver = \"macvlan\"\n{host}")).await, "whose ports are the host's");
}
