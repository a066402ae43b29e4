//! From the kernel's answers to what the table holds.
//!
//! nftnl has no parser. This is a walk over attributes that recognises the two layouts of [`super::layout`] and
//! nothing else: a table that differs in anything the rules depend on is not ours.

use std::collections::BTreeMap;

use airpods_dbus::{Counters, LinkName, PathMtu};
use nix::libc;

use super::layout::{
    Chain, Direction, Expression, Family, Hook, Layout, PRIORITY_MANGLE, ROUTE_ONLY, Rule, Set, WITH_FIXED,
};
use super::ruleset::{Held, Ruleset};
use crate::kernel::wire::attribute::Attributes;
use crate::kernel::wire::{self, NFGENMSG, nfta};

/// The bodies of the messages that the kernel answered with.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The table.
    pub table: Vec<u8>,
    /// Chains of the table with names of ours.
    pub chains: Vec<Vec<u8>>,
    /// Sets of the table with names of ours.
    pub sets: Vec<Vec<u8>>,
    /// All rules of the table, in order.
    pub rules: Vec<Vec<u8>>,
    /// Elements of those sets.
    pub elements: Vec<Vec<u8>>,
}

/// A table of our name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its flags, `NFT_TABLE_F_*`.
    pub flags: u32,
    /// The netlink port of the socket that owns it.
    pub owner: Option<u32>,
    /// What it holds, if it is as we would have made it, flags aside.
    pub ours: Option<Ours>,
}

/// The content of a table of one of our layouts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// Its elements.
    pub ruleset: Ruleset,
    /// Packets counted by its rules.
    pub counts: BTreeMap<Rule, u64>,
}

impl Found {
    /// For whoever asks what the kernel holds. Rules of a table with flags, such as dormant, act on nothing or are not ours.
    #[must_use]
    pub fn held(&self) -> Held {
        let Some(ours) = self.ours.as_ref().filter(|_| self.flags == 0) else { return Held::default() };
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
        Held { ruleset: ours.ruleset.clone(), counters, is_ours: true }
    }
}

/// Reads a table.
#[must_use]
pub fn found(answers: &Answers) -> Found {
    let table = body(&answers.table);
    Found {
        flags: table.be32(nfta::TABLE_FLAGS).unwrap_or_default(),
        owner: table.be32(nfta::TABLE_OWNER),
        ours: ours(answers, table.be32(nfta::TABLE_USE)),
    }
}

fn body(message: &[u8]) -> Attributes<'_> {
    Attributes::new(message.get(NFGENMSG..).unwrap_or_default())
}

fn ours(answers: &Answers, objects: Option<u32>) -> Option<Ours> {
    let objects = usize::try_from(objects?).ok()?;
    // The kernel counts chains, sets and whatever else a table may hold: an object too many is none of ours.
    let layout = [&ROUTE_ONLY, &WITH_FIXED].into_iter().find(|it| it.sets.len() + it.chains.len() == objects)?;
    let chains = layout.chains.iter().all(|chain| answers.chains.iter().any(|answer| is_chain(body(answer), chain)));
    let sets = layout.sets.iter().all(|set| answers.sets.iter().any(|answer| is_set(body(answer), *set)));
    if !(chains && sets) {
        return None;
    }
    let counts = counts(answers, layout)?;
    let ruleset = elements(answers)?;
    std::ptr::eq(Layout::of(&ruleset), layout).then_some(Ours { ruleset, counts })
}

fn is_chain(answer: Attributes<'_>, chain: &Chain) -> bool {
    let hook = answer.nested(nfta::CHAIN_HOOK);
    let hooked = match chain.hook {
        None => hook.is_none(),
        Some(expected) => {
            let number = match expected {
                Hook::Prerouting => libc::NF_INET_PRE_ROUTING,
                Hook::Postrouting => libc::NF_INET_POST_ROUTING,
            };
            hook.and_then(|hook| hook.be32(nfta::HOOK_HOOKNUM)) == u32::try_from(number).ok()
                && hook.and_then(|hook| hook.be32(nfta::HOOK_PRIORITY)) == Some(PRIORITY_MANGLE.cast_unsigned())
                && answer.be32(nfta::CHAIN_POLICY) == u32::try_from(libc::NF_ACCEPT).ok()
                && answer.text(nfta::CHAIN_TYPE) == Some("filter")
        }
    };
    hooked && answer.text(nfta::CHAIN_NAME) == Some(chain.name)
}

fn is_set(answer: Attributes<'_>, set: Set) -> bool {
    let (flags, data) = if set.is_map() { (libc::NFT_SET_MAP, Some(wire::MSS_LEN)) } else { (0, None) };
    answer.text(nfta::SET_NAME) == Some(set.name())
        && answer.be32(nfta::SET_FLAGS).unwrap_or_default() == u32::try_from(flags).unwrap_or_default()
        && answer.be32(nfta::SET_KEY_TYPE) == Some(wire::IFNAME)
        && answer.be32(nfta::SET_KEY_LEN) == Some(wire::NAME_LEN)
        && answer.be32(nfta::SET_DATA_LEN) == data
}

/// The counters, if the rules of each chain are those of the layout, in its order.
fn counts(answers: &Answers, layout: &Layout) -> Option<BTreeMap<Rule, u64>> {
    let mut counts = BTreeMap::new();
    let mut read = 0;
    for chain in layout.chains {
        let in_chain = |answer: &&Vec<u8>| body(answer).text(nfta::RULE_CHAIN) == Some(chain.name);
        let mut rules = answers.rules.iter().filter(in_chain);
        for rule in chain.rules {
            let (expressions, count) = rule_parts(body(rules.next()?))?;
            if expressions != rule.expressions() {
                return None;
            }
            counts.extend(count.map(|count| (*rule, count)));
            read += 1;
        }
    }
    (read == answers.rules.len()).then_some(counts)
}

