//! A start recovers from containers and pods that a hard reset or a killed podman left in a bad
//! state.

use super::*;

/// One service alone, and two in a pod.
const PODS: &str = r#"
[services.model]
image = "docker.io/lab/model:1"
[services.web]
image = "docker.io/lab/web:1"
pod = "front"
[services.paint]
image = "docker.io/lab/paint:1"
pod = "front"
"#;

fn pods() -> String {
    format!("{ALONE}{PODS}")
}

fn state(podman: &Simulated, name: &str) -> ContainerState {
    podman.objects().containers[name].1
}

#[tokio::test]
async fn a_container_in_any_state_runs_after_a_start_and_the_next_has_nothing_to_do() {
    for left in [
        ContainerState::Created,
        ContainerState::Exited(0),
        ContainerState::Exited(137),
        ContainerState::Paused,
        ContainerState::Stopping,
        ContainerState::Removing,
        ContainerState::Lost,
        ContainerState::Unknown,
    ] {
        for name in ["model-0", "web-0"] {
            let podman = podman(NEW);
            start(&podman, &pods(), &[]).await;
            podman.leave(name, left);
            assert!(!plan(&podman, &pods(), &[]).await.unwrap().is_empty(), "{left:?}");
            let taken = start(&podman, &pods(), &[]).await;
            assert_eq!(state(&podman, name), ContainerState::Running, "{left:?} {name}: {taken}");
            let again = plan(&podman, &pods(), &[]).await.unwrap();
            assert!(again.is_empty(), "{left:?} {name}: {again}");
        }
    }
}

#[tokio::test]
async fn a_startable_container_is_not_recreated_and_a_recreated_one_has_a_reason() {
    let podman = podman(NEW);
    start(&podman, &pods(), &[]).await;
    for (left, recreated) in [
        (ContainerState::Created, false),
        (ContainerState::Exited(255), false),
        (ContainerState::Stopping, false),
        (ContainerState::Paused, true),
        (ContainerState::Removing, true),
        (ContainerState::Lost, true),
        (ContainerState::Unknown, true),
    ] {
        podman.leave("model-0", left);
        let plan = plan(&podman, &pods(), &[]).await.unwrap();
        assert_eq!(plan.to_string().contains("create the container `model-0`"), recreated, "{left:?}: {plan}");
        let why: Vec<&String> = plan.replaced.iter().flat_map(|replaced| &replaced.why).collect();
        assert_eq!(why.iter().any(|why| why.contains("in which podman does not start it")), recreated, "{why:?}");
        // A paused container still has processes: removing it needs confirmation.
        assert_eq!(plan.needs_consent().len(), usize::from(left == ContainerState::Paused), "{left:?}");
    }
}

#[tokio::test]
async fn a_pod_without_its_infra_container_is_recreated_with_what_was_in_it() {
    let podman = podman(NEW);
    start(&podman, &pods(), &[]).await;
    for name in ["model-0", "web-0", "paint-0"] {
        podman.leave(name, ContainerState::Exited(137));
    }
    podman.break_pod("front");
    let taken = start(&podman, &pods(), &[]).await;
    assert!(taken.to_string().contains("remove the pod `front`"), "{taken}");
    assert!(!taken.to_string().contains("create the container `model-0`"), "{taken}");
    let why: Vec<&String> = taken.replaced.iter().flat_map(|replaced| &replaced.why).collect();
    assert_eq!(why, ["the pod `front`: its infra container is gone"]);
    for name in ["model-0", "web-0", "paint-0"] {
        assert_eq!(state(&podman, name), ContainerState::Running);
    }
    assert!(plan(&podman, &pods(), &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_container_that_is_frozen_or_being_stopped_holds_its_own_ports() {
    for left in [ContainerState::Paused, ContainerState::Stopping] {
        let podman = podman(NEW);
        start(&podman, THREE, &["model"]).await;
        podman.leave("model-0", left);
        let plan = plan(&podman, THREE, &["model"]).await.unwrap();
        assert_eq!(plan.ports, [], "{left:?}: nobody else has to give them up");
    }
}
