//! The files that the reconciler writes, and their effect on a helper that starts later.

use std::path::PathBuf;

use super::*;
use crate::kernel::Link;

const KEPT: &str =
    r#"{"version":2,"auto":null,"clamps":{"wg0":{"mtu":null,"persist":true,"any-link":false}},"known":[]}"#;

impl Scene {
    /// The state that a helper would restore after a reboot.
    fn after_a_reboot(&self) -> SavedState {
        let runtime = self.reconciler.state_dirs.runtime.join("not there");
        StateDirs { runtime, ..self.reconciler.state_dirs.clone() }.load().0
    }

    /// The state that the next helper would restore if this one were killed.
    fn after_a_crash(&self) -> SavedState {
        self.reconciler.state_dirs.load().0
    }

    /// Does the work of `Service::keep_names`: writes the names that are due.
    fn keep_names(&mut self) -> bool {
        let are_due = self.reconciler.are_names_due();
        if are_due {
            let written = self.reconciler.pending_names().unwrap().write();
            self.reconciler.names_written(written);
        }
        are_due
    }

    fn kept_file(&self) -> PathBuf {
        self.reconciler.state_dirs.persistent.join(FILE)
    }

    /// Makes every later write to the runtime folder fail: a folder takes the place of the
    /// temporary file.
    fn let_nothing_be_remembered(&self) {
        std::fs::create_dir(self.reconciler.state_dirs.runtime.join(format!(".{FILE}.new"))).unwrap();
    }

    fn let_everything_be_remembered(&self) {
        std::fs::remove_dir(self.reconciler.state_dirs.runtime.join(format!(".{FILE}.new"))).unwrap();
    }

    fn wireguard(&mut self) -> Link {
        self.kernel.links(&|_| true).unwrap().named.remove(0)
    }

    /// Adds a VPN link.
    fn another_vpn(&mut self, link: &str) {
        let wireguard = self.wireguard();
        self.kernel.set_links(vec![wireguard.clone(), Link { name: name(link), ..wireguard }]);
    }
}

fn keep() -> ClampOptions {
    ClampOptions { persist: true, ..ClampOptions::default() }
}

fn kept_auto() -> Request {
    Request::ClampOn(Target::Auto, keep())
}

#[test]
fn a_persistent_auto_knows_its_links_after_a_reboot() {
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    assert!(scene.keep_names());
    assert_eq!(scene.after_a_reboot().known, [name("wg0")].into());
    let wireguard = scene.wireguard();
    scene.kernel.set_links(vec![Link { name: name("wg1"), ..wireguard.clone() }]);
    scene.reconciler.reconcile(&[Event::Network], Instant::now());
    assert_eq!(scene.after_a_reboot().known, [name("wg0")].into(), "the kernel's loop waits for no disk");
    assert!(scene.keep_names());
    assert_eq!(scene.after_a_reboot().known, [name("wg0"), name("wg1")].into());
    assert!(!scene.keep_names(), "nothing is left to write");
    scene.kernel.set_links(vec![Link { name: name("wg2"), ..wireguard }]);
    scene.commit(&on("wg7")).unwrap();
    assert!(scene.keep_names());
    assert_eq!(scene.after_a_reboot().known, [name("wg0"), name("wg1"), name("wg2")].into(), "be it in a call");
}

#[test]
fn names_that_a_persistent_auto_cannot_save_are_retried_and_logged_once() {
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    let beside = scene.reconciler.state_dirs.persistent.join(format!(".{FILE}.new"));
    std::fs::create_dir(&beside).unwrap();
    for _ in 0..3 {
        assert!(scene.keep_names());
    }
    assert_eq!(scene.lines.all().iter().filter(|line| line.event() == "state-not-saved").count(), 1);
    std::fs::remove_dir(beside).unwrap();
    assert!(scene.keep_names() && !scene.keep_names());
    assert_eq!(scene.after_a_reboot().known, [name("wg0")].into());
}

#[test]
fn names_due_when_a_persistent_auto_ended_are_not_written() {
    for end in [Request::Reset, Request::ClampOff(Target::Auto)] {
        let mut scene = scene();
        scene.commit(&kept_auto()).unwrap();
        assert!(scene.reconciler.are_names_due());
        scene.commit(&end).unwrap();
        assert!(scene.reconciler.pending_names().is_none());
    }
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    scene.reconciler.withdraw();
    assert!(scene.reconciler.pending_names().is_none(), "what is kept outlives the helper");
}

#[test]
fn a_temporary_auto_leaves_nothing_for_after_a_reboot() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    assert!(!scene.keep_names());
    assert_eq!(scene.after_a_reboot(), SavedState::default());
}

#[test]
fn a_learnt_name_is_saved_even_if_the_kernel_refuses_its_rules() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    scene.kernel.refuse(Some(Refusal::Refused));
    scene.another_vpn("wg1");
    let now = Instant::now();
    let wait = scene.reconciler.reconcile(&[Event::Network], now).unwrap();
    assert!(scene.after_a_crash().known.contains(&name("wg1")));
    scene.kernel.refuse(None);
    scene.reconciler.reconcile(&[], now + wait);
    assert!(scene.after_a_crash().known.contains(&name("wg1")));
    assert!(scene.kernel.table().unwrap().route.contains(&name("wg1")), "the premise: later it does not");
}

