//! Reads the content of the table from the kernel's answers.
//!
//! nftnl has no parser. So the kernel's answers are compared with the messages that would create a
//! table with the same elements. A table that differs in anything the rules depend on is not ours.

use std::collections::BTreeMap;

use airpods_dbus::{Counters, LinkName, PathMtu};
use nix::libc;

use super::encode::encode;
use super::layout::{Direction, Family, Layout, Rule, Set, WITH_FIXED};
use super::{Change, Ruleset, TableState};
use crate::kernel::wire::{Attributes, NESTED, NFGENMSG, Object, TYPE_MASK, nft_kind, nfta};

/// The attributes of a chain that matter.
const OF_CHAIN: [u16; 4] = [nfta::CHAIN_NAME, nfta::CHAIN_HOOK, nfta::CHAIN_POLICY, nfta::CHAIN_TYPE];

/// The attributes of a set that matter.
const OF_SET: [u16; 5] = [nfta::SET_NAME, nfta::SET_FLAGS, nfta::SET_KEY_TYPE, nfta::SET_KEY_LEN, nfta::SET_DATA_LEN];

/// Parses the answers about a table: the table itself, those of its chains and sets that have names
/// of ours, the elements of those sets, and all rules.
#[must_use]
pub fn table_of(answers: &[Object]) -> TableState {
    let table = all(answers, libc::NFT_MSG_NEWTABLE).next().unwrap_or_default();
    let has_flags = table.be32(nfta::TABLE_FLAGS).is_some_and(|flags| flags != 0);
    let ours = if has_flags { None } else { ours(answers, table.be32(nfta::TABLE_USE)) };
    TableState { owner: table.be32(nfta::TABLE_OWNER), ..ours.unwrap_or_default() }
}

/// The attributes of all objects of a kind (`NFT_MSG_NEW*`).
fn all(objects: &[Object], kind: i32) -> impl Iterator<Item = Attributes<'_>> {
    let of_kind = objects.iter().filter(move |object| object.kind == nft_kind(kind));
    of_kind.map(|object| Attributes::new(object.body.get(NFGENMSG..).unwrap_or_default()))
}

/// The table, if its objects are as sent, flags aside. `objects` is the kernel's count of them.
fn ours(found: &[Object], objects: Option<u32>) -> Option<TableState> {
    let ruleset = elements(found)?;
    let layout = Layout::of(&ruleset);
    // The kernel counts chains, sets and all other objects in a table, so a surplus object shows in
    // the number.
    if usize::try_from(objects?).ok()? != layout.sets.len() + layout.chains.len() {
        return None;
    }
    let sent = encode(&Change::Replace(ruleset.clone())).objects();
    for (kind, attributes) in [(libc::NFT_MSG_NEWCHAIN, &OF_CHAIN[..]), (libc::NFT_MSG_NEWSET, &OF_SET)] {
        let is_found = |sent| all(found, kind).any(|found| is_as_sent(sent, found, &|kind| attributes.contains(&kind)));
        if !all(&sent, kind).all(is_found) {
            return None;
        }
    }
    let counters = counters(found, layout, &sent)?;
    Some(TableState { is_ours: true, ruleset, counters, owner: None })
}

/// The counters, if the rules of each chain are those of the layout, in its order.
fn counters(found: &[Object], layout: &Layout, sent: &[Object]) -> Option<Counters> {
    let mut counters = Counters::default();
    let mut sent_rules = all(sent, libc::NFT_MSG_NEWRULE);
    for chain in layout.chains {
        let in_chain = |rule: &Attributes<'_>| rule.text(nfta::RULE_CHAIN) == Some(chain.name);
        let mut found_rules = all(found, libc::NFT_MSG_NEWRULE).filter(in_chain);
        for rule in chain.rules {
            let packets = packets_of_same(sent_rules.next()?, found_rules.next()?)?;
            let (Rule::RouteMtu(family, direction) | Rule::FixedMss(family, direction)) = rule else { continue };
            let counter = match (family, direction) {
                (Family::Ipv4, Direction::Out) => &mut counters.ipv4_out,
                (Family::Ipv4, Direction::In) => &mut counters.ipv4_in,
                (Family::Ipv6, Direction::Out) => &mut counters.ipv6_out,
                (Family::Ipv6, Direction::In) => &mut counters.ipv6_in,
            };
            *counter = counter.saturating_add(packets);
        }
    }
    let count = |objects| all(objects, libc::NFT_MSG_NEWRULE).count();
    (count(sent) == count(found)).then_some(counters)
}

