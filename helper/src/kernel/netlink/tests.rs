#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::time::Instant;

use airpods_dbus::{ClampState, ErrorKind, LinkName, PathMtu};
use airpods_lab::{Netns, Place};

use super::*;
use crate::doubles::LinesKept;
use crate::kernel::Event;
use crate::kernel::table::Change;
use crate::kernel::table::encode::tests::{encode_with_a_refused_end, table_with_flags};

use crate::reconcile::Reconciler;
use crate::state::StateDirs;

fn ruleset(route: &[&str], fixed: &[&str]) -> Ruleset {
    let name = |name: &&str| LinkName::parse(name).unwrap();
    let mtu = PathMtu::new(1280).unwrap();
    Ruleset { route: route.iter().map(name).collect(), fixed: fixed.iter().map(name).map(|link| (link, mtu)).collect() }
}

fn namespace() -> (Netns, Netlink) {
    let net = Netns::new().unwrap();
    let netlink = net.run(Netlink::open).unwrap();
    (net, netlink)
}

#[test]
fn a_refused_last_message_leaves_the_old_state_and_is_named() {
    let (net, mut netlink) = namespace();
    let before = ruleset(&["wg0"], &[]);
    for change in [
        Change::Replace(ruleset(&["wg1"], &["wg2"])),
        Change::Elements { remove: ruleset(&["wg0"], &[]), add: ruleset(&["wg9"], &[]) },
    ] {
        netlink.apply(&Ruleset::default()).unwrap();
        netlink.apply(&before).unwrap();
        let listed = net.sh("nft -a list ruleset").unwrap();
        let batch = encode_with_a_refused_end(&change);
        let refusal = netlink.commit(&batch).unwrap_err();
        assert_eq!(net.sh("nft -a list ruleset").unwrap(), listed, "{change:?}");
        assert_eq!(
            refusal.to_string(),
            "the kernel refused the rules at `deleting a chain that is not there`: No such file or directory (os error 2)"
        );
        assert_eq!(airpods_dbus::Error::from(refusal).kind(), ErrorKind::ApplyFailed);
    }
}

#[test]
fn a_missing_kernel_feature_is_named() {
    let batch = encode(&Change::Replace(ruleset(&["wg0"], &[])));
    let (rule, elements) = (batch.step(8).unwrap(), batch.step(6).unwrap());
    assert!(rule.what.contains("rt mtu") && elements.what.contains("elements"), "{batch:?}");
    let lacking = KernelError::of_batch(Some(rule), Errno::ENOENT);
    assert_eq!(lacking.to_string(), format!("this kernel has no nf_tables support for the {}", rule.what));
    assert!(matches!(KernelError::of_batch(Some(elements), Errno::ENOENT), KernelError::Refused { .. }));
    assert!(
        matches!(KernelError::of_batch(batch.step(0), Errno::EOPNOTSUPP), KernelError::Unsupported { piece } if piece.starts_with("nf_tables"))
    );
    assert!(matches!(KernelError::of_question(Errno::EINVAL.into()), KernelError::Unsupported { .. }));
}

#[test]
fn unexpected_replies_do_not_confuse_the_next_request() {
    let (_net, mut netlink) = namespace();
    let (wanted, other) = (ruleset(&["wg0"], &["wg1"]), ruleset(&["wg2"], &["wg3"]));
    netlink.apply(&wanted).unwrap();
    for _ in 0..50 {
        // This sends a batch and leaves all its answers in the queue.
        let stale = encode(&Change::Replace(wanted.clone()));
        netlink.rules().unwrap().send(&stale.bytes).unwrap();
    }
    assert_eq!(netlink.read_table().unwrap().unwrap().ruleset, wanted);
    assert_eq!(netlink.apply(&other).unwrap().after.unwrap().ruleset, other);
}

