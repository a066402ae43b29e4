//! The table is kept as desired: losses, refusals, failed reads, foreign tables, and undoing.

use super::*;

#[test]
fn a_change_that_could_not_be_read_back_is_taken_back() {
    let mut fixture = fixture();
    fixture.commit(&on("wg1")).unwrap();
    let before = fixture.kernel.table();
    fixture.kernel.refuse(Some(Refusal::Unreadable));
    assert_eq!(fixture.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::NetlinkFailed);
    assert_eq!(fixture.kernel.table(), before);
    assert!(!fixture.reconciler.consider(&on("wg1")).unwrap(), "nothing is left to do");
}

#[test]
fn a_refused_change_is_not_undone_as_nothing_was_done() {
    let mut fixture = fixture();
    fixture.commit(&on("wg1")).unwrap();
    fixture.kernel.refuse(Some(Refusal::Conflict));
    assert_eq!(fixture.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::TableConflict);
    assert!(fixture.lines.all().iter().all(|line| line.event() != "undo-failed"));
}

#[test]
fn refused_rules_are_logged_with_the_cause_retried_and_not_attributed() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    fixture.kernel.remove_table();
    fixture.kernel.refuse(Some(Refusal::Refused));
    let now = Instant::now();
    let wait = fixture.reconciler.reconcile(&[by_nft(7)], now).unwrap();
    let status = fixture.reconciler.status(now).unwrap();
    assert_eq!(status.clamps[0].state, ClampState::Refused);
    assert!(status.refusal.unwrap().contains("rule in chain clamp"));
    assert_eq!(fixture.reconciler.properties(now).clamps, Vec::<String>::new());
    for _ in 0..10 {
        fixture.reconciler.reconcile(&[], now);
    }
    let refusals = fixture.lines.all().iter().filter(|line| line.event() == "rules-refused").count();
    assert_eq!(refusals, 1, "it is not tried again before its time, nor logged");
    fixture.kernel.refuse(None);
    assert_eq!(fixture.reconciler.reconcile(&[], now + wait), None, "no fight is on");
    assert_eq!(fixture.reconciler.properties(now + wait).clamps, ["wg0"]);
    assert_eq!(fixture.reconciler.status(now).unwrap().refusal, None);
}

#[test]
fn a_refusal_does_not_slow_down_links_that_come_later() {
    let mut fixture = fixture();
    fixture.commit(&on("")).unwrap();
    let now = Instant::now();
    fixture.kernel.refuse(Some(Refusal::Refused));
    let mut links = fixture.kernel.links(&|_| true).unwrap().named;
    links.push(Link { name: name("wg1"), ..links[0].clone() });
    fixture.kernel.set_links(links.clone());
    for _ in 0..20 {
        let wait = fixture.reconciler.reconcile(&[Event::Network], now).unwrap();
        fixture.reconciler.reconcile(&[], now + wait);
    }
    fixture.kernel.refuse(None);
    links.push(Link { name: name("wg2"), ..links[0].clone() });
    fixture.kernel.set_links(links);
    fixture.reconciler.reconcile(&[Event::Network], now);
    assert_eq!(fixture.kernel.table().unwrap().route.len(), 3);
    assert_eq!(fixture.reconciler.properties(now).clamps, ["wg0", "wg1", "wg2"]);
}

#[test]
fn a_read_that_fails_changes_no_state_and_announces_nothing_and_is_tried_again() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    let now = Instant::now();
    let before = fixture.reconciler.properties(now);
    fixture.kernel.set_unreadable(true);
    fixture.kernel.remove_table();
    for _ in 0..10 {
        assert!(fixture.reconciler.reconcile(&[by_nft(7)], now).unwrap() <= Duration::from_secs(1));
    }
    assert_eq!(fixture.reconciler.properties(now), before, "nothing is announced");
    assert_eq!(fixture.reconciler.properties(now).clamps, ["wg0"], "the last known state stands");
    assert!(fixture.reconciler.status(now).is_err(), "what is not known is not told as off");
    assert_eq!(fixture.lines.all().iter().filter(|line| line.event() == "kernel-not-read").count(), 1);
    fixture.kernel.set_unreadable(false);
    fixture.reconciler.reconcile(&[], now);
    assert_eq!(fixture.kernel.table().unwrap().route, BTreeSet::from([name("wg0")]), "no back-off has begun");
    assert_eq!(fixture.reconciler.status(now).unwrap().clamps[0].state, ClampState::Active);
}

