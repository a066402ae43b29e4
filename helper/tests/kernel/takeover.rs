//! Ownership of the table: tables found at the start, changes by other programs, and the end of the
//! helper.

use airpods_helper::kernel::{Event, Kernel, Ruleset, TableState};
use airpods_lab::Place;

use crate::host::{Host, another_helper, ruleset};

/// Tables that another program or an older helper may have left: a description, and the text for
/// nft.
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
fn any_leftover_table_is_replaced_in_one_transaction() {
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
fn a_table_with_our_rules_and_more_is_replaced_too() {
    let mut model = Host::new();
    model.apply(&ruleset(&["wg0"], &[]));
    let wanted = ruleset(&["wg0"], &[]);
    for extra in [
        "add chain inet airpods more",
        "add rule inet airpods clamp drop",
        "insert rule inet airpods postrouting accept",
        "add element inet airpods links { \"lo\" }",
        "add element inet airpods links { \"x y\" }",
        "add table inet airpods { flags dormant; }",
    ] {
        let mut host = Host::new();
        host.apply(&wanted);
        host.net.nft(extra).unwrap();
        assert!(!TableState::is_exactly(host.kernel.read_table().unwrap().as_ref(), &wanted), "the premise: {extra}");
        assert!(host.apply(&wanted).is_ours, "{extra}");
        assert_eq!(host.listed(), model.listed(), "{extra}");
    }
}

#[test]
fn a_table_of_ours_is_removed_with_any_content() {
    for (what, table) in STALE {
        let mut host = Host::new();
        host.net.nft(table).unwrap();
        assert!(host.kernel.read_table().unwrap().is_some(), "{what}");
        assert_eq!(host.kernel.apply(&Ruleset::default()).unwrap().after, None, "{what}");
        assert_eq!(host.net.sh("nft list ruleset").unwrap(), "", "{what}");
    }
}

/// A foreign table, as a firewall has it.
const FIREWALL: &str = "table inet filter {
     set allowed { type inet_service; elements = { 22, 443 }; }
     chain input { type filter hook input priority 0; policy accept; tcp dport @allowed counter packets 7 bytes 70 accept; }
     }
     table ip nat { chain post { type nat hook postrouting priority 100; oifname \"eth0\" masquerade; }; }";

/// A host with a firewall and our table, and the file with its saved ruleset.
fn saved() -> (Host, String) {
    let mut host = Host::new();
    host.net.nft(FIREWALL).unwrap();
    host.apply(&ruleset(&["wg0"], &[("wg1", 1300)]));
    let saved = host.net.sh("nft list ruleset").unwrap();
    assert!(saved.contains("table inet airpods") && saved.contains("table ip nat"), "the premise: {saved}");
    (host, saved)
}

#[test]
fn a_saved_ruleset_with_our_table_in_it_loads_whole_and_what_it_brings_back_is_repaired() {
    let wanted = ruleset(&["wg0"], &[("wg1", 1300)]);
    for (what, before) in [
        ("after a flush", "flush ruleset"),
        ("on top of what is there", ""),
        ("after our table alone was deleted", "delete table inet airpods"),
    ] {
        let (mut host, saved) = saved();
        let others = host.others();
        host.net.nft(before).unwrap();
        if before != "flush ruleset" {
            host.net.sh("nft delete table inet filter; nft delete table ip nat").unwrap();
        }
        host.net.nft(&saved).unwrap();
        assert_eq!(
            without_handles(&host.others()),
            without_handles(&others),
            "{what}: every other table is as it was saved"
        );
        assert_eq!(host.apply(&wanted).ruleset, wanted, "{what}");
        let listed = host.listed();
        let mut model = Host::new();
        model.apply(&wanted);
        assert_eq!(listed, model.listed(), "{what}: no rule is there twice");
    }
}

#[test]
fn a_saved_ruleset_loads_again_and_again_while_the_helper_holds_the_table() {
    let (mut host, saved) = saved();
    let others = without_handles(&host.others());
    let wanted = ruleset(&["wg0"], &[("wg1", 1300)]);
    for _ in 0..3 {
        host.net.nft(&format!("flush ruleset\n{saved}")).unwrap();
        assert_eq!(without_handles(&host.others()), others);
        assert!(
            TableState::is_exactly(host.kernel.read_table().unwrap().as_ref(), &wanted),
            "what was saved of ours is ours"
        );
        host.net.nft("delete element inet airpods links { \"wg0\" }").unwrap();
        host.apply(&wanted);
    }
}

/// Removes the handles, which change with every load.
fn without_handles(text: &str) -> String {
    let lines = text.lines().map(|line| line.split(" # handle").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_flushed_deleted_or_changed_table_is_repaired_by_one_batch() {
    let wanted = ruleset(&["wg0"], &[("wg1", 1300)]);
    for change in [
        "flush ruleset",
        "delete table inet airpods",
        "flush table inet airpods",
        "add table inet airpods { flags dormant; }",
        "delete element inet airpods links { \"wg0\" }",
        "add rule inet airpods clamp drop",
        "insert rule inet airpods postrouting return",
        "flush chain inet airpods clamp",
    ] {
        let mut host = Host::new();
        host.apply(&wanted);
        let before = host.listed();
        let mut events = host.foreign_watch();
        host.net.nft(change).unwrap();
        assert!(!events.drain().unwrap().is_empty(), "{change}");
        host.apply(&wanted);
        let repairs = events.drain().unwrap().iter().filter(|event| matches!(event, Event::Rules { .. })).count();
        assert_eq!((host.listed(), repairs), (before, 1), "{change}");
    }
}

#[test]
fn the_table_outlives_the_process_that_made_it_with_its_counters() {
    let mut host = Host::new();
    host.apply(&ruleset(&["wg0"], &[]));
    let mut others = host.foreign_watch();
    drop(std::mem::replace(&mut host.kernel, another_helper(&host.net)));
    assert!(host.apply(&ruleset(&["wg0"], &[])).is_ours);
    assert_eq!(others.drain().unwrap(), [], "the table was touched");
    assert!(host.kernel.apply(&ruleset(&["wg0", "wg1"], &[])).is_ok());
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
