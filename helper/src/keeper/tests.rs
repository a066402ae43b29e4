//! The keeper over a simulated kernel.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use airpods_dbus::{ClampOptions, ClampState, LinkKind};
use tempfile::TempDir;
use zbus::Message;

use super::*;
use crate::authority::recording::Recording;
use crate::authority::{Caller, Question, authorise};
use crate::kernel::Link;
use crate::kernel::simulated::{Refusal, Simulated};
use crate::state::FILE;

const KEPT: &str =
    r#"{"version":1,"auto":null,"clamps":[{"link":"wg0","mtu":null,"persist":true,"any-link":false}],"known":[]}"#;

struct Scene {
    keeper: Keeper,
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
    let mut keeper = Keeper::new(Box::new(kernel.clone()), places, Log::in_memory());
    keeper.tend(&[], Instant::now());
    Scene { keeper, kernel, _folder: folder }
}

fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

fn on(link: &str) -> Request {
    Request::ClampOn(Target::parse(link).unwrap(), ClampOptions::default())
}

/// A permit, got in the only way there is.
fn permit(request: &Request) -> Permit {
    let message = Message::method_call("/", "Any").sender(":1.7").build(&()).unwrap();
    let caller = Caller { name: ":1.7".try_into().unwrap(), uid: 1000 };
    let question = Question::about(&message.header(), caller, request).unwrap();
    zruntime::block_on(authorise(&Recording::saying_yes(), &question, |_| ())).unwrap().unwrap()
}

impl Scene {
    fn commit(&mut self, request: &Request) -> Result<Outcome, Error> {
        self.keeper.commit(permit(request), request)
    }

    /// What a helper that starts after a reboot would remember.
    fn after_a_reboot(&self) -> Memory {
        let runtime = self.keeper.places.runtime.join("not there");
        Places { runtime, ..self.keeper.places.clone() }.recall().0
    }

    /// What a helper that starts after this one was killed would remember.
    fn after_a_crash(&self) -> Memory {
        self.keeper.places.recall().0
    }

    fn kept_file(&self) -> PathBuf {
        self.keeper.places.persistent.join(FILE)
    }

    /// From now on no file can be written to the folder of what is remembered: one is written beside the former one first.
    fn let_nothing_be_remembered(&self) {
        std::fs::create_dir(self.keeper.places.runtime.join(format!(".{FILE}.new"))).unwrap();
    }

    fn let_everything_be_remembered(&self) {
        std::fs::remove_dir(self.keeper.places.runtime.join(format!(".{FILE}.new"))).unwrap();
    }

    fn wireguard(&mut self) -> Link {
        self.kernel.links(&|_| true).unwrap().remove(0)
    }

    /// Another VPN link comes.
    fn another_vpn(&mut self, link: &str) {
        let wireguard = self.wireguard();
        self.kernel.set_links(vec![wireguard.clone(), Link { name: name(link), ..wireguard }]);
    }
}

#[test]
fn considering_changes_nothing() {
    let mut scene = scene();
    assert!(scene.keeper.consider(&on("wg0")).unwrap());
    assert_eq!((scene.kernel.table(), scene.kernel.times_applied()), (None, 0));
}

#[test]
fn a_permit_for_one_thing_commits_no_other() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    for other in [Request::Reset, on("wg2"), on("")] {
        let error = scene.keeper.commit(permit(&on("wg1")), &other).unwrap_err();
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
    assert!(!scene.keeper.consider(&on("wg1")).unwrap(), "nothing is left to do");
}

#[test]
fn a_refused_change_is_not_undone_as_nothing_was_done() {
    let mut scene = scene();
    scene.commit(&on("wg1")).unwrap();
    scene.kernel.refuse(Some(Refusal::Conflict));
    assert_eq!(scene.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::TableConflict);
    assert!(scene.keeper.log.lines().iter().all(|line| line.event() != "undo-failed"));
}

#[test]
fn a_link_that_became_no_vpn_while_polkit_was_asked_is_refused_at_the_commit() {
    let mut scene = scene();
    assert!(scene.keeper.consider(&on("wg0")).unwrap());
    let kind = LinkKind { info_kind: "bridge".to_owned(), tun_type: None, hardware: 1 };
    scene.kernel.set_links(vec![Link { name: name("wg0"), kind, mtu: 1500, up: true, carries_route: true }]);
    assert_eq!(scene.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::NotVpnLink);
    assert_eq!(scene.kernel.table(), None);
}

#[test]
fn rules_that_are_gone_are_something_to_do_although_nothing_else_is_asked_for() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    assert!(!scene.keeper.consider(&on("wg0")).unwrap());
    scene.kernel.remove_table();
    assert!(scene.keeper.consider(&on("wg0")).unwrap());
    let outcome = scene.commit(&on("wg0")).unwrap();
    assert_eq!(outcome, Outcome { change: Change::Nothing, changed: true });
}

