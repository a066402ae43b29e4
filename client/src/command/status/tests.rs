//! Services and lines in; rows and frames out.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::plan::tests::{NEW, THREE, config, podman, start};

#[tokio::test]
async fn the_existing_container_is_shown_or_else_the_configured_name() {
    let podman = podman(NEW);
    start(&podman, THREE, &["web"]).await;
    let config = config(&THREE.replace("[services.web]", "[services.web]\ncontainer = \"w-0\""));
    let containers = podman.containers().await.unwrap();
    for (containers, expected) in [(&containers[..], "web-0"), (&[], "w-0")] {
        let subject = subjects(&config, &["web".into()], containers).unwrap()[0];
        let row = look_at(&podman, &config, subject, None, Duration::ZERO).await;
        assert_eq!(row.to_json()["container"], expected);
    }
}

#[tokio::test]
async fn leftovers_of_a_service_removed_from_the_configuration_are_shown() {
    let podman = podman(NEW);
    start(&podman, THREE, &[]).await;
    let containers = podman.containers().await.unwrap();
    let taken_out = config(THREE.split("[services.web]").next().unwrap());
    let shown = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let subjects = subjects(&taken_out, &names, &containers);
        subjects.map(|all| all.iter().map(|one| (one.name, one.service.is_some())).collect::<Vec<_>>())
    };
    assert_eq!(shown(&[]).unwrap(), [("model", true), ("paint", false), ("web", false)]);
    assert_eq!(shown(&["web"]).unwrap(), [("web", false)]);
    shown(&["wob"]).unwrap_err();
    let left = subjects(&taken_out, &["web".into()], &containers).unwrap()[0];
    let row = look_at(&podman, &taken_out, left, None, Duration::ZERO).await;
    assert_eq!((row.state.word(), row.container.as_str(), row.configured), ("running", "web-0", false));
}

#[test]
fn a_service_that_is_switched_off_is_shown_where_it_has_a_container_or_is_named() {
    let off = config(&THREE.replace("[services.web]", "[services.web]\nenabled = false"));
    let shown = |names: &[String]| {
        subjects(&off, names, &[]).unwrap().iter().map(|one| one.name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]), ["model", "paint"]);
    assert_eq!(shown(&["web".into()]), ["web"]);
}

#[test]
fn an_interval_is_a_number_of_seconds_that_makes_sense() {
    assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
    for wrong in ["", "2s", "0", "-1", "NaN", "inf", "1e9"] {
        assert!(interval(wrong).is_err(), "{wrong}");
    }
}

fn painted(lines: &[&str], width: usize, height: usize) -> Vec<String> {
    let lines: Vec<Line> = lines.iter().map(|line| Line::plain(line)).collect();
    let frame = frame(&lines, width, height);
    let inner = frame.strip_prefix("\u{1b}[H").and_then(|rest| rest.strip_suffix("\u{1b}[K\u{1b}[J"));
    inner.unwrap_or_default().split("\u{1b}[K\r\n").map(str::to_owned).collect()
}

#[test]
fn a_frame_never_wraps_or_scrolls() {
    assert_eq!(painted(&["abc", "d"], 80, 24), ["abc", "d"]);
    assert_eq!(painted(&["äbcdef", "d"], 3, 2), ["äbc", "d"]);
    assert_eq!(painted(&["a", "b", "c", "d"], 80, 3), ["a", "b", "… and 2 more"]);
    assert_eq!(painted(&["a", "b"], 4, 1), ["… an"]);
}
