//! Services that were removed from the configuration, and their containers that still exist.

use super::*;
use crate::podman::{Container, Podman};

/// The three services without this one.
fn without(service: &str) -> String {
    let (before, from) = THREE.split_once(&format!("[services.{service}]")).unwrap();
    let after = from.find("[services.").map_or("", |next| &from[next..]);
    format!("{before}{after}")
}

/// Plans a stop of these services with a configuration that may have changed since they were
/// started.
async fn stopping(podman: &Simulated, toml: &str, services: &[&str], remove: bool) -> Result<Stop, UnknownService> {
    let config = config(toml);
    let observed = Observed::of(podman, [].into()).await.unwrap();
    let names: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
    let present = Present::of(&config, &names, &observed.containers)?;
    let present = if names.is_empty() { present.configured() } else { present };
    Ok(stop(&present, &observed, remove, config.runtime.network_name.as_str()))
}

fn stopped(plan: &Stop) -> Vec<&str> {
    fn container(ending: &Teardown) -> Option<&str> {
        match ending {
            Teardown::Stop { container, .. } => Some(container.as_str()),
            _ => None,
        }
    }
    plan.stages.iter().flatten().filter_map(container).collect()
}

#[tokio::test]
async fn a_service_removed_from_the_configuration_is_stopped_only_by_its_name() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let plan = stopping(&podman, &without("paint"), &[], false).await.unwrap();
    assert_eq!(stopped(&plan), ["model-0", "web-0"]);
    let plan = stopping(&podman, &without("web"), &["model"], false).await.unwrap();
    assert_eq!(stopped(&plan), ["model-0"]);
    let plan = stopping(&podman, &without("web"), &["web", "model"], false).await.unwrap();
    assert_eq!(stopped(&plan), ["model-0", "web-0"]);
}

#[tokio::test]
async fn a_service_that_was_taken_out_is_known_by_its_name_as_long_as_its_container_is_there() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let plan = stopping(&podman, &without("web"), &["web"], true).await.unwrap();
    let shown: Vec<String> = plan.stages[1..].iter().flatten().map(ToString::to_string).collect();
    assert_eq!((stopped(&plan), shown), (vec!["web-0"], vec!["remove the container `web-0`".to_owned()]));
    podman.remove_container("web-0").await.unwrap();
    let unknown = stopping(&podman, &without("web"), &["web"], true).await.unwrap_err();
    assert_eq!(unknown, UnknownService::Unknown { name: "web".into(), nearest: None });
}

#[tokio::test]
async fn the_network_stays_for_what_is_left_on_it_and_goes_with_that() {
    let podman = podman(NEW);
    start(&podman, THREE, &["web"]).await;
    podman.end("web-0", 0);
    let shown = async |services: &[&str]| {
        let plan = stopping(&podman, &without("web"), services, true).await.unwrap();
        plan.stages.iter().flatten().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]).await, Vec::<String>::new());
    assert_eq!(shown(&["web"]).await, ["remove the container `web-0`", "remove the network `airpods_network`"]);
}

#[tokio::test]
async fn services_of_another_configuration_on_its_own_network_are_left_alone() {
    let podman = podman(NEW);
    let podded = THREE.replace("[services.web]", "[services.web]\npod = \"alone\"");
    start(&podman, &format!("runtime.network_name = \"theirs\"\n{podded}"), &[]).await;
    let none = THREE.split("[services.").next().unwrap();
    assert_eq!(stopping(&podman, none, &[], true).await.unwrap().stages, Stages::new());
    for service in ["model", "web", "paint"] {
        stopping(&podman, none, &[service], false).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_container_without_a_network_label_is_recognised_by_its_network() {
    let podman = podman(NEW);
    start(&podman, &format!("runtime.network_name = \"theirs\"\n{THREE}"), &["web", "paint"]).await;
    let mut containers = podman.containers().await.unwrap();
    for container in &mut containers {
        container.labels.remove(label::NETWORK);
    }
    let config = config(THREE.split("[services.").next().unwrap());
    let left = Present::of(&config, &[], &containers).unwrap().leftover;
    let names: Vec<&str> = left.iter().map(|container: &&Container| container.name.as_str()).collect();
    assert_eq!(names, ["paint-0"], "of one on the host's network it is not known");
}

#[tokio::test]
async fn a_service_that_is_only_switched_off_is_in_the_configuration() {
    let podman = podman(NEW);
    start(&podman, THREE, &["web"]).await;
    let off = THREE.replace("[services.web]", "[services.web]\nenabled = false");
    let plan = stopping(&podman, &off, &[], false).await.unwrap();
    assert_eq!(stopped(&plan), ["web-0"]);
}

#[tokio::test]
async fn a_start_reports_leftover_services_and_none_that_it_stops() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let warnings = async |toml: &str| {
        let desired = desired(toml, &[], NEW);
        let observed = observed(&podman, &desired).await;
        let plan = decide(&desired, &observed, NetworkReset::Proposed).unwrap();
        left_running(&config(toml), &observed, &plan.replaced)
    };
    let sentence = "`web` runs and is not in the configuration; `airpods stop web` ends it";
    assert_eq!(warnings(&without("web")).await, [sentence]);
    let recreated = format!("runtime.network.internal = true\n{}", without("web"));
    assert_eq!(warnings(&recreated).await, Vec::<String>::new(), "it goes with the network");
    podman.end("web-0", 0);
    assert_eq!(warnings(&without("web")).await, Vec::<String>::new());
}