#[test]
fn a_learnt_name_is_saved_even_if_its_rules_have_to_wait() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    let now = Instant::now();
    for _ in 0..4 {
        scene.kernel.remove_table();
        scene.reconciler.reconcile(&[by_nft(7)], now);
    }
    scene.another_vpn("wg1");
    assert!(scene.reconciler.reconcile(&[Event::Network], now).is_some());
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
        assert!(scene.reconciler.consider(&Request::Reset).unwrap());
        assert!(scene.commit(&Request::Reset).unwrap().changed);
        assert_eq!(scene.after_a_reboot(), SavedState::default());
        assert!(!scene.reconciler.consider(&Request::Reset).unwrap(), "nothing is left to do");
    }
}

#[test]
fn a_clamp_kept_after_the_polkit_check_is_not_changed() {
    let keep = Request::ClampOn(Target::Link(name("wg0")), keep());
    for request in [on("wg0"), Request::ClampOff(Target::Link(name("wg0"))), Request::Reset] {
        let mut scene = scene();
        let judged = || permit(&request, false);
        assert!(!scene.reconciler.affects_kept(&request), "the premise");
        scene.commit(&keep).unwrap();
        let kept = scene.after_a_reboot();
        assert_eq!(scene.pending(&judged()).unwrap_err().kind(), ErrorKind::Busy, "{request:?}");
        assert_eq!(scene.reconciler.commit(judged()).unwrap_err().kind(), ErrorKind::Busy, "{request:?}");
        assert_eq!((scene.after_a_reboot(), scene.after_a_crash()), (kept.clone(), kept), "{request:?}");
        assert!(scene.commit(&request).is_ok(), "a new check permits it");
    }
}

#[test]
fn a_name_that_would_need_a_place_of_a_kept_auto_is_refused_before_polkit_is_asked() {
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    for number in 2..MAX_CLAMPS {
        scene.reconciler.desired.named.insert(name(&format!("absent{number}")), ClampOptions::default());
    }
    scene.commit(&on("absent1")).unwrap();
    let error = scene.reconciler.consider(&on("absent256")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyClamps);
    assert_eq!(scene.commit(&on("absent256")).unwrap_err().kind(), ErrorKind::TooManyClamps);
    assert!(scene.commit(&on("wg0")).unwrap().change.is_something(), "it has the place of its link already");
    assert!(scene.commit(&Request::ClampOn(Target::Link(name("kept")), keep())).is_err(), "256 are named");
    scene.commit(&Request::ClampOff(Target::Link(name("wg0")))).unwrap();
    assert!(scene.commit(&Request::ClampOn(Target::Link(name("kept")), keep())).is_ok(), "it is kept, too");
}

#[test]
fn a_name_over_an_auto_kept_after_the_polkit_check_is_not_made() {
    let mut scene = scene();
    let fixed = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), ..keep() };
    scene.commit(&Request::ClampOn(Target::Auto, fixed)).unwrap();
    let before = scene.kernel.table();
    assert_eq!(scene.commit_permitted(permit(&on("wg0"), false)).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(scene.kernel.table(), before);
    let kept = scene.after_a_reboot().desired;
    assert!(scene.commit_permitted(permit(&on("wg0"), true)).is_ok());
    assert_eq!(scene.after_a_reboot().desired, kept, "the file is as it was");
}

#[test]
fn a_change_of_the_file_is_decided_only_under_the_lock_on_it() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    let off = permit(&Request::ClampOff(Target::Link(name("wg0"))), true);
    let decided = |scene: &Scene, has_lock| scene.reconciler.pending_persist(&off, has_lock).unwrap();
    assert!(matches!(decided(&scene, false), Persist::Decided(None)), "it needs no lock");
    scene.commit(&Request::ClampOn(Target::Link(name("wg0")), keep())).unwrap();
    assert!(matches!(decided(&scene, false), Persist::Locked), "another call has kept it");
    assert!(matches!(decided(&scene, true), Persist::Decided(Some(_))));
}

#[test]
fn a_reset_loses_what_is_kept_though_the_memory_knows_nothing_of_it() {
    let scene = scene();
    assert!(!scene.reconciler.affects_kept(&Request::Reset));
    std::fs::write(scene.kept_file(), KEPT).unwrap();
    assert!(scene.reconciler.affects_kept(&Request::Reset));
    assert!(!scene.reconciler.affects_kept(&on("wg0")), "it leaves the file as it is");
}

