//! A running container with other settings is stopped only to be replaced, and only after
//! confirmation.

use super::*;
use crate::podman::{Container, ContainerDetail, Podman, ReadCall};

async fn proposed(podman: &Simulated, toml: &str, services: &[&str]) -> Plan {
    let desired = desired(toml, services, podman.version());
    decide(&desired, &observed(podman, &desired).await, NetworkReset::Proposed).unwrap()
}

fn position(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> usize {
    plan.steps.iter().position(|step| wanted(&step.action)).unwrap()
}

fn starts(name: &str) -> impl Fn(&Action) -> bool {
    move |action| matches!(action, Action::Start { name: started } if started == name)
}

/// Whether a step waits for another, directly or through others.
fn waits(plan: &Plan, step: usize, for_step: usize) -> bool {
    plan.steps[step].after.iter().any(|before| *before == for_step || waits(plan, *before, for_step))
}

#[tokio::test]
async fn a_second_start_asks_podman_for_three_listings_and_each_service_and_changes_nothing() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let (read_calls, calls) = (podman.read_calls().len(), podman.calls().len());
    start(&podman, THREE, &[]).await;
    let asked = podman.read_calls().split_off(read_calls);
    let inspected = ["model-0", "web-0", "paint-0"].map(|name| ReadCall::Inspect(name.into()));
    let mut expected = vec![ReadCall::Networks, ReadCall::Pods, ReadCall::Containers];
    expected.extend(inspected);
    assert_eq!(asked, expected);
    assert_eq!(podman.calls().len(), calls);
}

#[tokio::test]
async fn a_first_start_asks_podman_for_nothing_twice() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let mut read_calls = podman.read_calls();
    let all = read_calls.len();
    read_calls.sort();
    read_calls.dedup();
    // Four listings, three image look-ups, and one read-back per service.
    assert_eq!((all, read_calls.len()), (10, 10), "{read_calls:?}");
    // One network, one volume, and each container created and started.
    assert_eq!(podman.calls().len(), 8);
}

#[tokio::test]
async fn a_service_changed_since_its_start_is_found_and_reported() {
    let mut podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    podman.distort = Some(|detail: &mut ContainerDetail| detail.pids_limit = 9);
    let plan = plan(&podman, THREE, &["web"]).await.unwrap();
    let replaced = &plan.replaced[0];
    assert_eq!(replaced.why, ["`services.web.pids_limit`: `2048` was asked for and podman has `9`"]);
    assert!(replaced.needs_consent(), "{replaced:?}");
    assert_eq!(replaced.to_string(), "the container `web-0`");
}

#[tokio::test]
async fn a_stopped_container_is_recreated_without_a_question() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    podman.end("web-0", 0);
    let changed = THREE.replace("[services.web]", "[services.web]\npids_limit = 9");
    let plan = plan(&podman, &changed, &["web"]).await.unwrap();
    assert_eq!((plan.replaced.len(), plan.needs_consent().len()), (1, 0));
}

#[tokio::test]
async fn a_former_container_is_removed_last() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    podman.end("model-0", 0);
    let changed = THREE.replace("[services.web]", "[services.web]\npids_limit = 9");
    let plan = plan(&podman, &changed, &[]).await.unwrap();
    let discard = position(&plan, |action| matches!(action, Action::Discard { .. }));
    assert_eq!(discard, plan.steps.len() - 1);
    assert!((0..discard).all(|step| waits(&plan, discard, step)), "{plan}");
}

