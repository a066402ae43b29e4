//! Reads the content of the table from the kernel's answers.
//!
//! nftnl has no parser. So the kernel's answers are compared with the messages that create each of
//! the two layouts of [`super::layout`]. A table that differs in anything the rules depend on is
//! not ours.

use std::collections::BTreeMap;

use airpods_dbus::{Counters, LinkName, PathMtu};
use nix::libc;

use super::encode::structure;
use super::layout::{Direction, Family, Layout, ROUTE_ONLY, Rule, Set, WITH_FIXED};
use super::{Ruleset, TableState};
use crate::kernel::wire::{Attributes, NESTED, NFGENMSG, TYPE_MASK, nfta};

/// The bodies of the kernel's answers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The table.
    pub table: Vec<u8>,
    /// The table's chains that have names of ours.
    pub chains: Vec<Vec<u8>>,
    /// The table's sets that have names of ours.
    pub sets: Vec<Vec<u8>>,
    /// All rules of the table, in order.
    pub rules: Vec<Vec<u8>>,
    /// The elements of those sets.
    pub elements: Vec<Vec<u8>>,
}

/// A table of our name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTable {
    /// Its flags, `NFT_TABLE_F_*`.
    pub flags: u32,
    /// The netlink port of the socket that owns it.
    pub owner: Option<u32>,
    /// Its content, if its structure is ours, flags aside.
    pub ours: Option<OwnTable>,
}

/// The content of a table of one of our layouts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnTable {
    /// Its elements.
    pub ruleset: Ruleset,
    /// The packets that its rules counted.
    pub counts: BTreeMap<Rule, u64>,
}

impl FoundTable {
    /// The table as the rest of the helper sees it. A table with flags counts as foreign: for
    /// example, its rules are dormant, or another socket owns it.
    #[must_use]
    pub fn state(&self) -> TableState {
        let Some(ours) = self.ours.as_ref().filter(|_| self.flags == 0) else { return TableState::default() };
        let mut counters = Counters::default();
        for (rule, packets) in &ours.counts {
            let (Rule::RouteMtu(family, direction) | Rule::FixedMss(family, direction)) = rule else { continue };
            let counter = match (family, direction) {
                (Family::Ipv4, Direction::Out) => &mut counters.ipv4_out,
                (Family::Ipv4, Direction::In) => &mut counters.ipv4_in,
                (Family::Ipv6, Direction::Out) => &mut counters.ipv6_out,
                (Family::Ipv6, Direction::In) => &mut counters.ipv6_in,
            };
            *counter = counter.saturating_add(*packets);
        }
        TableState { ruleset: ours.ruleset.clone(), counters, is_ours: true }
    }
}

impl Answers {
    /// Sorts messages by the kind of object.
    pub(crate) fn of(messages: impl Iterator<Item = (i32, Vec<u8>)>) -> Self {
        let mut answers = Self::default();
        for (kind, body) in messages {
            match kind {
                libc::NFT_MSG_NEWTABLE => answers.table = body,
                libc::NFT_MSG_NEWCHAIN => answers.chains.push(body),
                libc::NFT_MSG_NEWSET => answers.sets.push(body),
                libc::NFT_MSG_NEWRULE => answers.rules.push(body),
                libc::NFT_MSG_NEWSETELEM => answers.elements.push(body),
                _ => {}
            }
        }
        answers
    }
}

/// Parses the answers about a table.
#[must_use]
pub fn found(answers: &Answers) -> FoundTable {
    let table = body(&answers.table);
    FoundTable {
        flags: table.be32(nfta::TABLE_FLAGS).unwrap_or_default(),
        owner: table.be32(nfta::TABLE_OWNER),
        ours: ours(answers, table.be32(nfta::TABLE_USE)),
    }
}

fn body(message: &[u8]) -> Attributes<'_> {
    Attributes::new(message.get(NFGENMSG..).unwrap_or_default())
}

fn ours(answers: &Answers, objects: Option<u32>) -> Option<OwnTable> {
    let objects = usize::try_from(objects?).ok()?;
    // The kernel counts chains, sets and all other objects in a table, so a surplus object shows in
    // the number.
    let layout = [&ROUTE_ONLY, &WITH_FIXED].into_iter().find(|it| it.sets.len() + it.chains.len() == objects)?;
    let sent = structure(layout).contents();
    let all = |sent: &[Vec<u8>], found: &[Vec<u8>], is_same: fn(Attributes<'_>, Attributes<'_>) -> bool| {
        sent.iter().all(|sent| found.iter().any(|found| is_same(body(sent), body(found))))
    };
    if !all(&sent.chains, &answers.chains, is_same_chain) || !all(&sent.sets, &answers.sets, is_same_set) {
        return None;
    }
    let counts = counts(answers, layout, &sent.rules)?;
    let ruleset = elements(answers)?;
    std::ptr::eq(Layout::of(&ruleset), layout).then_some(OwnTable { ruleset, counts })
}