#[test]
fn a_reset_that_cannot_remove_the_state_file_fails_and_changes_nothing() {
    let mut scene = scene();
    scene.commit(&on("wg0")).unwrap();
    std::fs::create_dir(scene.kept_file()).unwrap();
    let before = scene.kernel.table();
    let error = scene.commit(&Request::Reset).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApplyFailed);
    assert!(error.message().contains("kept across reboots"), "{error}");
    assert_eq!((scene.kernel.table(), scene.reconciler.is_idle()), (before, false));
    assert!(scene.commit(&on("wg1")).is_ok(), "who keeps nothing is not in its way");
}

#[test]
fn a_persistent_clamp_missing_in_its_file_is_written_on_the_next_request() {
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    assert!(!scene.reconciler.consider(&kept_auto()).unwrap());
    std::fs::remove_file(scene.kept_file()).unwrap();
    assert!(scene.reconciler.consider(&kept_auto()).unwrap());
    assert!(scene.commit(&kept_auto()).unwrap().changed);
    assert_eq!(scene.after_a_reboot().desired.auto.map(|auto| auto.persist), Some(true));
}

#[test]
fn a_failed_runtime_write_leaves_no_outdated_file_that_overrides_the_persistent_one() {
    let mut scene = scene();
    let kept = |link: &str| Request::ClampOn(Target::Link(name(link)), keep());
    let after_a_crash = |scene: &Scene| scene.after_a_crash().desired.named.into_keys().collect::<Vec<_>>();
    for request in [kept("wg0"), kept("wg1"), on("wg2")] {
        scene.commit(&request).unwrap();
    }
    scene.let_nothing_be_remembered();
    scene.commit(&Request::ClampOff(Target::Link(name("wg0")))).unwrap();
    assert_eq!(after_a_crash(&scene), [name("wg1")], "what is kept is true at least");
    assert!(scene.lines.all().iter().any(|line| line.event() == "state-not-saved"));
    scene.let_everything_be_remembered();
    scene.reconciler.reconcile(&[], Instant::now());
    assert_eq!(after_a_crash(&scene), [name("wg1"), name("wg2")], "and the rest is made up for at the next look");
}

#[test]
fn a_name_that_cannot_be_saved_keeps_the_desired_clamps_and_is_logged_once() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    scene.let_nothing_be_remembered();
    scene.another_vpn("wg1");
    for _ in 0..3 {
        scene.reconciler.reconcile(&[Event::Network], Instant::now());
    }
    assert_eq!(scene.after_a_crash().desired.auto.map(|auto| auto.persist), Some(false));
    assert_eq!(scene.lines.all().iter().filter(|line| line.event() == "state-not-saved").count(), 1);
    scene.let_everything_be_remembered();
    scene.reconciler.reconcile(&[], Instant::now());
    assert!(scene.after_a_crash().known.contains(&name("wg1")));
}

#[test]
fn learnt_names_are_saved_once_and_not_at_every_read() {
    let mut scene = scene();
    scene.commit(&on("")).unwrap();
    assert_eq!(scene.kernel.table().unwrap().route, BTreeSet::from([name("wg0")]), "at once");
    let mut links = scene.kernel.links(&|_| true).unwrap().named;
    links.push(Link { name: name("wg1"), ..links[0].clone() });
    scene.kernel.set_links(links);
    scene.reconciler.reconcile(&[Event::Network], Instant::now());
    let remembered = |scene: &Scene| scene.reconciler.state_dirs.load().0.known;
    assert_eq!(remembered(&scene), BTreeSet::from([name("wg0"), name("wg1")]));
    std::fs::remove_file(scene.reconciler.state_dirs.runtime.join(FILE)).unwrap();
    scene.reconciler.reconcile(&[Event::Network], Instant::now());
    assert_eq!(remembered(&scene), BTreeSet::new());
}

#[test]
fn a_change_that_the_kernel_refuses_leaves_the_persistent_state_unchanged() {
    let mut scene = scene();
    scene.commit(&kept_auto()).unwrap();
    scene.keep_names();
    let before = std::fs::read_to_string(scene.kept_file()).unwrap();
    scene.kernel.refuse(Some(Refusal::Refused));
    let named = Request::ClampOn(Target::Link(name("wg7")), keep());
    for request in [Request::ClampOff(Target::Auto), Request::Reset, named] {
        let pending = scene.pending(&permit(&request, true)).unwrap().unwrap();
        pending.write().unwrap();
        assert_ne!(std::fs::read_to_string(scene.kept_file()).ok().as_ref(), Some(&before), "the premise: {request:?}");
        assert!(scene.reconciler.commit(permit(&request, true)).is_err());
        pending.revert().unwrap();
        assert_eq!(std::fs::read_to_string(scene.kept_file()).unwrap(), before, "{request:?}");
    }
}

#[test]
fn a_change_of_what_is_kept_that_is_not_in_its_file_is_not_made() {
    let mut scene = scene();
    for request in [kept_auto(), Request::ClampOn(Target::Link(name("wg0")), keep())] {
        let error = scene.reconciler.commit(permit(&request, false)).unwrap_err();
        assert_eq!((error.kind(), scene.kernel.table()), (ErrorKind::ApplyFailed, None), "{request:?}");
    }
}
