//! The reconciler over a simulated kernel.
#![allow(clippy::unwrap_used)]

use airpods_dbus::{ClampOptions, ClampState, LinkKind, PathMtu};
use tempfile::TempDir;

use super::*;
use crate::authority::recording::Recording;
use crate::authority::{Caller, Question, authorise};
use crate::kernel::simulated::{Refusal, Simulated};
use crate::state::FILE;

mod files;

struct Scene {
    reconciler: Reconciler,
    kernel: Simulated,
    _folder: TempDir,
}

fn scene() -> Scene {
    let folder = TempDir::new().unwrap();
    let places = Places { runtime: folder.path().to_owned(), persistent: folder.path().join("lib") };
    std::fs::create_dir(&places.persistent).unwrap();
    let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    let link = Link { name: name("wg0"), kind, mtu: 1420, up: true, carries_route: true };
    let kernel = Simulated::with_links(vec![link]);
    let mut reconciler = Reconciler::new(Box::new(kernel.clone()), places, Log::in_memory());
    reconciler.tend(&[], Instant::now());
    Scene { reconciler, kernel, _folder: folder }
}

fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

fn on(link: &str) -> Request {
    Request::ClampOn(Target::parse(link).unwrap(), ClampOptions::default())
}

/// A permit, got in the only way there is.
fn permit(request: &Request) -> Permit {
    let caller = Caller { name: ":1.7".try_into().unwrap(), uid: 1000 };
    let question = Question::about(caller, request, false).unwrap();
    zruntime::block_on(authorise(&Recording::saying_yes(), &question, |_| ())).unwrap().unwrap()
}

impl Scene {
    fn commit(&mut self, request: &Request) -> Result<Outcome, Error> {
        self.reconciler.commit(permit(request), request)
    }
}

#[test]
fn considering_changes_nothing() {
    let mut scene = scene();
    assert!(scene.reconciler.consider(&on("wg0")).unwrap());
    assert_eq!((scene.kernel.table(), scene.kernel.times_applied()), (None, 0));
}

#[test]
fn a_permit_for_one_thing_commits_no_other() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    for other in [Request::Reset, on("wg2"), on("")] {
        let error = scene.reconciler.commit(permit(&on("wg1")), &other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{other:?}");
    }
    assert_eq!(scene.kernel.times_applied(), 1);
}

#[test]
fn a_change_that_could_not_be_read_back_is_taken_back() {
    let mut scene = scene();
    scene.commit(&on("wg1")).unwrap();
    let before = scene.kernel.table();
    scene.kernel.refuse(Some(Refusal::Unreadable));
    assert_eq!(scene.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::NetlinkFailed);
    assert_eq!(scene.kernel.table(), before);
    assert!(!scene.reconciler.consider(&on("wg1")).unwrap(), "nothing is left to do");
}

#[test]
fn a_refused_change_is_not_undone_as_nothing_was_done() {
    let mut scene = scene();
    scene.commit(&on("wg1")).unwrap();
    scene.kernel.refuse(Some(Refusal::Conflict));
    assert_eq!(scene.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::TableConflict);
    assert!(scene.reconciler.log.lines().iter().all(|line| line.event() != "undo-failed"));
}

#[test]
fn a_link_that_became_no_vpn_while_polkit_was_asked_is_refused_at_the_commit() {
    let mut scene = scene();
    assert!(scene.reconciler.consider(&on("wg0")).unwrap());
    let kind = LinkKind { info_kind: "bridge".to_owned(), tun_type: None, hardware: 1 };
    scene.kernel.set_links(vec![Link { name: name("wg0"), kind, mtu: 1500, up: true, carries_route: true }]);
    assert_eq!(scene.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::NotVpnLink);
    assert_eq!(scene.kernel.table(), None);
}

#[test]
fn rules_that_are_gone_are_something_to_do_although_nothing_else_is_asked_for() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    assert!(!scene.reconciler.consider(&on("wg0")).unwrap());
    scene.kernel.remove_table();
    assert!(scene.reconciler.consider(&on("wg0")).unwrap());
    let outcome = scene.commit(&on("wg0")).unwrap();
    assert_eq!(outcome, Outcome { change: Change::Nothing, changed: true });
}

#[test]
fn a_kernel_that_refuses_in_the_background_is_tried_again() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    scene.kernel.remove_table();
    scene.kernel.refuse(Some(Refusal::Refused));
    let now = Instant::now();
    let wait = scene.reconciler.tend(&[Event::Rules { pid: 7 }], now).unwrap();
    assert_eq!(scene.reconciler.status(now).unwrap().clamps[0].state, ClampState::Contested);
    assert_eq!(scene.reconciler.properties(now).clamps, Vec::<String>::new());
    scene.kernel.refuse(None);
    assert_eq!(scene.reconciler.tend(&[], now + wait), None);
    assert_eq!(scene.reconciler.properties(now + wait).clamps, ["wg0"]);
}