fn is_same_chain(sent: Attributes<'_>, found: Attributes<'_>) -> bool {
    let is_same_hook = match (sent.nested(nfta::CHAIN_HOOK), found.nested(nfta::CHAIN_HOOK)) {
        (Some(sent), Some(found)) => is_as_sent(sent, found),
        (sent, found) => sent.is_none() && found.is_none(),
    };
    let same = [nfta::CHAIN_NAME, nfta::CHAIN_POLICY, nfta::CHAIN_TYPE];
    is_same_hook && same.into_iter().all(|kind| sent.get(kind) == found.get(kind))
}

fn is_same_set(sent: Attributes<'_>, found: Attributes<'_>) -> bool {
    let flags = |set: Attributes<'_>| set.be32(nfta::SET_FLAGS).unwrap_or_default();
    let same = [nfta::SET_NAME, nfta::SET_KEY_TYPE, nfta::SET_KEY_LEN, nfta::SET_DATA_LEN];
    flags(sent) == flags(found) && same.into_iter().all(|kind| sent.get(kind) == found.get(kind))
}

/// The counts, if the rules of each chain are those of the layout, in its order.
fn counts(answers: &Answers, layout: &Layout, sent: &[Vec<u8>]) -> Option<BTreeMap<Rule, u64>> {
    let mut counts = BTreeMap::new();
    let mut sent_rules = sent.iter();
    for chain in layout.chains {
        let in_chain = |answer: &&Vec<u8>| body(answer).text(nfta::RULE_CHAIN) == Some(chain.name);
        let mut rules = answers.rules.iter().filter(in_chain);
        for rule in chain.rules {
            let counted = counts_of_same(body(sent_rules.next()?), body(rules.next()?))?;
            counts.extend(counted.into_iter().map(|count| (*rule, count)));
        }
    }
    (sent.len() == answers.rules.len()).then_some(counts)
}

/// The count of a rule's counter, if it has one; `None` if its expressions are not those that were
/// sent.
fn counts_of_same(sent: Attributes<'_>, found: Attributes<'_>) -> Option<Vec<u64>> {
    let mut sent = sent.nested(nfta::RULE_EXPRESSIONS)?.walk();
    let mut found = found.nested(nfta::RULE_EXPRESSIONS)?.walk();
    let mut counts = Vec::new();
    loop {
        let ((_, sent), (_, found)) = match (sent.next(), found.next()) {
            (Some(sent), Some(found)) => (sent, found),
            (None, None) => return Some(counts),
            _ => return None,
        };
        let (sent, found) = (Attributes::new(sent), Attributes::new(found));
        let name = sent.text(nfta::EXPR_NAME).filter(|name| found.text(nfta::EXPR_NAME) == Some(*name))?;
        let data = found.nested(nfta::EXPR_DATA)?;
        if name == "counter" {
            counts.push(data.be64(nfta::COUNTER_PACKETS)?);
        } else if !is_as_sent(sent.nested(nfta::EXPR_DATA)?, data) {
            return None;
        }
    }
}

/// Whether `found` has all that was sent, and all else in it is zero. An example is the flags that
/// the kernel adds to a lookup: a set bit inverts it.
fn is_as_sent(sent: Attributes<'_>, found: Attributes<'_>) -> bool {
    let is_same = |(kind, value): (u16, &[u8])| match found.get(kind & TYPE_MASK) {
        Some(other) if kind & NESTED != 0 => is_as_sent(Attributes::new(value), Attributes::new(other)),
        other => other == Some(value),
    };
    let is_nothing =
        |(kind, value): (u16, &[u8])| sent.get(kind & TYPE_MASK).is_some() || value.iter().all(|byte| *byte == 0);
    sent.walk().all(is_same) && found.walk().all(is_nothing)
}

/// The elements of all sets; `None` if one is no valid link name, or the two maps disagree on a
/// path MTU.
fn elements(answers: &Answers) -> Option<Ruleset> {
    let mut ruleset = Ruleset::default();
    let mut by_ipv6 = BTreeMap::new();
    for answer in &answers.elements {
        let answer = body(answer);
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
