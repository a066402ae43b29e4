#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::future::pending;
use std::net::{Ipv4Addr, TcpListener};

mod gate;
mod health;
mod replacing;
mod undoing;

use super::*;
use crate::plan::tests::{NEW, PACE, THREE, plan, podman};
use crate::plan::{Action, Plan, Step};
use crate::podman::{Call, ContainerDetail, ContainerState, HostFacts, Objects, Simulated};

async fn prepared(podman: &Simulated, toml: &str) -> Plan {
    let mut plan = plan(podman, toml, &[]).await.unwrap();
    // The test machine's ports do not matter to a simulated podman.
    plan.ports.clear();
    plan
}

async fn run_plan(podman: &Simulated, plan: &Plan) -> Result<Outcome, Aborted> {
    execute(podman, plan, &PACE, &Silent, pending()).await
}

/// An interrupt that comes after this number of polls.
fn after_polls(polls: u32) -> impl Future<Output = ()> {
    let mut left = polls;
    std::future::poll_fn(move |context| {
        left -= 1;
        context.waker().wake_by_ref();
        if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
}

/// The call by which a step changes podman, if it makes one.
fn call(action: &Action) -> Option<Call> {
    Some(match action {
        Action::CreateNetwork(spec) => Call::CreateNetwork(spec.name.clone()),
        Action::CreateVolume(name) => Call::CreateVolume(name.clone()),
        Action::Pull(image) => Call::Pull(image.clone()),
        Action::CreatePod(spec) => Call::CreatePod(spec.name.clone()),
        Action::CreateContainer(spec) => Call::CreateContainer(spec.name.clone()),
        Action::Start { name } => Call::StartContainer(name.clone()),
        _ => return None,
    })
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_podman_unchanged() {
    let toml = THREE.replace("[services.web]", "[services.web]\npod = \"alone\"");
    let toml = toml.replace("lab/paint:1", "lab/paint:2");
    let fresh = || {
        let podman = podman(NEW);
        let mut objects = podman.objects();
        objects.registry.insert("docker.io/lab/paint:2".into());
        Simulated::new(NEW, objects)
    };
    let steps = prepared(&fresh(), &toml).await.steps;
    let calls: Vec<Call> = steps.iter().filter_map(|step| call(&step.action)).collect();
    assert_eq!(calls.len(), 10);
    for failing in calls {
        let podman = fresh();
        let mut before = podman.objects();
        podman.fail_at(failing.clone());
        let plan = prepared(&podman, &toml).await;
        let aborted = run_plan(&podman, &plan).await.unwrap_err();
        assert_eq!(aborted.left, Vec::<String>::new(), "{failing:?}");
        // The undo keeps images, and names them.
        let images = podman.objects().images;
        let pulled: BTreeSet<String> = images.difference(&before.images).cloned().collect();
        assert_eq!(aborted.pulled.into_iter().collect::<BTreeSet<_>>(), pulled, "{failing:?}");
        before.images = images;
        assert_eq!(podman.objects(), before, "{failing:?}");
    }
}

#[tokio::test]
async fn an_interrupt_at_any_time_leaves_podman_unchanged() {
    for polls in 1..60 {
        let podman = podman(NEW);
        let before = podman.objects();
        let plan = prepared(&podman, THREE).await;
        match execute(&podman, &plan, &PACE, &Silent, after_polls(polls)).await {
            Err(aborted) => {
                assert!(matches!(aborted.cause, StepError::Interrupted));
                assert_eq!(podman.objects(), before, "after {polls} polls");
            }
            Ok(_) => assert_eq!(podman.objects().containers.len(), 3),
        }
    }
}

#[tokio::test]
async fn changes_that_cannot_be_undone_are_named() {
    let podman = podman(NEW);
    podman.fail_at(Call::StartContainer("web-0".into()));
    podman.fail_at(Call::RemoveContainer("web-0".into()));
    let plan = prepared(&podman, THREE).await;
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    assert!(aborted.left.iter().any(|left| left.contains("the container `web-0`")), "{aborted:?}");
    assert!(aborted.left.iter().any(|left| left.contains("the network `airpods_network`")), "{aborted:?}");
    assert!(aborted.to_string().starts_with("`services.web`: podman could not start the container `web-0`"));
}

#[tokio::test]
async fn no_more_images_are_pulled_at_once_than_allowed() {
    let registry = ["model", "web", "paint"].map(|name| format!("docker.io/lab/{name}:1"));
    let podman = Simulated::new(NEW, Objects { registry: registry.into(), ..Objects::default() });
    let plan = prepared(&podman, THREE).await;
    run_plan(&podman, &plan).await.unwrap();
    assert_eq!(podman.most_pulls_at_once(), 2);
}

#[tokio::test]
async fn an_image_that_does_not_come_is_named_with_its_place() {
    let podman = podman(NEW);
    let plan = prepared(&podman, &THREE.replace("lab/web:1", "lab/missing:1")).await;
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    let expected =
        "`services.web.image`: the image `docker.io/lab/missing:1` cannot be pulled: the registry does not have it";
    assert_eq!(aborted.to_string(), expected);
}

#[tokio::test]
async fn a_setting_that_podman_does_not_honour_is_an_error_with_both_values() {
    let mut podman = podman(NEW);
    podman.distort = Some(|detail: &mut ContainerDetail| detail.pids_limit = 1);
    let before = podman.objects();
    let plan = prepared(&podman, THREE).await;
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    assert!(aborted.to_string().contains(".pids_limit`: `2048` was asked for and podman has `1`"), "{aborted}");
    assert_eq!(podman.objects(), before);
}

#[tokio::test]
async fn a_limit_that_rootless_podman_has_no_right_to_is_a_warning() {
    let mut podman = podman(NEW);
    podman.distort = Some(|detail: &mut ContainerDetail| detail.pids_limit = 0);
    podman.facts = HostFacts { rootless: true, ..HostFacts::default() };
    let plan = prepared(&podman, THREE).await;
    let outcome = run_plan(&podman, &plan).await.unwrap();
    assert_eq!(outcome.warnings.len(), 3);
    assert!(outcome.warnings[0].contains("is not enforced") && outcome.warnings[0].contains("cgroups v1"));
}

#[tokio::test]
async fn a_container_that_ends_at_once_is_reported_with_the_end_of_its_log() {
    let mut podman = podman(NEW);
    podman.log = vec!["no such model".into()];
    podman.distort = Some(|detail: &mut ContainerDetail| detail.state = crate::podman::ContainerState::Exited(3));
    let plan = prepared(&podman, THREE).await;
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    assert!(aborted.to_string().contains("ended with exit code 3"), "{aborted}");
    let mut shown = Vec::new();
    crate::error::Report::render(&aborted, &mut shown).unwrap();
    assert!(String::from_utf8(shown).unwrap().contains("\nlog: no such model\n"));
}

#[tokio::test]
async fn a_container_that_podman_restarted_is_not_reported_as_a_success() {
    let mut podman = podman(NEW);
    podman.distort = Some(|detail: &mut ContainerDetail| detail.restarts = 1);
    let plan = prepared(&podman, THREE).await;
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    assert!(aborted.to_string().ends_with("ended and was restarted by podman while it was starting"), "{aborted}");
}

/// The plan that restarts every running service.
async fn restarting(podman: &Simulated, toml: &str) -> Plan {
    use crate::plan::{Observed, restart, tests::desired};
    restart(&desired(toml, &[], NEW), &Observed::of(podman, [].into()).await.unwrap(), false).plan
}

#[tokio::test]
async fn a_restart_stops_and_starts_and_makes_nothing() {
    let podman = podman(NEW);
    run_plan(&podman, &prepared(&podman, THREE).await).await.unwrap();
    let (before, calls) = (podman.objects(), podman.calls().len());
    run_plan(&podman, &restarting(&podman, THREE).await).await.unwrap();
    assert_eq!(podman.objects(), before);
    let made: Vec<Call> = podman.calls().split_off(calls);
    let services = ["model-0", "web-0", "paint-0"];
    assert!(services.iter().all(|name| made.contains(&Call::StopContainer((*name).into()))), "{made:?}");
    assert!(services.iter().all(|name| made.contains(&Call::StartContainer((*name).into()))), "{made:?}");
    assert_eq!(made.len(), 6);
}

#[tokio::test]
async fn an_interrupted_restart_leaves_everything_running() {
    let podman = podman(NEW);
    run_plan(&podman, &prepared(&podman, THREE).await).await.unwrap();
    let before = podman.objects();
    let mut cut_short = 0;
    for polls in 1..40 {
        let plan = restarting(&podman, THREE).await;
        let mut left = polls;
        let interrupt = std::future::poll_fn(move |context| {
            left -= 1;
            context.waker().wake_by_ref();
            if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        cut_short += usize::from(execute(&podman, &plan, &PACE, &Silent, interrupt).await.is_err());
        assert_eq!(podman.objects(), before, "after {polls} polls");
    }
    assert!(cut_short > 0);
}

#[tokio::test]
async fn a_service_that_does_not_start_again_is_named_and_the_others_run() {
    let podman = podman(NEW);
    run_plan(&podman, &prepared(&podman, THREE).await).await.unwrap();
    podman.fail_at(Call::StartContainer("web-0".into()));
    let aborted = run_plan(&podman, &restarting(&podman, THREE).await).await.unwrap_err();
    assert_eq!(aborted.left.len(), 1, "{aborted:?}");
    assert!(aborted.left[0].starts_with("the container `web-0` was stopped and does not start again: "), "{aborted:?}");
    let objects = podman.objects();
    assert!(["model-0", "paint-0"].iter().all(|name| objects.containers[*name].1 == ContainerState::Running));
}

#[test]
fn folders_that_were_made_on_the_way_to_one_that_cannot_be_are_removed_again() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("made").join("x".repeat(300));
    assert!(matches!(act::make_folders(&path, "web"), Err(StepError::Folder { .. })));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_port_in_use_is_found_before_anything_is_done() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let podman = podman(NEW);
    let toml = THREE.replace("7002", &port.to_string());
    let mut plan = plan(&podman, &toml, &[]).await.unwrap();
    plan.ports.retain(|(service, _)| service == "web");
    let aborted = run_plan(&podman, &plan).await.unwrap_err();
    assert_eq!(aborted.to_string(), format!("`services.web.ports`: port {port} is in use by another program"));
    assert_eq!(podman.calls(), []);
}

#[tokio::test]
async fn independent_steps_run_side_by_side() {
    struct Order(RefCell<Vec<&'static str>>);
    impl Progress for Order {
        fn event(&self, event: &Event<'_>) {
            let mut order = self.0.borrow_mut();
            match event {
                Event::Began { step, .. } if matches!(step.action, Action::CreateContainer(_)) => order.push("began"),
                Event::Finished { step, .. } if matches!(step.action, Action::CreateContainer(_)) => order.push("done"),
                _ => {}
            }
        }
    }
    let podman = podman(NEW);
    let plan = prepared(&podman, &THREE.replace("network_mode = \"host\"", "")).await;
    let order = Order(RefCell::default());
    execute(&podman, &plan, &PACE, &order, pending()).await.unwrap();
    assert_eq!(order.0.borrow()[..2], ["began", "began"]);
}

#[tokio::test]
async fn one_step_after_another_is_one_at_a_time() {
    struct Most(RefCell<(usize, usize)>);
    impl Progress for Most {
        fn event(&self, event: &Event<'_>) {
            let (now, most) = &mut *self.0.borrow_mut();
            match event {
                Event::Began { .. } => *now += 1,
                Event::Finished { .. } => *now -= 1,
                _ => {}
            }
            *most = (*most).max(*now);
        }
    }
    for (sequential, at_once) in [(true, 1), (false, 3)] {
        let podman = podman(NEW);
        let plan = prepared(&podman, THREE).await;
        let most = Most(RefCell::default());
        execute(&podman, &plan, &Pace { sequential, ..PACE }, &most, pending()).await.unwrap();
        assert_eq!(most.0.borrow().1, at_once);
    }
}

#[tokio::test]
async fn a_second_interrupt_ends_everything_and_names_all_that_is_left() {
    let mut cut_short = 0;
    for (first, second) in (0..24).flat_map(|first| (0..6).map(move |second| (first, second))) {
        let podman = podman(NEW);
        let mut plan = plan(&podman, THREE, &["model", "web"]).await.unwrap();
        plan.ports.clear();
        let (interrupt, again) = (after_polls(first + 1), after_polls(second + 1));
        let ended = execute_until(&podman, &plan, &PACE, &Silent, &Open, interrupt, again).await;
        let Err(aborted) = ended else { continue };
        let (objects, left) = (podman.objects(), aborted.left.join("\n"));
        let there = objects.containers.keys().chain(objects.networks.keys()).chain(&objects.volumes);
        for name in there {
            assert!(left.contains(&format!("`{name}`")), "after {first} and {second} polls `{name}` is left: {left}");
            cut_short += 1;
        }
    }
    assert!(cut_short > 0, "no second interrupt came in time");
}
