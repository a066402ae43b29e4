#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::kernel::netlink::fuzzing::as_dumped;
use crate::kernel::table::{Change, change};
use crate::kernel::wire::attribute;

/// A small random generator (xorshift64) with the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(200)).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

fn be(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

/// The kernel's answer about elements of a set.
fn elements_of(set: &str, elements: &[(&[u8], Option<u16>)]) -> Vec<u8> {
    let list: Vec<u8> = elements
        .iter()
        .flat_map(|(key, value)| {
            let key = attribute(nfta::SET_ELEM_KEY, &attribute(nfta::DATA_VALUE, key));
            let value =
                value.map(|mss| attribute(nfta::SET_ELEM_DATA, &attribute(nfta::DATA_VALUE, &mss.to_be_bytes())));
            attribute(1, &[key, value.unwrap_or_default()].concat())
        })
        .collect();
    let name = attribute(nfta::SET_ELEM_LIST_SET, format!("{set}\0").as_bytes());
    [vec![0; NFGENMSG], name, attribute(nfta::SET_ELEM_LIST_ELEMENTS, &list)].concat()
}

fn object(kind: i32, body: Vec<u8>) -> Object {
    Object { kind: nft_kind(kind), body }
}

fn read_elements(answers: &[Vec<u8>]) -> Option<Ruleset> {
    let answers = answers.iter().map(|body| object(libc::NFT_MSG_NEWSETELEM, body.clone()));
    elements(&answers.collect::<Vec<_>>())
}

const WG0: &[u8] = b"wg0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn elements_become_links_and_path_mtus() {
    let answers = [
        elements_of("links", &[(b"wg1.5\0\0\0\0\0\0\0\0\0\0\0", None)]),
        elements_of("mss4", &[(WG0, Some(1240))]),
        elements_of("mss6", &[(WG0, Some(1220))]),
    ];
    let ruleset = read_elements(&answers).unwrap();
    assert_eq!(ruleset.route.iter().map(LinkName::as_str).collect::<Vec<_>>(), ["wg1.5"]);
    assert_eq!(ruleset.fixed[&LinkName::parse("wg0").unwrap()].bytes(), 1280);
}

#[test]
fn maps_that_disagree_and_keys_that_are_no_links_are_not_ours() {
    let alone = [elements_of("mss4", &[(WG0, Some(1240))])];
    assert_eq!(read_elements(&alone), None);
    let apart = [elements_of("mss4", &[(WG0, Some(1240))]), elements_of("mss6", &[(WG0, Some(1240))])];
    assert_eq!(read_elements(&apart), None);
    let keys: [&[u8]; 6] = [
        b"",
        b"wg0",
        b"wg0\0x\0\0\0\0\0\0\0\0\0\0\0",
        b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"sixteen_letters_",
        &[0; 16],
    ];
    for key in keys {
        assert_eq!(read_elements(&[elements_of("links", &[(key, None)])]), None, "{key:?}");
    }
}

#[test]
fn sent_attributes_must_be_there_and_others_zero() {
    // A lookup: NFTA_LOOKUP_SET, SREG and flags. The kernel adds the flags; the first one inverts
    // the lookup.
    let (links, register) = (attribute(1, b"links\0"), attribute(2, &be(1)));
    let sent = [&links[..], &register].concat();
    let is_same = |found: &[&[u8]]| is_as_sent(Attributes::new(&sent), Attributes::new(&found.concat()), &|_| true);
    assert!(is_same(&[&links, &register]) && is_same(&[&register, &links]));
    assert!(is_same(&[&links, &register, &attribute(5, &be(0))]));
    assert!(!is_same(&[&links, &register, &attribute(5, &be(1))]), "an inverted one");
    assert!(!is_same(&[&links]) && !is_same(&[&attribute(1, b"links2\0"), &register]));
    // The kernel does not set `NLA_F_NESTED`.
    let [marked, plain, other] =
        [(2 | NESTED, 6), (2, 6), (2, 17)].map(|(kind, protocol)| attribute(kind, &attribute(1, &[protocol])));
    assert!(is_as_sent(Attributes::new(&marked), Attributes::new(&plain), &|_| true));
    assert!(!is_as_sent(Attributes::new(&marked), Attributes::new(&other), &|_| true));
    assert!(is_as_sent(Attributes::new(&marked), Attributes::new(&other), &|kind| kind != 2), "it does not matter");
}

#[test]
fn a_rule_with_an_expression_more_or_less_or_of_another_kind_is_not_ours() {
    let expression =
        |name: &[u8]| attribute(1, &[attribute(nfta::EXPR_NAME, name), attribute(nfta::EXPR_DATA, &[])].concat());
    let rule = |names: &[&[u8]]| {
        let list: Vec<u8> = names.iter().flat_map(|name| expression(name)).collect();
        attribute(nfta::RULE_EXPRESSIONS, &list)
    };
    let sent = rule(&[b"rt\0", b"exthdr\0"]);
    let count = |found: &[&[u8]]| packets_of_same(Attributes::new(&sent), Attributes::new(&rule(found)));
    assert_eq!(count(&[b"rt\0", b"exthdr\0"]), Some(0));
    for other in [&[&b"rt\0"[..]][..], &[b"rt\0", b"exthdr\0", b"log\0"], &[b"exthdr\0", b"rt\0"], &[]] {
        assert_eq!(count(other), None, "{other:?}");
    }
}

