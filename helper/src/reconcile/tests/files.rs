//! The files that the reconciler writes, and their effect on a helper that starts later.

use std::path::PathBuf;

use super::*;
use crate::kernel::Link;

const KEPT: &str =
    r#"{"version":2,"auto":null,"clamps":{"wg0":{"mtu":null,"persist":true,"any-link":false}},"known":[]}"#;

impl Fixture {
    /// The state that a helper would restore after a reboot.
    fn after_a_reboot(&self) -> Desired {
        let runtime = self.reconciler.state_dirs.runtime.join("not there");
        StateDirs { runtime, ..self.reconciler.state_dirs.clone() }.load().0
    }

    /// The state that the next helper would restore if this one were killed.
    fn after_a_crash(&self) -> Desired {
        self.reconciler.state_dirs.load().0
    }

    /// Does the work of `Service::keep_names`: writes the names that are due.
    fn keep_names(&mut self) -> bool {
        let are_due = std::mem::take(&mut self.reconciler.are_names_due);
        if are_due {
            self.kept_names().unwrap().write().unwrap();
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
    let mut fixture = fixture();
    fixture.commit(&kept_auto()).unwrap();
    assert!(fixture.keep_names());
    assert_eq!(fixture.after_a_reboot().known, [name("wg0")].into());
    let wireguard = fixture.wireguard();
    fixture.kernel.set_links(vec![Link { name: name("wg1"), ..wireguard.clone() }]);
    fixture.reconciler.reconcile(&[Event::Network], Instant::now());
    assert_eq!(fixture.after_a_reboot().known, [name("wg0")].into(), "the kernel's loop waits for no disk");
    assert!(fixture.keep_names());
    assert_eq!(fixture.after_a_reboot().known, [name("wg0"), name("wg1")].into());
    assert!(!fixture.keep_names(), "nothing is left to write");
    fixture.kernel.set_links(vec![Link { name: name("wg2"), ..wireguard }]);
    fixture.commit(&on("wg7")).unwrap();
    assert!(fixture.keep_names());
    assert_eq!(fixture.after_a_reboot().known, [name("wg0"), name("wg1"), name("wg2")].into(), "be it in a call");
}

#[test]
fn names_due_when_a_persistent_auto_ended_are_not_written() {
    for end in [Request::Reset, Request::ClampOff(Target::Auto)] {
        let mut fixture = fixture();
        fixture.commit(&kept_auto()).unwrap();
        assert!(fixture.reconciler.are_names_due);
        fixture.commit(&end).unwrap();
        assert!(fixture.kept_names().is_none());
    }
    let mut fixture = fixture();
    fixture.commit(&kept_auto()).unwrap();
    fixture.reconciler.withdraw();
    assert!(fixture.kept_names().is_none(), "what is kept outlives the helper");
}

#[test]
fn a_temporary_auto_leaves_nothing_for_after_a_reboot() {
    let mut fixture = fixture();
    fixture.commit(&on("")).unwrap();
    assert!(!fixture.keep_names());
    assert_eq!(fixture.after_a_reboot(), Desired::default());
}

#[test]
fn a_learnt_name_is_saved_even_if_the_kernel_refuses_its_rules() {
    let mut fixture = fixture();
    fixture.commit(&on("")).unwrap();
    fixture.kernel.refuse(Some(Refusal::Refused));
    fixture.another_vpn("wg1");
    let now = Instant::now();
    let wait = fixture.reconciler.reconcile(&[Event::Network], now).unwrap();
    assert!(fixture.after_a_crash().known.contains(&name("wg1")));
    fixture.kernel.refuse(None);
    fixture.reconciler.reconcile(&[], now + wait);
    assert!(fixture.after_a_crash().known.contains(&name("wg1")));
    assert!(fixture.kernel.table().unwrap().route.contains(&name("wg1")), "the premise: later it does not");
}

#[test]
fn a_learnt_name_is_saved_even_if_its_rules_have_to_wait() {
    let mut fixture = fixture();
    fixture.commit(&on("")).unwrap();
    let now = Instant::now();
    for _ in 0..4 {
        fixture.kernel.remove_table();
        fixture.reconciler.reconcile(&[by_nft(7)], now);
    }
    fixture.another_vpn("wg1");
    assert!(fixture.reconciler.reconcile(&[Event::Network], now).is_some());
    assert_eq!(fixture.kernel.table(), None, "the premise: they wait");
    assert!(fixture.after_a_crash().known.contains(&name("wg1")));
}

#[test]
fn reset_removes_what_is_kept_though_the_memory_knows_nothing_of_it() {
    for request in [None, Some(on("wg0"))] {
        let mut fixture = fixture();
        if let Some(request) = request {
            fixture.commit(&request).unwrap();
        }
        std::fs::write(fixture.kept_file(), KEPT).unwrap();
        assert!(fixture.reconciler.consider(&Request::Reset).unwrap());
        assert!(fixture.commit(&Request::Reset).unwrap());
        assert_eq!(fixture.after_a_reboot(), Desired::default());
        assert!(!fixture.reconciler.consider(&Request::Reset).unwrap(), "nothing is left to do");
    }
}

#[test]
fn a_clamp_kept_after_the_polkit_check_is_not_changed() {
    let keep = Request::ClampOn(Target::Link(name("wg0")), keep());
    for request in [on("wg0"), Request::ClampOff(Target::Link(name("wg0"))), Request::Reset] {
        let mut fixture = fixture();
        let judged = || permit(&request, false);
        assert!(!fixture.reconciler.affects_kept(&request), "the premise");
        fixture.commit(&keep).unwrap();
        let kept = fixture.after_a_reboot();
        assert_eq!(fixture.kept_after(&judged()).unwrap_err().kind(), ErrorKind::Busy, "{request:?}");
        assert_eq!(fixture.reconciler.commit(judged()).unwrap_err().kind(), ErrorKind::Busy, "{request:?}");
        assert_eq!((fixture.after_a_reboot(), fixture.after_a_crash()), (kept.clone(), kept), "{request:?}");
        assert!(fixture.commit(&request).is_ok(), "a new check permits it");
    }
}

#[test]
fn a_name_that_would_need_a_place_of_a_kept_auto_is_refused_before_polkit_is_asked() {
    let mut fixture = fixture();
    fixture.commit(&kept_auto()).unwrap();
    for number in 2..MAX_CLAMPS {
        fixture.reconciler.desired.named.insert(name(&format!("absent{number}")), ClampOptions::default());
    }
    fixture.commit(&on("absent1")).unwrap();
    let error = fixture.reconciler.consider(&on("absent256")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyClamps);
    assert_eq!(fixture.commit(&on("absent256")).unwrap_err().kind(), ErrorKind::TooManyClamps);
    assert!(fixture.commit(&on("wg0")).unwrap(), "it has the place of its link already");
    assert!(fixture.commit(&Request::ClampOn(Target::Link(name("kept")), keep())).is_err(), "256 are named");
    fixture.commit(&Request::ClampOff(Target::Link(name("wg0")))).unwrap();
    assert!(fixture.commit(&Request::ClampOn(Target::Link(name("kept")), keep())).is_ok(), "it is kept, too");
}

#[test]
fn a_name_over_an_auto_kept_after_the_polkit_check_is_not_made() {
    let mut fixture = fixture();
    let fixed = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), ..keep() };
    fixture.commit(&Request::ClampOn(Target::Auto, fixed)).unwrap();
    let before = fixture.kernel.table();
    assert_eq!(fixture.commit_permitted(permit(&on("wg0"), false)).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(fixture.kernel.table(), before);
    let kept = fixture.after_a_reboot();
    assert!(fixture.commit_permitted(permit(&on("wg0"), true)).is_ok());
    assert_eq!(fixture.after_a_reboot(), kept, "the file is as it was");
}

#[test]
fn a_change_of_the_file_is_decided_only_under_the_lock_on_it() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    let off = permit(&Request::ClampOff(Target::Link(name("wg0"))), true);
    assert!(!fixture.reconciler.concerns_kept(off.request()), "it needs no lock");
    fixture.commit(&Request::ClampOn(Target::Link(name("wg0")), keep())).unwrap();
    assert!(fixture.reconciler.concerns_kept(off.request()), "another call has kept it");
    let kept = fixture.after_a_reboot();
    assert_eq!(fixture.reconciler.commit(off).unwrap_err().kind(), ErrorKind::ApplyFailed, "it has no lock");
    assert_eq!((fixture.after_a_reboot(), fixture.after_a_crash()), (kept.clone(), kept));
}