fn kept_auto() -> Request {
    Request::ClampOn(Target::Auto, ClampOptions { persist: true, ..ClampOptions::default() })
}

#[test]
fn a_kept_auto_knows_its_links_after_a_reboot_whenever_they_came() {
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    assert_eq!(scene.after_a_reboot().known, [name("wg0")].into());
    let wireguard = scene.wireguard();
    scene.kernel.set_links(vec![Link { name: name("wg1"), ..wireguard.clone() }]);
    scene.keeper.tend(&[Event::Network], Instant::now());
    assert_eq!(scene.after_a_reboot().known, [name("wg0"), name("wg1")].into());
    scene.kernel.set_links(vec![Link { name: name("wg2"), ..wireguard }]);
    scene.commit(&on("wg7")).unwrap();
    assert_eq!(scene.after_a_reboot().known, [name("wg0"), name("wg1"), name("wg2")].into(), "be it in a call");
}

#[test]
fn an_auto_that_is_not_kept_leaves_nothing_for_after_a_reboot() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    assert_eq!(scene.after_a_reboot(), Memory::default());
}

#[test]
fn a_kernel_that_refuses_in_the_background_is_tried_again() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    scene.kernel.remove_table();
    scene.kernel.refuse(Some(Refusal::Refused));
    let now = Instant::now();
    let wait = scene.keeper.tend(&[Event::Rules { pid: 7 }], now).unwrap();
    assert_eq!(scene.keeper.status(now).unwrap().clamps[0].state, ClampState::Contested);
    assert_eq!(scene.keeper.properties(now).clamps, Vec::<String>::new());
    scene.kernel.refuse(None);
    assert_eq!(scene.keeper.tend(&[], now + wait), None);
    assert_eq!(scene.keeper.properties(now + wait).clamps, ["wg0"]);
}

#[test]
fn a_name_that_auto_learns_is_remembered_though_the_kernel_refuses_its_rules() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    scene.kernel.refuse(Some(Refusal::Refused));
    scene.another_vpn("wg1");
    let now = Instant::now();
    let wait = scene.keeper.tend(&[Event::Network], now).unwrap();
    assert!(scene.after_a_crash().known.contains(&name("wg1")));
    scene.kernel.refuse(None);
    scene.keeper.tend(&[], now + wait);
    assert!(scene.after_a_crash().known.contains(&name("wg1")));
    assert!(scene.kernel.table().unwrap().route.contains(&name("wg1")), "the premise: later it does not");
}

#[test]
fn a_name_that_auto_learns_is_remembered_though_its_rules_have_to_wait() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    let now = Instant::now();
    for _ in 0..4 {
        scene.kernel.remove_table();
        scene.keeper.tend(&[Event::Rules { pid: 7 }], now);
    }
    scene.another_vpn("wg1");
    assert!(scene.keeper.tend(&[Event::Network], now).is_some());
    assert_eq!(scene.kernel.table(), None, "the premise: they wait");
    assert!(scene.after_a_crash().known.contains(&name("wg1")));
}

#[test]
fn reset_removes_what_is_kept_though_the_memory_knows_nothing_of_it() {
    for request in [None, Some(on("wg0"))] {
        let mut scene = scene();
        if let Some(request) = request {
            scene.commit(&request).unwrap();
        }
        std::fs::write(scene.kept_file(), KEPT).unwrap();
        assert!(scene.keeper.consider(&Request::Reset).unwrap());
        assert!(scene.commit(&Request::Reset).unwrap().changed);
        assert_eq!(scene.after_a_reboot(), Memory::default());
        assert!(!scene.keeper.consider(&Request::Reset).unwrap(), "nothing is left to do");
    }
}

#[test]
fn a_reset_that_cannot_remove_what_is_kept_says_so_and_changes_nothing() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    std::fs::create_dir(scene.kept_file()).unwrap();
    let before = scene.kernel.table();
    let error = scene.commit(&Request::Reset).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApplyFailed);
    assert!(error.message().contains("kept across reboots"), "{error}");
    assert_eq!((scene.kernel.table(), scene.keeper.is_idle()), (before, false));
    assert!(scene.commit(&on("wg1")).is_ok(), "who keeps nothing is not in its way");
}

#[test]
fn what_was_to_be_kept_and_is_not_in_its_file_is_written_when_it_is_asked_for_again() {
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    assert!(!scene.keeper.consider(&kept_auto()).unwrap());
    std::fs::remove_file(scene.kept_file()).unwrap();
    assert!(scene.keeper.consider(&kept_auto()).unwrap());
    assert!(scene.commit(&kept_auto()).unwrap().changed);
    assert_eq!(scene.after_a_reboot().desired.auto, Some(true));
}