#[test]
fn a_table_with_any_flag_is_not_what_the_helper_makes() {
    let ruleset = Ruleset { route: [LinkName::parse("wg0").unwrap()].into(), ..Ruleset::default() };
    let held = |flags: u32| {
        let mut answers = as_dumped(&ruleset);
        answers[0].body.extend(attribute(nfta::TABLE_FLAGS, &be(flags)));
        table_of(&answers)
    };
    assert!(TableState::is_exactly(Some(&held(0)), &ruleset));
    for flags in [1, 2, 3, 4] {
        let held = held(flags);
        assert_eq!(held, TableState::default(), "so the reconciler sees that the rules are lost");
        assert!(
            !TableState::is_exactly(Some(&held), &ruleset) && !TableState::is_exactly(Some(&held), &Ruleset::default())
        );
        assert_eq!(change(Some(&held), &ruleset), Some(Change::Replace(ruleset.clone())), "{flags}");
    }
    assert!(TableState::is_exactly(None, &Ruleset::default()) && !TableState::is_exactly(None, &ruleset));
}

#[test]
fn the_packets_of_all_rules_of_a_family_and_direction_are_added_up() {
    let name = |text: &str| LinkName::parse(text).unwrap();
    let (route, fixed) = ([name("wg0")].into(), [(name("wg1"), PathMtu::new(1280).unwrap())].into());
    let mut answers = as_dumped(&Ruleset { route, fixed });
    let rules = answers.iter_mut().filter(|answer| answer.kind == nft_kind(libc::NFT_MSG_NEWRULE));
    for (number, rule) in rules.enumerate() {
        // The value of NFTA_COUNTER_PACKETS, 8 bytes behind its header.
        let packets = [&12_u16.to_ne_bytes()[..], &nfta::COUNTER_PACKETS.to_ne_bytes(), &[0; 8]].concat();
        if let Some(at) = rule.body.windows(12).position(|bytes| bytes == packets) {
            rule.body[at + 4..at + 12].copy_from_slice(&(1_u64 << number).to_be_bytes());
        }
    }
    // In the order of the layout. Rules 6 and 9 jump, and have no counter.
    let counters = Counters { ipv4_out: 1 + 16, ipv4_in: 2 + 128, ipv6_out: 4 + 32, ipv6_in: 8 + 256 };
    assert_eq!(table_of(&answers).counters, counters);
}

#[test]
fn arbitrary_answers_are_no_table_of_ours_and_no_panic() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let mut answers = vec![object(libc::NFT_MSG_NEWTABLE, numbers.bytes())];
        for kind in [libc::NFT_MSG_NEWCHAIN, libc::NFT_MSG_NEWSET, libc::NFT_MSG_NEWRULE, libc::NFT_MSG_NEWSETELEM] {
            answers.extend((0..3).map(|_| object(kind, numbers.bytes())));
        }
        let found = table_of(&answers);
        assert_eq!((found.is_ours, found.ruleset), (false, Ruleset::default()));
    }
}

#[test]
fn elements_with_any_byte_changed_are_read_or_refused_without_a_panic() {
    let mut numbers = Numbers(42);
    let (v4, v6) = (elements_of("mss4", &[(WG0, Some(1240))]), elements_of("mss6", &[(WG0, Some(1220))]));
    let mut refused = 0;
    for _ in 0..50_000 {
        let mut changed = v4.clone();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(changed.len());
            changed[at] = numbers.next().to_le_bytes()[0];
        }
        changed.truncate(numbers.below(changed.len() * 4));
        refused += u32::from(read_elements(&[changed, v6.clone()]).is_none());
    }
    assert!(refused > 25_000, "{refused}");
}

/// The offset of the last byte of every value, with the types of the attributes around it.
fn values(bytes: &[u8], begin: usize, within: &[u16]) -> Vec<(Vec<u16>, usize)> {
    let mut found = Vec::new();
    let mut at = begin;
    while let Some([low, high, kind_low, kind_high]) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let (length, kind) = (u16::from_ne_bytes([*low, *high]), u16::from_ne_bytes([*kind_low, *kind_high]));
        let (end, path) = (at + usize::from(length), [within, &[kind & !NESTED]].concat());
        if kind & NESTED == 0 {
            found.push((path, end - 1));
        } else {
            found.extend(values(&bytes[..end], at + 4, &path));
        }
        at = end.next_multiple_of(4);
    }
    found
}

#[test]
fn a_table_that_differs_in_any_value_that_its_rules_depend_on_is_not_ours() {
    let name = |text: &str| LinkName::parse(text).unwrap();
    let (route, fixed) = ([name("wg0")].into(), [(name("wg1"), PathMtu::new(1280).unwrap())].into());
    let answers = as_dumped(&Ruleset { route, fixed });
    let ours = table_of(&answers);
    assert!(ours.is_ours);
    let mut of_no_matter = std::collections::BTreeSet::new();
    for (at, answer) in answers.iter().enumerate() {
        let what = match i32::from(answer.kind & 0xff) {
            libc::NFT_MSG_NEWCHAIN => "chain",
            libc::NFT_MSG_NEWSET => "set",
            libc::NFT_MSG_NEWRULE => "rule",
            libc::NFT_MSG_NEWSETELEM => "element",
            _ => continue,
        };
        for (path, byte) in values(&answer.body, NFGENMSG, &[]) {
            let mut changed = answers.clone();
            changed[at].body[byte] ^= 1;
            if table_of(&changed) == ours {
                of_no_matter.insert(format!("{what} {path:?}"));
            }
        }
    }
    // These may differ: the table's name, because the request named it; the bytes that a rule
    // counted; a set's id; and user data for printing.
    let expected = [
        "chain [1]",
        "element [1]",
        "element [4]",
        "rule [1]",
        "rule [4, 1, 2, 1]",
        "set [10]",
        "set [13]",
        "set [1]",
        "set [6]",
    ];
    assert_eq!(of_no_matter.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