/// A rule's expressions and its counter; `None` if one is none that we use.
fn rule_parts(rule: Attributes<'_>) -> Option<(Vec<Expression>, Option<u64>)> {
    let mut expressions = Vec::new();
    let mut count = None;
    for (_, element) in rule.nested(nfta::RULE_EXPRESSIONS)? {
        let element = Attributes::new(element);
        let data = element.nested(nfta::EXPR_DATA)?;
        let expression = expression(element.text(nfta::EXPR_NAME)?, data)?;
        if expression == Expression::Count {
            // NFTA_COUNTER_PACKETS
            count = Some(data.be64(2)?);
        }
        expressions.push(expression);
    }
    Some((expressions, count))
}

/// `NFT_REG_1`, the only register we use.
const REGISTER: Option<u32> = Some(1);

/// One expression. The numbers are the attribute types of each expression, in the order of its enum in `nf_tables.h`.
fn expression(name: &str, data: Attributes<'_>) -> Option<Expression> {
    let is = |condition: bool, expression| condition.then_some(expression);
    match name {
        // DREG, KEY
        "meta" => is(data.be32(1) == REGISTER, load(i32::try_from(data.be32(2)?).ok()?)?),
        // DREG, BASE, OFFSET, LEN
        "payload" => {
            let place = [data.be32(1), data.be32(2), data.be32(3), data.be32(4)];
            let transport = u32::try_from(libc::NFT_PAYLOAD_TRANSPORT_HEADER).ok();
            is(place == [REGISTER, transport, Some(wire::TCP_FLAGS_OFFSET), Some(1)], Expression::LoadTcpFlags)
        }
        // SREG, DREG, LEN, MASK, XOR
        "bitwise" => {
            let mask = byte(data.nested(4)?)?;
            let plain = [data.be32(1), data.be32(2), data.be32(3)] == [REGISTER, REGISTER, Some(1)];
            is(plain && byte(data.nested(5)?)? == 0, Expression::Mask(mask))
        }
        // SREG, OP, DATA
        "cmp" => {
            let equals = data.be32(1) == REGISTER && data.be32(2) == u32::try_from(libc::NFT_CMP_EQ).ok();
            is(equals, Expression::Equals(byte(data.nested(3)?)?))
        }
        // SET, SREG, DREG, SET_ID, FLAGS
        "lookup" => {
            let named = data.text(1)?;
            let set = WITH_FIXED.sets.iter().copied().find(|set| set.name() == named)?;
            let (result, expression) =
                if set.is_map() { (REGISTER, Expression::MapBy(set)) } else { (None, Expression::IsIn(set)) };
            is(data.be32(2) == REGISTER && data.be32(3) == result && data.be32(5).unwrap_or(0) == 0, expression)
        }
        "counter" => Some(Expression::Count),
        // DREG, KEY
        "rt" => is([data.be32(1), data.be32(2)] == [REGISTER, Some(wire::RT_TCPMSS)], Expression::LoadRouteMss),
        // SREG, DREG, OP, LEN, SIZE
        "byteorder" => {
            let swap = [data.be32(1), data.be32(2), data.be32(3), data.be32(4), data.be32(5)];
            let (operation, length) = (Some(wire::BYTEORDER_HTON), Some(wire::MSS_LEN));
            is(swap == [REGISTER, REGISTER, operation, length, length], Expression::ToNetworkOrder)
        }
        // DREG, TYPE, OFFSET, LEN, FLAGS, OP, SREG
        "exthdr" => {
            let place = [data.be32(3), data.be32(4), data.be32(6), data.be32(7)];
            let option = [Some(wire::MSS_OFFSET), Some(wire::MSS_LEN), Some(wire::EXTHDR_TCPOPT), REGISTER];
            is(place == option && data.get(2) == Some(&[wire::TCPOPT_MSS]), Expression::LowerMss)
        }
        // DREG, DATA { VERDICT { CODE, CHAIN } }
        "immediate" => {
            let verdict = data.nested(2)?.nested(nfta::DATA_VERDICT)?;
            let target = verdict.text(2)?;
            let chain = WITH_FIXED.chains.iter().find(|chain| chain.name == target)?;
            let is_verdict = data.be32(1) == u32::try_from(libc::NFT_REG_VERDICT).ok();
            is(is_verdict && verdict.be32(1)? == libc::NFT_JUMP.cast_unsigned(), Expression::Jump(chain.name))
        }
        _ => None,
    }
}

/// What a meta expression with this key loads.
fn load(key: i32) -> Option<Expression> {
    match key {
        libc::NFT_META_L4PROTO => Some(Expression::LoadProtocol),
        libc::NFT_META_NFPROTO => Some(Expression::LoadFamily),
        libc::NFT_META_OIFNAME => Some(Expression::LoadLink(Direction::Out)),
        libc::NFT_META_IIFNAME => Some(Expression::LoadLink(Direction::In)),
        _ => None,
    }
}

/// A value of one byte.
fn byte(data: Attributes<'_>) -> Option<u8> {
    match data.get(nfta::DATA_VALUE)? {
        [byte] => Some(*byte),
        _ => None,
    }
}

/// The elements of all sets; `None` if one is no link's name, or the maps do not say the same path MTU.
fn elements(answers: &Answers) -> Option<Ruleset> {
    let mut ruleset = Ruleset::default();
    let mut by_ipv6 = BTreeMap::new();
    for answer in &answers.elements {
        let answer = body(answer);
        let set = answer.text(nfta::SET_ELEM_LIST_SET)?;
        let Some(list) = answer.nested(nfta::SET_ELEM_LIST_ELEMENTS) else { continue };
        for (_, element) in list {
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