#[tokio::test]
async fn a_container_set_aside_by_a_killed_start_is_removed_by_the_next() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let mut objects = podman.objects();
    let (mut spec, _) = objects.containers["web-0"].clone();
    spec.name = "web-0-former".into();
    objects.containers.insert(spec.name.clone(), (spec, ContainerState::Exited(0)));
    let podman = Simulated::new(NEW, objects);
    let plan = start(&podman, THREE, &[]).await;
    assert_eq!(plan.steps.len(), 1, "{plan}");
    assert!(!podman.objects().containers.contains_key("web-0-former"));
    // If a start was killed before it created the new container, the next start creates it and only
    // then removes the old one.
    let mut objects = podman.objects();
    let (mut spec, _) = objects.containers.remove("web-0").unwrap();
    spec.name = "web-0-former".into();
    objects.containers.insert(spec.name.clone(), (spec, ContainerState::Exited(0)));
    let podman = Simulated::new(NEW, objects);
    start(&podman, THREE, &[]).await;
    assert_eq!(podman.objects().containers.len(), 3);
    assert_eq!(podman.objects().containers["web-0"].1, ContainerState::Running);
}

#[tokio::test]
async fn two_services_can_swap_their_ports() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let swapped = THREE.replace("7001", "x").replace("7002", "7001").replace('x', "7002");
    let plan = plan(&podman, &swapped, &[]).await.unwrap();
    assert_eq!(plan.ports, []);
    let aside =
        |name: &'static str| move |action: &Action| matches!(action, Action::SetAside { name: set, .. } if set == name);
    for (starting, holder) in [("web-0", "model-0"), ("model-0", "web-0")] {
        let (start, aside) = (position(&plan, starts(starting)), position(&plan, aside(holder)));
        assert!(waits(&plan, start, aside), "{plan}");
    }
    start(&podman, &swapped, &[]).await;
    assert!(podman.objects().containers.values().all(|(_, state)| *state == ContainerState::Running));
}

#[tokio::test]
async fn a_service_is_started_after_those_that_it_uses() {
    let podman = podman(NEW);
    let using = THREE.replace("[services.model]", "[services.model]\nenv.WEB = \"http://web:80/x\"");
    let plan = plan(&podman, &using, &[]).await.unwrap();
    let (model, web) = (position(&plan, starts("model-0")), position(&plan, starts("web-0")));
    assert!(waits(&plan, model, web), "{plan}");
    // Services in a cycle have no first one and are started anyway.
    let circle = using.replace("[services.web]", "[services.web]\nenv.MODEL = \"http://llm\"");
    start(&podman, &circle, &[]).await;
    assert_eq!(podman.objects().containers.len(), 3);
}

#[tokio::test]
async fn a_network_with_other_settings_takes_down_and_brings_back_all_who_run_on_it() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let changed = format!("runtime.network.internal = true\n{THREE}");
    let plan = proposed(&podman, &changed, &["web"]).await;
    let network = &plan.replaced[0];
    assert_eq!(network.to_string(), "the network `airpods_network` with `model-0`, `web-0`");
    assert_eq!(network.why, ["`runtime.network.internal` is `true` in the configuration and `false` in podman"]);
    assert!(network.needs_consent());
    // The service that was not named is recreated, too.
    position(&plan, starts("model-0"));
    // A service on the host's network is left alone.
    assert!(!plan.steps.iter().any(|step| step.service.as_deref() == Some("paint")), "{plan}");
}

#[tokio::test]
async fn a_network_is_recreated_on_request_even_with_the_same_settings() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let desired = desired(THREE, &[], NEW);
    let observed = Observed::for_launch(&podman, &desired, NetworkReset::AskedFor).await.unwrap();
    let plan = decide(&desired, &observed, NetworkReset::AskedFor).unwrap();
    position(&plan, |action| matches!(action, Action::RemoveNetwork(_)));
    assert_eq!(plan.needs_consent(), Vec::<&Replaced>::new());
}

/// Three services; one gets its container under another name.
fn renamed() -> String {
    THREE.replace("[services.web]", "[services.web]\ncontainer = \"w-0\"")
}