#[test]
fn who_removed_the_rules_is_told_by_the_process_that_the_kernel_names_or_as_unknown() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    for (events, told) in [
        (&[Event::Network, Event::Rules { pid: 0 }, Event::Rules { pid: 7 }][..], "7"),
        (&[Event::Rules { pid: 0 }][..], "unknown"),
        (&[][..], "unknown"),
    ] {
        scene.kernel.remove_table();
        scene.reconciler.tend(events, Instant::now());
        let lines = scene.reconciler.log.lines();
        let line = lines.iter().rfind(|line| line.event() == "rules-removed").unwrap();
        assert_eq!(line.field("pid"), Some(told), "{events:?}");
    }
}

#[test]
fn a_table_that_is_found_at_the_start_is_taken_over_though_it_holds_the_right_links_and_then_left_alone() {
    let mut before = scene();
    before.commit(&on("wg0")).unwrap();
    let mut next = Reconciler::new(
        Box::new(before.kernel.clone()),
        before.reconciler.places.clone(),
        before.reconciler.log.clone(),
    );
    for _ in 0..2 {
        next.tend(&[], Instant::now());
        assert_eq!(before.kernel.times_applied(), 2);
    }
}

#[test]
fn rules_that_are_put_back_are_told_with_the_number_of_their_links() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    let fixed = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), ..ClampOptions::default() };
    for link in ["wg1", "wg2"] {
        scene.commit(&Request::ClampOn(Target::parse(link).unwrap(), fixed)).unwrap();
    }
    scene.kernel.remove_table();
    scene.reconciler.tend(&[], Instant::now());
    let lines = scene.reconciler.log.lines();
    let line = lines.iter().rfind(|line| line.event() == "rules-applied").unwrap();
    assert_eq!((line.field("links"), line.field("restored")), (Some("3"), Some("true")));
}

#[test]
fn a_reconciler_is_idle_until_something_is_asked_for_and_again_when_all_is_dropped() {
    let mut scene = scene();
    assert!(scene.reconciler.is_idle());
    scene.commit(&on("wg0")).unwrap();
    assert!(!scene.reconciler.is_idle());
    scene.commit(&Request::Reset).unwrap();
    assert!(scene.reconciler.is_idle());
}

#[test]
fn news_are_told_once() {
    let mut scene = scene();
    let now = Instant::now();
    assert_eq!(scene.reconciler.news(now), None);
    scene.commit(&on("wg0")).unwrap();
    let (before, after) = scene.reconciler.news(now).unwrap();
    assert_eq!((before.clamps.len(), after.clamps), (0, vec!["wg0".to_owned()]));
    assert_eq!(scene.reconciler.news(now), None);
}

#[test]
fn a_reconciler_that_leaves_changes_nothing_any_more() {
    let mut scene = scene();
    assert!(!scene.reconciler.is_leaving());
    scene.reconciler.leave();
    assert!(scene.reconciler.is_leaving());
    assert_eq!(scene.reconciler.consider(&on("wg0")).unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(scene.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(scene.reconciler.status(Instant::now()).is_ok(), "reading is still possible");
}

#[test]
fn a_table_with_the_owner_flag_is_left_to_the_kernel_and_a_plain_one_is_deleted() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    scene.reconciler.stop();
    assert!(scene.kernel.table().is_some());
    scene.kernel.set_owned(false);
    scene.reconciler.stop();
    assert_eq!(scene.kernel.table(), None);
}

#[test]
fn a_reconciler_that_withdraws_leaves_nothing_that_the_next_one_could_stumble_over() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    assert!(scene.reconciler.places.runtime.join(FILE).exists());
    scene.reconciler.leave();
    scene.reconciler.withdraw();
    assert_eq!(scene.kernel.table(), None, "not even a table with the owner flag");
    assert!(!scene.reconciler.places.runtime.join(FILE).exists());
    let status = scene.reconciler.status(Instant::now()).unwrap();
    assert_eq!((status.clamps.len(), status.ruleset.as_str()), (0, ""), "and says so");
}

#[test]
fn rules_of_others_that_cannot_be_read_are_reported_as_unknown_and_hide_nothing_else() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    assert!(scene.reconciler.status(Instant::now()).unwrap().foreign.is_some_and(|foreign| foreign.whole));
    scene.kernel.set_foreign(None);
    let status = scene.reconciler.status(Instant::now()).unwrap();
    assert_eq!(status.foreign, None);
    assert_eq!(status.clamps[0].state, ClampState::Active);
}

#[test]
fn routes_are_looked_at_for_auto_alone_and_for_vpn_links_that_are_up() {
    let scene = scene();
    let mut reconciler = scene.reconciler;
    let carrying = |reconciler: &mut Reconciler, for_auto| {
        let links = reconciler.links(for_auto).unwrap();
        links.into_iter().filter(|link| link.carries_route).map(|link| link.name.to_string()).collect::<Vec<_>>()
    };
    let wireguard = reconciler.links(true).unwrap().remove(0);
    let card = LinkKind { info_kind: String::new(), tun_type: None, hardware: 1 };
    let down = Link { name: name("wg1"), up: false, ..wireguard.clone() };
    scene.kernel.set_links(vec![wireguard.clone(), down, Link { name: name("eth0"), kind: card, ..wireguard }]);
    assert_eq!(carrying(&mut reconciler, true), ["wg0"]);
    assert_eq!(carrying(&mut reconciler, false), [""; 0]);
}