#[test]
fn a_reset_loses_what_is_kept_though_the_memory_knows_nothing_of_it() {
    let fixture = fixture();
    assert!(!fixture.reconciler.affects_kept(&Request::Reset));
    std::fs::write(fixture.kept_file(), KEPT).unwrap();
    assert!(fixture.reconciler.affects_kept(&Request::Reset));
    assert!(!fixture.reconciler.affects_kept(&on("wg0")), "it leaves the file as it is");
}

#[test]
fn a_reset_that_cannot_remove_the_state_file_fails_and_changes_nothing() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    std::fs::create_dir(fixture.kept_file()).unwrap();
    let before = fixture.kernel.table();
    let error = fixture.commit(&Request::Reset).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApplyFailed);
    assert!(error.message().contains("kept across reboots"), "{error}");
    assert_eq!((fixture.kernel.table(), fixture.reconciler.is_idle()), (before, false));
    assert!(fixture.commit(&on("wg1")).is_ok(), "who keeps nothing is not in its way");
}

#[test]
fn a_persistent_clamp_missing_in_its_file_is_written_on_the_next_request() {
    let mut fixture = fixture();
    fixture.commit(&kept_auto()).unwrap();
    assert!(!fixture.reconciler.consider(&kept_auto()).unwrap());
    std::fs::remove_file(fixture.kept_file()).unwrap();
    assert!(fixture.reconciler.consider(&kept_auto()).unwrap());
    assert!(fixture.commit(&kept_auto()).unwrap());
    assert_eq!(fixture.after_a_reboot().auto.map(|auto| auto.persist), Some(true));
}

