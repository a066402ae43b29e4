//! The objects that a clean-up removes or keeps, and why.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::execute::end;
use crate::plan::tests::{NEW, THREE, podman, start};
use crate::podman::{Call, Objects, Podman, Simulated};
use std::future::pending;

const ALL: Scope = Scope { pods: true, volumes: true, images: true, network: true, configs: true };

async fn inventory(podman: &Simulated) -> Inventory {
    let images = ["model", "web", "paint"].map(|name| format!("docker.io/lab/{name}:1"));
    Inventory {
        observed: Observed::of(podman, images.into()).await.unwrap(),
        volumes: [("weights".to_owned(), podman.volume_users("weights").await.unwrap())].into(),
        usage: podman.disk_usage().await.unwrap(),
        files: vec!["/home/x/config.toml".into()],
    }
}

/// Three running services, one of them in a pod, beside a foreign container, volume and network.
async fn among_others() -> Simulated {
    let podman = podman(NEW);
    start(&podman, &THREE.replace("[services.web]", "[services.web]\npod = \"alone\""), &[]).await;
    let mut objects = podman.objects();
    let mut stranger = objects.containers["model-0"].clone();
    stranger.0.name = "stranger".into();
    stranger.0.labels.clear();
    stranger.0.mounts.clear();
    stranger.0.image = "docker.io/else/thing:1".into();
    stranger.0.networking = crate::podman::Networking::Host;
    objects.containers.insert("stranger".into(), stranger);
    objects.volumes.insert("theirs".into());
    objects.images.insert("docker.io/else/thing:1".into());
    let mut network = objects.networks["airpods_network"].clone();
    network.name = "theirs".into();
    network.labels.clear();
    objects.networks.insert("theirs".into(), network);
    Simulated::new(NEW, objects)
}

fn names(clean: &Clean) -> Vec<String> {
    clean.stages.iter().flatten().map(ToString::to_string).collect()
}

#[tokio::test]
async fn everything_of_ours_goes_and_nothing_of_others() {
    let podman = among_others().await;
    let plan = clean(ALL, false, &inventory(&podman).await);
    let podmans: Vec<Vec<Teardown>> = plan.stages[..plan.stages.len() - 1].to_vec();
    assert_eq!(plan.stages.last().unwrap(), &[Teardown::Discard("/home/x/config.toml".into())]);
    assert_eq!(plan.skipped, []);
    let ended = end(&podman, &podmans, 1, |_| {}, pending(), pending()).await;
    assert_eq!(ended.refused, []);
    let objects = podman.objects();
    let left = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<String>>();
    assert_eq!(left(objects.containers.keys().collect()), ["stranger"]);
    assert_eq!(left(objects.volumes.iter().collect()), ["theirs"]);
    assert_eq!(left(objects.networks.keys().collect()), ["theirs"]);
    assert_eq!(left(objects.images.iter().collect()), ["docker.io/else/thing:1"]);
    assert!(objects.pods.is_empty());
}

#[tokio::test]
async fn objects_in_use_stay_and_their_users_are_named() {
    let podman = among_others().await;
    let scope = Scope { pods: false, configs: false, ..ALL };
    let plan = clean(scope, false, &inventory(&podman).await);
    assert_eq!(names(&plan), Vec::<String>::new());
    let skipped: Vec<String> = plan.skipped.iter().map(ToString::to_string).collect();
    let expected = [
        "the network `airpods_network` stays: the container `model-0` is on it; `--pods` removes that",
        "the volume `weights` stays: the container `model-0` uses it; `--pods` removes that",
    ];
    assert_eq!(skipped[..2], expected);
    assert_eq!(skipped.len(), 5, "{skipped:?}");
}

#[tokio::test]
async fn objects_of_ours_in_foreign_use_stay() {
    let podman = among_others().await;
    let mut objects = podman.objects();
    let (stranger, _) = objects.containers.get_mut("stranger").unwrap();
    stranger.image = "docker.io/lab/paint:1".into();
    stranger.mounts =
        vec![crate::podman::Mount::Volume { name: "weights".into(), target: "/x".into(), read_only: false }];
    stranger.networking = crate::podman::Networking::Pod("alone".into());
    let podman = Simulated::new(NEW, objects);
    let plan = clean(ALL, false, &inventory(&podman).await);
    let skipped: Vec<String> = plan.skipped.iter().map(ToString::to_string).collect();
    let expected = [
        "the pod `alone` stays: the container `stranger` in it was not made by airpods",
        "the network `airpods_network` stays: the pod `alone` may be on it",
        "the volume `weights` stays: the container `stranger` uses it",
        "the image `docker.io/lab/paint:1` stays: the container `stranger` uses it",
    ];
    assert_eq!(skipped, expected);
    let ended = end(&podman, &plan.stages[..plan.stages.len() - 1], 1, |_| {}, pending(), pending()).await;
    assert_eq!(ended.refused, []);
    assert!(!podman.calls().iter().any(|call| matches!(call, Call::RemovePod(_) | Call::RemoveVolume(_))));
    assert!(podman.objects().containers.contains_key("stranger"));
}

#[tokio::test]
async fn volumes_are_named_in_the_question_or_stay() {
    let podman = among_others().await;
    let inventory = inventory(&podman).await;
    let asked = clean(ALL, false, &inventory).question();
    assert_eq!(asked, "Do all of this, and lose what is in the volume `weights` (1.00 KiB)?");
    let forced = clean(ALL, true, &inventory);
    assert_eq!(forced.question(), "Do all of this?");
    assert_eq!(
        forced.skipped[0].to_string(),
        "the volume `weights` stays: no question names it; `--volumes` removes it"
    );
    assert!(forced.lines().all(|line| !line.contains("volume")));
}

#[tokio::test]
async fn nothing_at_all_is_nothing_to_clean() {
    let podman = Simulated::new(NEW, Objects::default());
    let observed = Observed::of(&podman, [].into()).await.unwrap();
    assert_eq!(clean(ALL, false, &Inventory { observed, ..Inventory::default() }), Clean::default());
}