#[tokio::test]
async fn a_container_under_its_services_former_name_is_replaced_after_confirmation() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let plan = plan(&podman, &renamed(), &["web"]).await.unwrap();
    let [replaced] = &plan.replaced[..] else { panic!("{:?}", plan.replaced) };
    assert_eq!(replaced.to_string(), "the container `web-0`");
    assert_eq!(replaced.why, ["`services.web.container`: `w-0` was asked for and podman has `web-0`"]);
    assert!(replaced.needs_consent());
    assert_eq!(plan.ports, [], "the port is its own");
    let aside = position(&plan, |action| matches!(action, Action::SetAside { name, .. } if name == "web-0"));
    assert!(waits(&plan, position(&plan, starts("w-0")), aside), "{plan}");
    start(&podman, &renamed(), &["web"]).await;
    let objects = podman.objects();
    assert_eq!(objects.containers.keys().collect::<Vec<_>>(), ["model-0", "paint-0", "w-0"]);
    assert_eq!(objects.containers["w-0"].1, ContainerState::Running);
}

#[tokio::test]
async fn a_stopped_container_under_its_services_former_name_is_replaced_without_a_question() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    podman.end("web-0", 0);
    let plan = start(&podman, &renamed(), &["web"]).await;
    assert_eq!((plan.replaced.len(), plan.needs_consent().len()), (1, 0));
    assert!(!podman.objects().containers.contains_key("web-0"));
}

#[tokio::test]
async fn a_container_set_aside_under_its_former_name_is_removed_by_the_next_start() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let mut objects = podman.objects();
    let (mut spec, _) = objects.containers.remove("web-0").unwrap();
    spec.name = "web-0-former".into();
    objects.containers.insert(spec.name.clone(), (spec, ContainerState::Exited(0)));
    let podman = Simulated::new(NEW, objects);
    start(&podman, &renamed(), &["web"]).await;
    assert_eq!(podman.objects().containers.keys().collect::<Vec<_>>(), ["model-0", "paint-0", "w-0"]);
}

#[tokio::test]
async fn a_former_name_that_another_service_has_by_now_is_that_ones() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let taken_over = THREE
        .replace("[services.model]", "[services.model]\ncontainer = \"m-0\"")
        .replace("[services.paint]", "[services.paint]\ncontainer = \"model-0\"");
    let plan = plan(&podman, &taken_over, &["model", "paint"]).await.unwrap();
    let names: Vec<&str> = plan.replaced.iter().map(|replaced| replaced.name.as_str()).collect();
    assert_eq!(names, ["model-0"], "{plan}");
}

#[tokio::test]
async fn a_recreated_network_takes_along_containers_under_a_former_name() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let changed = format!("runtime.network.internal = true\n{}", renamed());
    let plan = proposed(&podman, &changed, &["model"]).await;
    position(&plan, |action| matches!(action, Action::RemoveContainer { name, .. } if name == "web-0"));
    position(&plan, starts("w-0"));
}

#[tokio::test]
async fn a_container_configured_with_a_former_name_is_not_a_former_container() {
    let podman = podman(NEW);
    let called = THREE.replace("[services.web]", "[services.web]\ncontainer = \"web-former\"");
    start(&podman, &called, &[]).await;
    podman.end("web-former", 0);
    start(&podman, &called, &[]).await;
    assert_eq!(podman.objects().containers["web-former"].1, ContainerState::Running);
    let plan = plan(&podman, &called, &[]).await.unwrap();
    assert!(plan.is_empty(), "{plan}");
}

#[tokio::test]
async fn a_service_is_recognised_by_a_set_aside_container_only_without_another() {
    let podman = podman(NEW);
    start(&podman, THREE, &["web"]).await;
    let mut objects = podman.objects();
    let (mut spec, _) = objects.containers["web-0"].clone();
    spec.name = "web-0-former".into();
    objects.containers.insert(spec.name.clone(), (spec, ContainerState::Running));
    let mut containers = Simulated::new(NEW, objects).containers().await.unwrap();
    let known = |containers: &[Container], configured| {
        container_made_for("web", Some(configured), containers).map(|found| found.name.clone())
    };
    assert_eq!(known(&containers, "w-0").as_deref(), Some("web-0"));
    assert_eq!(
        known(&containers, "web-0-former").as_deref(),
        Some("web-0-former"),
        "it is configured to be called that"
    );
    containers.retain(|container| container.name != "web-0");
    assert_eq!(known(&containers, "web-0").as_deref(), Some("web-0-former"));
}