#[test]
fn acknowledgements_that_got_lost_are_no_failure() {
    let (_net, mut netlink) = namespace();
    // Leaves room for two or three answers only; the kernel rounds up to its smallest buffer.
    nix::sys::socket::setsockopt(netlink.rules().unwrap(), nix::sys::socket::sockopt::RcvBuf, &1).unwrap();
    let batch = encode(&Change::Replace(ruleset(&["wg0"], &["wg1"])));
    netlink.rules().unwrap().send(&batch.bytes).unwrap();
    let was_lost = netlink.rules().unwrap().take(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(was_lost, "the premise: answers get lost");
    netlink.commit(&encode(&Change::Replace(ruleset(&["wg2"], &["wg3"])))).unwrap();
    nix::sys::socket::setsockopt(netlink.rules().unwrap(), nix::sys::socket::sockopt::RcvBuf, &(1 << 17)).unwrap();
    assert_eq!(netlink.read_table().unwrap().unwrap().ruleset, ruleset(&["wg2"], &["wg3"]));
}

/// Tables with flags that nft 1.0 cannot make: one that persists without its owner (Linux 6.9), and
/// one that is owned.
#[test]
fn a_table_with_flags_is_replaced_by_a_plain_one_and_one_of_a_living_owner_is_a_conflict() {
    const OWNER: u32 = 2;
    const PERSIST: u32 = 4;
    let (net, mut netlink) = namespace();
    let made = |flags| {
        net.run(move || {
            let mut owner = Netlink::open().unwrap();
            let table = table_with_flags(flags);
            owner.commit(&table).expect("the premise: this kernel knows the flags");
            owner
        })
    };
    drop(made(OWNER | PERSIST));
    let wanted = ruleset(&["wg0"], &[]);
    assert_eq!(netlink.apply(&wanted).unwrap().after.unwrap().ruleset, wanted);
    assert!(!net.sh("nft list table inet airpods").unwrap().contains("owner"));
    netlink.apply(&Ruleset::default()).unwrap();

    let owner = made(OWNER);
    assert!(matches!(netlink.apply(&wanted), Err(KernelError::Conflict)));
    assert!(net.sh("nft list table inet airpods").unwrap().contains("flags owner"));
    drop(owner);
}

/// Other programs can remove a plain table. The helper restores it ever more slowly, and reports
/// that.
#[test]
fn a_flushed_table_is_restored_and_a_fight_is_logged_and_backed_off() {
    let (net, netlink) = namespace();
    net.add_tun("wg0", 1380).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let state_dirs = StateDirs { runtime: folder.path().to_owned(), persistent: folder.path().to_owned() };
    let clamp =
        r#"{"version":2,"auto":null,"clamps":{"wg0":{"mtu":null,"persist":false,"any-link":false}},"known":[]}"#;
    std::fs::write(folder.path().join(crate::state::FILE), clamp).unwrap();
    let (log, lines) = LinesKept::log();
    let (mut reconciler, mut subscription) = net.run(move || {
        let mut reconciler = Reconciler::new(Box::new(netlink), state_dirs, log);
        let subscription = reconciler.events().unwrap();
        (reconciler, subscription)
    });
    let is_back = || net.sh("nft list table inet airpods").is_ok();
    let now = Instant::now();
    assert_eq!(reconciler.reconcile(&[], now), None);
    for _ in 0..3 {
        assert!(is_back());
        net.nft("flush ruleset").unwrap();
        let events = subscription.drain().unwrap();
        assert!(events.iter().any(|event| matches!(event, Event::Rules { pid, .. } if *pid != 0)), "{events:?}");
        reconciler.reconcile(&events, now);
    }
    assert!(is_back());
    let told = lines.all();
    let told: Vec<_> = told.iter().filter(|line| line.event() == "rules-removed").collect();
    assert!(told.len() == 3 && told.iter().all(|line| line.field("program") == Some("nft")), "{told:?}");
    assert_eq!(reconciler.status(now).unwrap().clamps[0].state, ClampState::Active);

    let mut waits = Vec::new();
    let mut later = now;
    for _ in 0..3 {
        net.nft("flush ruleset").unwrap();
        let wait = reconciler.reconcile(&subscription.drain().unwrap(), later).unwrap();
        assert!(!is_back());
        assert_eq!(reconciler.status(later).unwrap().clamps[0].state, ClampState::Contested);
        waits.push(wait.as_millis());
        later += wait;
        reconciler.reconcile(&[], later);
        assert!(is_back());
    }
    assert_eq!(waits, [250, 500, 1000]);
    assert!(lines.all().iter().any(|line| line.field("contested") == Some("true")), "{:?}", lines.all());
}
