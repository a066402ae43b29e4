//! Whose the table is: what is found at the start, what others try, what happens when the helper goes.

use std::os::fd::AsFd;

use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Event, Kernel, KernelError, Ruleset};
use airpods_lab::{Place, eventually};

use crate::host::{Host, another_helper, ruleset};

/// Tables that somebody or something may have left behind, each line a part.
const STALE: [(&str, &str); 6] = [
    ("plain and empty", "table inet airpods"),
    (
        "dormant",
        "table inet airpods { flags dormant
         set links { type ifname; }
         chain postrouting { type filter hook postrouting priority mangle; }
         }",
    ),
    (
        "with chains of ours that do other things",
        "table inet airpods {
         chain clamp { drop; }
         chain postrouting { type filter hook output priority 0; jump clamp; }
         }",
    ),
    (
        "with sets of other types",
        "table inet airpods {
         set links { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
         map mss4 { type mark : verdict; }
         }",
    ),
    (
        "with other kinds of objects",
        "table inet airpods {
         counter c { }
         quota q { over 10 mbytes }
         map m { type ifname : verdict; elements = { \"x\" : drop }; }
         chain other { iifname vmap @m; }
         }",
    ),
    (
        "with chains that lead to one another",
        "table inet airpods {
         counter none { }
         chain c { counter name none; }
         chain b { jump c; }
         chain a { jump b; }
         }",
    ),
];

#[test]
fn whatever_is_left_behind_is_replaced_in_one_transaction() {
    for (what, table) in STALE {
        let mut host = Host::new();
        host.net.nft(table).unwrap();
        let mut watch = host.foreign_watch();
        let wanted = ruleset(&["wg0"], &[("wg1", 1300)]);
        assert_eq!(host.apply(&wanted).ruleset, wanted, "{what}");
        let transactions = watch.drain().unwrap().iter().filter(|event| matches!(event, Event::Rules { .. })).count();
        assert_eq!(transactions, 1, "{what}");
        let mut fresh = Host::new();
        fresh.apply(&wanted);
        assert_eq!(host.listed(), fresh.listed(), "{what}");
    }
}

#[test]
fn a_plain_table_with_our_rules_and_more_is_replaced_too() {
    let mut model = Host::new();
    model.apply(&ruleset(&["wg0"], &[]));
    let wanted = ruleset(&["wg0"], &[]);
    for extra in [
        "",
        "add chain inet airpods more",
        "add rule inet airpods clamp drop",
        "insert rule inet airpods postrouting accept",
        "add element inet airpods links { \"lo\" }",
        "add element inet airpods links { \"x y\" }",
    ] {
        let mut host = Host::new();
        host.net.nft(&format!("{}\n{extra}", model.listed())).unwrap();
        assert!(!host.kernel.held().unwrap().unwrap().owned);
        assert!(host.apply(&wanted).owned, "{extra}");
        assert_eq!(host.listed(), model.listed(), "{extra}");
    }
}

#[test]
fn a_table_of_ours_is_removed_whatever_is_in_it() {
    for (what, table) in STALE {
        let mut host = Host::new();
        host.net.nft(table).unwrap();
        assert!(host.kernel.held().unwrap().is_some(), "{what}");
        assert_eq!(host.kernel.apply(&Ruleset::default()).unwrap(), None, "{what}");
        assert_eq!(host.net.sh("nft list ruleset").unwrap(), "", "{what}");
    }
}

#[test]
fn a_table_of_another_living_process_is_a_conflict_and_stays() {
    let mut first = Host::new();
    first.apply(&ruleset(&["wg0"], &[]));
    let before = first.listed();
    let mut second = another_helper(&first.net);
    for wanted in [ruleset(&["wg0"], &[]), ruleset(&["wg1"], &[]), Ruleset::default()] {
        assert!(matches!(second.apply(&wanted), Err(KernelError::Conflict)));
        assert_eq!(first.listed(), before);
    }
    drop(first.kernel);
    eventually("the end of the first one's table", || match second.apply(&ruleset(&["wg1"], &[])) {
        Err(KernelError::Conflict) => false,
        held => held.unwrap().unwrap().owned,
    });
}

#[test]
fn nobody_else_can_flush_delete_or_change_the_table() {
    let mut host = Host::new();
    host.apply(&ruleset(&["wg0"], &[("wg1", 1300)]));
    let before = host.listed();
    host.net.nft("table ip other { chain c { }; }").unwrap();
    host.net.nft("flush ruleset").unwrap();
    for attempt in [
        "delete table inet airpods",
        "flush table inet airpods",
        "add table inet airpods { flags dormant; }",
        "delete element inet airpods links { \"wg0\" }",
        "add rule inet airpods clamp drop",
        "insert rule inet airpods postrouting return",
        "flush chain inet airpods clamp",
    ] {
        assert!(host.net.nft(attempt).is_err(), "{attempt}");
    }
    assert_eq!(host.listed(), before);
    assert_eq!(host.net.sh("nft list tables").unwrap(), "table inet airpods");
}

#[test]
fn the_table_goes_with_the_last_descriptor_of_its_socket() {
    let mut host = Host::new();
    host.apply(&ruleset(&["wg0"], &[]));
    let parked = host.kernel.owning_socket().try_clone_to_owned().unwrap();
    drop(host.kernel);
    assert!(host.net.sh("nft list table inet airpods").is_ok());
    drop(parked);
    eventually("the table's end", || host.net.sh("nft list ruleset").unwrap().is_empty());
}

#[test]
fn a_parked_socket_gives_the_table_back_with_its_counters() {
    let mut host = Host::new();
    host.apply(&ruleset(&["wg0"], &[]));
    let mut others = host.foreign_watch();
    let parked = host.kernel.owning_socket().as_fd().try_clone_to_owned().unwrap();
    drop(std::mem::replace(&mut host.kernel, another_helper(&host.net)));

    let mut back = host.net.run(move || Netlink::adopt(parked)).unwrap();
    let held = back.apply(&ruleset(&["wg0"], &[])).unwrap().unwrap();
    assert!(held.owned);
    assert_eq!(others.drain().unwrap(), [], "the table was touched");
    assert!(back.apply(&ruleset(&["wg0", "wg1"], &[])).is_ok());
}

#[test]
fn other_tables_stay_as_they_are_to_the_byte() {
    let mut host = Host::new();
    host.net
        .nft(
            "table inet other {
             set links { type ifname; elements = { \"wg0\" }; }
             chain clamp { counter packets 7 bytes 70; oifname @links accept; }
             }
             table ip airpods {
             chain postrouting { type filter hook postrouting priority mangle; }
             }
             table ip6 airpods",
        )
        .unwrap();
    let before = host.others();
    assert_eq!(before.matches("table").count(), 3, "{before}");
    for wanted in [ruleset(&["wg0"], &[]), ruleset(&["wg1"], &[]), ruleset(&[], &[("wg1", 1300)]), Ruleset::default()] {
        host.kernel.apply(&wanted).unwrap();
        assert_eq!(host.others(), before);
    }
}