#[test]
fn what_cannot_be_remembered_leaves_no_older_wishes_behind_to_win_over_what_is_kept() {
    let mut scene = scene();
    let kept = |link: &str| {
        let options = ClampOptions { persist: true, ..ClampOptions::default() };
        Request::ClampOn(Target::Link(name(link)), options)
    };
    let after_a_crash = |scene: &Scene| scene.after_a_crash().desired.named.into_keys().collect::<Vec<_>>();
    for request in [kept("wg0"), kept("wg1"), on("wg2")] {
        scene.commit(&request).unwrap();
    }
    scene.let_nothing_be_remembered();
    scene.commit(&Request::ClampOff(Target::Link(name("wg0")))).unwrap();
    assert_eq!(after_a_crash(&scene), [name("wg1")], "what is kept is true at least");
    assert!(scene.keeper.log.lines().iter().any(|line| line.event() == "state-not-saved"));
    scene.let_everything_be_remembered();
    scene.keeper.tend(&[], Instant::now());
    assert_eq!(after_a_crash(&scene), [name("wg1"), name("wg2")], "and the rest is made up for at the next look");
}

#[test]
fn a_name_that_cannot_be_written_down_leaves_the_wishes_remembered_and_is_told_once() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    scene.let_nothing_be_remembered();
    scene.another_vpn("wg1");
    for _ in 0..3 {
        scene.keeper.tend(&[Event::Network], Instant::now());
    }
    assert_eq!(scene.after_a_crash().desired.auto, Some(false));
    assert_eq!(scene.keeper.log.lines().iter().filter(|line| line.event() == "state-not-saved").count(), 1);
    scene.let_everything_be_remembered();
    scene.keeper.tend(&[], Instant::now());
    assert!(scene.after_a_crash().known.contains(&name("wg1")));
}

#[test]
fn news_are_told_once() {
    let mut scene = scene();
    let now = Instant::now();
    assert_eq!(scene.keeper.news(now), None);
    scene.commit(&on("wg0")).unwrap();
    let (before, after) = scene.keeper.news(now).unwrap();
    assert_eq!((before.clamps.len(), after.clamps), (0, vec!["wg0".to_owned()]));
    assert_eq!(scene.keeper.news(now), None);
}

#[test]
fn a_keeper_that_leaves_changes_nothing_any_more() {
    let mut scene = scene();
    scene.keeper.leave();
    assert_eq!(scene.keeper.consider(&on("wg0")).unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(scene.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(scene.keeper.status(Instant::now()).is_ok(), "reading is still possible");
}

#[test]
fn a_table_with_the_owner_flag_is_left_to_the_kernel_and_a_plain_one_is_deleted() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    scene.keeper.stop();
    assert!(scene.kernel.table().is_some());
    scene.kernel.set_owned(false);
    scene.keeper.stop();
    assert_eq!(scene.kernel.table(), None);
}

#[test]
fn a_keeper_that_withdraws_leaves_nothing_that_the_next_one_could_stumble_over() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    assert!(scene.keeper.places.runtime.join(FILE).exists());
    scene.keeper.leave();
    scene.keeper.withdraw();
    assert_eq!(scene.kernel.table(), None, "not even a table with the owner flag");
    assert!(!scene.keeper.places.runtime.join(FILE).exists());
    let status = scene.keeper.status(Instant::now()).unwrap();
    assert_eq!((status.clamps.len(), status.ruleset.as_str()), (0, ""), "and says so");
}

#[test]
fn rules_of_others_that_cannot_be_read_are_reported_as_unknown_and_hide_nothing_else() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    assert!(scene.keeper.status(Instant::now()).unwrap().foreign.is_some_and(|foreign| foreign.whole));
    scene.kernel.set_foreign(None);
    let status = scene.keeper.status(Instant::now()).unwrap();
    assert_eq!(status.foreign, None);
    assert_eq!(status.clamps[0].state, ClampState::Active);
}

#[test]
fn routes_are_looked_at_for_auto_alone_and_for_vpn_links_that_are_up() {
    let scene = scene();
    let mut keeper = scene.keeper;
    let carrying = |keeper: &mut Keeper, for_auto| {
        let links = keeper.links(for_auto).unwrap();
        links.into_iter().filter(|link| link.carries_route).map(|link| link.name.to_string()).collect::<Vec<_>>()
    };
    let wireguard = keeper.links(true).unwrap().remove(0);
    let card = LinkKind { info_kind: String::new(), tun_type: None, hardware: 1 };
    let down = Link { name: name("wg1"), up: false, ..wireguard.clone() };
    scene.kernel.set_links(vec![wireguard.clone(), down, Link { name: name("eth0"), kind: card, ..wireguard }]);
    assert_eq!(carrying(&mut keeper, true), ["wg0"]);
    assert_eq!(carrying(&mut keeper, false), [""; 0]);
}