#[test]
fn a_failed_read_does_not_hide_that_the_kernel_refuses_the_rules_nor_restart_their_back_off() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    let now = Instant::now();
    fixture.kernel.refuse(Some(Refusal::Refused));
    fixture.kernel.remove_table();
    let mut wait = Duration::ZERO;
    for _ in 0..8 {
        wait = fixture.reconciler.reconcile(&[], now + wait).unwrap();
    }
    fixture.kernel.set_unreadable(true);
    fixture.reconciler.reconcile(&[], now);
    fixture.kernel.set_unreadable(false);
    let status = fixture.reconciler.status(now).unwrap();
    assert_eq!((status.clamps[0].state, status.refusal.is_some()), (ClampState::Refused, true));
    let left = fixture.reconciler.reconcile(&[], now).unwrap();
    assert!(left >= wait / 2, "{left:?} of {wait:?}");
    assert_eq!(fixture.lines.all().iter().filter(|line| line.event() == "rules-refused").count(), 1);
}

#[test]
fn a_foreign_table_of_our_name_is_kept_and_reported_without_clamps() {
    let mut fixture = fixture();
    fixture.kernel.set_foreign_table();
    let now = Instant::now();
    for _ in 0..2 {
        fixture.reconciler.reconcile(&[by_nft(7)], now);
    }
    assert!(!fixture.reconciler.consider(&Request::Reset).unwrap());
    assert!(!fixture.commit(&Request::Reset).unwrap());
    assert!(fixture.kernel.has_foreign_table());
    assert!(fixture.reconciler.status(now).unwrap().foreign_table);
    let left = fixture.lines.all().iter().filter(|line| line.event() == "foreign-table-left").count();
    assert_eq!(left, 1);
    fixture.commit(&on("wg0")).unwrap();
    assert!(fixture.kernel.table().is_some(), "a clamp replaces it");
    assert!(!fixture.reconciler.status(now).unwrap().foreign_table);
}

#[test]
fn an_undo_never_removes_a_foreign_table() {
    for refusal in [Refusal::Refused, Refusal::Unsupported, Refusal::NotPermitted, Refusal::Conflict] {
        let mut fixture = fixture();
        fixture.kernel.set_foreign_table();
        fixture.reconciler.reconcile(&[], Instant::now());
        fixture.kernel.refuse(Some(refusal));
        assert!(fixture.commit(&on("wg0")).is_err());
        assert!(fixture.kernel.has_foreign_table(), "{refusal:?}");
    }
    // A failing disk is noticed before the table is touched.
    let mut fixture = fixture();
    fixture.kernel.set_foreign_table();
    fixture.reconciler.reconcile(&[], Instant::now());
    std::fs::create_dir(fixture.reconciler.state_dirs.persistent.join(FILE)).unwrap();
    let options = ClampOptions { persist: true, ..ClampOptions::default() };
    let request = Request::ClampOn(Target::parse("wg0").unwrap(), options);
    assert_eq!(fixture.commit(&request).unwrap_err().kind(), ErrorKind::ApplyFailed);
    assert!(fixture.kernel.has_foreign_table());
}

#[test]
fn our_own_table_is_removed_even_if_it_was_edited() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    fixture.kernel.set_foreign_table();
    assert!(fixture.commit(&Request::Reset).unwrap());
    assert!(!fixture.kernel.has_foreign_table());
}

#[test]
fn a_removal_of_the_rules_is_logged_with_the_kernels_process_or_as_unknown() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    for (events, expected) in [
        (&[Event::Network, by_nft(0), by_nft(7)][..], ("nft", "7")),
        (&[by_nft(0)][..], ("unknown", "unknown")),
        (&[][..], ("unknown", "unknown")),
    ] {
        fixture.kernel.remove_table();
        fixture.reconciler.reconcile(events, Instant::now());
        let lines = fixture.lines.all();
        let line = lines.iter().rfind(|line| line.event() == "rules-removed").unwrap();
        assert_eq!((line.field("program").unwrap(), line.field("pid").unwrap()), expected, "{events:?}");
    }
}

#[test]
fn a_table_that_is_found_at_the_start_and_is_right_stays() {
    let mut before = fixture();
    before.commit(&on("wg0")).unwrap();
    let mut next = Reconciler::new(
        Box::new(before.kernel.clone()),
        before.reconciler.state_dirs.clone(),
        before.reconciler.log.clone(),
    );
    for _ in 0..2 {
        next.reconcile(&[], Instant::now());
        assert_eq!(before.kernel.times_applied(), 1);
    }
    next.commit(permit(&Request::Reset, false)).unwrap();
    assert_eq!(before.kernel.table(), None, "and is ours to remove");
}

#[test]
fn restored_rules_are_logged_with_the_number_of_their_links() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    let fixed = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), ..ClampOptions::default() };
    for link in ["wg1", "wg2"] {
        fixture.commit(&Request::ClampOn(Target::parse(link).unwrap(), fixed)).unwrap();
    }
    fixture.kernel.remove_table();
    fixture.reconciler.reconcile(&[], Instant::now());
    let lines = fixture.lines.all();
    let line = lines.iter().rfind(|line| line.event() == "rules-applied").unwrap();
    assert_eq!((line.field("links"), line.field("restored")), (Some("3"), Some("true")));
}