#[test]
fn a_failed_runtime_write_leaves_no_outdated_file_that_overrides_the_persistent_one() {
    let mut fixture = fixture();
    let kept = |link: &str| Request::ClampOn(Target::Link(name(link)), keep());
    let after_a_crash = |fixture: &Fixture| fixture.after_a_crash().named.into_keys().collect::<Vec<_>>();
    for request in [kept("wg0"), kept("wg1"), on("wg2")] {
        fixture.commit(&request).unwrap();
    }
    fixture.let_nothing_be_remembered();
    fixture.commit(&Request::ClampOff(Target::Link(name("wg0")))).unwrap();
    assert_eq!(after_a_crash(&fixture), [name("wg1")], "what is kept is true at least");
    assert!(fixture.lines.all().iter().any(|line| line.event() == "state-not-saved"));
    fixture.let_everything_be_remembered();
    fixture.reconciler.reconcile(&[], Instant::now());
    assert_eq!(after_a_crash(&fixture), [name("wg1"), name("wg2")], "and the rest is made up for at the next look");
}

#[test]
fn a_name_that_cannot_be_saved_keeps_the_desired_clamps_and_is_logged_once() {
    let mut fixture = fixture();
    fixture.commit(&on("")).unwrap();
    fixture.let_nothing_be_remembered();
    fixture.another_vpn("wg1");
    for _ in 0..3 {
        fixture.reconciler.reconcile(&[Event::Network], Instant::now());
    }
    assert_eq!(fixture.after_a_crash().auto.map(|auto| auto.persist), Some(false));
    assert_eq!(fixture.lines.all().iter().filter(|line| line.event() == "state-not-saved").count(), 1);
    fixture.let_everything_be_remembered();
    fixture.reconciler.reconcile(&[], Instant::now());
    assert!(fixture.after_a_crash().known.contains(&name("wg1")));
}

#[test]
fn learnt_names_are_saved_once_and_not_at_every_read() {
    let mut fixture = fixture();
    fixture.commit(&on("")).unwrap();
    assert_eq!(fixture.kernel.table().unwrap().route, BTreeSet::from([name("wg0")]), "at once");
    let mut links = fixture.kernel.links(&|_| true).unwrap().named;
    links.push(Link { name: name("wg1"), ..links[0].clone() });
    fixture.kernel.set_links(links);
    fixture.reconciler.reconcile(&[Event::Network], Instant::now());
    let remembered = |fixture: &Fixture| fixture.reconciler.state_dirs.load().0.known;
    assert_eq!(remembered(&fixture), BTreeSet::from([name("wg0"), name("wg1")]));
    std::fs::remove_file(fixture.reconciler.state_dirs.runtime.join(FILE)).unwrap();
    fixture.reconciler.reconcile(&[Event::Network], Instant::now());
    assert_eq!(remembered(&fixture), BTreeSet::new());
}

#[test]
fn a_change_that_the_kernel_refuses_leaves_the_persistent_state_unchanged() {
    let mut fixture = fixture();
    fixture.commit(&kept_auto()).unwrap();
    fixture.keep_names();
    let before = std::fs::read_to_string(fixture.kept_file()).unwrap();
    fixture.kernel.refuse(Some(Refusal::Refused));
    let named = Request::ClampOn(Target::Link(name("wg7")), keep());
    for request in [Request::ClampOff(Target::Auto), Request::Reset, named] {
        let former = fixture.kept_after(&permit(&request, true)).unwrap().unwrap().write().unwrap().unwrap();
        assert_ne!(
            std::fs::read_to_string(fixture.kept_file()).ok().as_ref(),
            Some(&before),
            "the premise: {request:?}"
        );
        assert!(fixture.reconciler.commit(permit(&request, true)).is_err());
        former.write().unwrap();
        assert_eq!(std::fs::read_to_string(fixture.kept_file()).unwrap(), before, "{request:?}");
    }
}

#[test]
fn a_change_of_what_is_kept_that_is_not_in_its_file_is_not_made() {
    let mut fixture = fixture();
    for request in [kept_auto(), Request::ClampOn(Target::Link(name("wg0")), keep())] {
        let error = fixture.reconciler.commit(permit(&request, false)).unwrap_err();
        assert_eq!((error.kind(), fixture.kernel.table()), (ErrorKind::ApplyFailed, None), "{request:?}");
    }
}