/// The packets that a rule counted; `None` if its expressions are not those that were sent.
fn packets_of_same(sent: Attributes<'_>, found: Attributes<'_>) -> Option<u64> {
    let mut sent = sent.nested(nfta::RULE_EXPRESSIONS)?.walk();
    let mut found = found.nested(nfta::RULE_EXPRESSIONS)?.walk();
    let mut packets = 0;
    loop {
        let ((_, sent), (_, found)) = match (sent.next(), found.next()) {
            (Some(sent), Some(found)) => (sent, found),
            (None, None) => return Some(packets),
            _ => return None,
        };
        let (sent, found) = (Attributes::new(sent), Attributes::new(found));
        let name = sent.text(nfta::EXPR_NAME).filter(|name| found.text(nfta::EXPR_NAME) == Some(*name))?;
        let data = found.nested(nfta::EXPR_DATA)?;
        if name == "counter" {
            packets = data.be64(nfta::COUNTER_PACKETS)?;
        } else if !is_as_sent(sent.nested(nfta::EXPR_DATA)?, data, &|_| true) {
            return None;
        }
    }
}

/// Whether `found` has all attributes that were sent and that matter, and all others that matter
/// are zero. An example is the flags that the kernel adds to a lookup: a set bit inverts it.
fn is_as_sent(sent: Attributes<'_>, found: Attributes<'_>, matters: &dyn Fn(u16) -> bool) -> bool {
    let is_same = |(kind, value): (u16, &[u8])| match found.get(kind & TYPE_MASK) {
        _ if !matters(kind & TYPE_MASK) => true,
        Some(other) if kind & NESTED != 0 => is_as_sent(Attributes::new(value), Attributes::new(other), &|_| true),
        other => other == Some(value),
    };
    let is_nothing = |(kind, value): (u16, &[u8])| {
        let kind = kind & TYPE_MASK;
        !matters(kind) || sent.get(kind).is_some() || value.iter().all(|byte| *byte == 0)
    };
    sent.walk().all(is_same) && found.walk().all(is_nothing)
}

/// The elements of all sets; `None` if one is no valid link name, or the two maps disagree on a
/// path MTU.
fn elements(answers: &[Object]) -> Option<Ruleset> {
    let mut ruleset = Ruleset::default();
    let mut by_ipv6 = BTreeMap::new();
    for answer in all(answers, libc::NFT_MSG_NEWSETELEM) {
        let set = answer.text(nfta::SET_ELEM_LIST_SET)?;
        let Some(list) = answer.nested(nfta::SET_ELEM_LIST_ELEMENTS) else { continue };
        for (_, element) in list.walk() {
            let element = Attributes::new(element);
            let link = link(element.nested(nfta::SET_ELEM_KEY)?.get(nfta::DATA_VALUE)?)?;
            match WITH_FIXED.sets.iter().find(|known| known.name() == set)? {
                Set::Links => drop(ruleset.route.insert(link)),
                Set::Mss(family) => {
                    let value = element.nested(nfta::SET_ELEM_DATA)?.get(nfta::DATA_VALUE)?;
                    let mss = u16::from_be_bytes(value.try_into().ok()?);
                    let (map, headers) = match family {
                        Family::Ipv4 => (&mut ruleset.fixed, 40),
                        Family::Ipv6 => (&mut by_ipv6, 60),
                    };
                    map.insert(link, PathMtu::new(u32::from(mss) + headers).ok()?);
                }
            }
        }
    }
    (ruleset.fixed == by_ipv6).then_some(ruleset)
}

/// A link's name of 16 bytes, NUL-padded.
fn link(key: &[u8]) -> Option<LinkName> {
    let (name, padding) = key.split_at_checked(key.iter().position(|byte| *byte == 0)?)?;
    let whole = key.len() == 16 && padding.iter().all(|byte| *byte == 0);
    LinkName::of_kernel(name).ok().filter(|_| whole)
}

#[cfg(test)]
mod tests;
