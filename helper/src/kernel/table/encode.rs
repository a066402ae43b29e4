//! From what has to change to the batch of netlink messages that does it in one transaction.

use std::ffi::CString;

use airpods_dbus::LinkName;
use nftnl::expr::{Bitwise, CmpOp, Meta, Verdict};
use nftnl::nftnl_sys as sys;
use nftnl::set::{Set as NftSet, SetKey};
use nftnl::{ChainType, Hook as NftHook, MsgType, Policy, ProtoFamily, Rule as NftRule, Table, nft_expr};
use nix::libc;

use super::NAME;
use super::expression::{Raw, SetExt, TableMessage, Value};
use super::layout::{Chain, Direction, Expression, Family, Hook, Layout, PRIORITY_MANGLE, Rule, Set};
use super::plan::Change;
use super::ruleset::Ruleset;
use super::userdata::userdata;
use crate::kernel::wire::message::messages;
use crate::kernel::wire::{
    BYTEORDER_HTON, EXTHDR_TCPOPT, IFNAME, INTEGER, MSS_LEN, MSS_OFFSET, NAME_LEN, RT_TCPMSS, TCP_FLAGS_OFFSET,
    TCPOPT_MSS,
};

/// One message of a batch, for whoever reports that the kernel refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The message's sequence number.
    pub sequence: u32,
    /// What it does, such as ``chain `clamp` ``.
    pub what: String,
    /// Whether it makes a table, chain, set or rule, so that a refusal may mean that the kernel lacks a piece.
    pub makes: bool,
}

/// A transaction: the bytes of all its messages, to be sent as one datagram.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

impl Batch {
    /// The whole transaction.
    pub(in crate::kernel) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The step that a sequence number belongs to; `None` for the messages that open and close the batch.
    #[must_use]
    pub fn step(&self, sequence: u32) -> Option<&Step> {
        self.steps.iter().find(|step| step.sequence == sequence)
    }
}

/// The batch for a change; `None` if there is nothing to do.
#[must_use]
pub fn encode(change: &Change) -> Option<Batch> {
    written(change).map(Writer::finish)
}

fn written(change: &Change) -> Option<Writer> {
    let mut writer = Writer::new(NAME);
    match change {
        Change::Nothing => return None,
        Change::Delete => writer.table("old table", MsgType::Del),
        Change::Elements { remove, add } => {
            writer.elements(remove, MsgType::Del);
            writer.elements(add, MsgType::Add);
        }
        Change::Replace(ruleset) => {
            // Added first, so that there is one to delete whatever the state before was.
            writer.table("table", MsgType::Add);
            writer.table("old table", MsgType::Del);
            writer.table("table", MsgType::Add);
            writer.content(ruleset);
        }
    }
    Some(writer)
}

/// Like [`encode`], with a last message that no kernel accepts: a chain is deleted that is not there.
#[cfg(test)]
pub(in crate::kernel) fn encode_with_a_refused_end(change: &Change) -> Option<Batch> {
    let mut writer = written(change)?;
    writer.batch.add(&nftnl::Chain::new(c"nowhere", &writer.table), MsgType::Del);
    writer.steps.push(("deleting a chain that is not there".to_owned(), false));
    Some(writer.finish())
}

/// The batch that makes an empty table with flags of the test's choice.
#[cfg(test)]
pub(in crate::kernel) fn table_with_flags(flags: u32) -> Batch {
    let mut writer = Writer::new(NAME);
    writer.batch.add(&TableMessage { name: &writer.name, flags: Some(flags) }, MsgType::Add);
    writer.steps.push(("table".to_owned(), true));
    writer.finish()
}

/// A batch under way.
struct Writer {
    name: CString,
    table: Table,
    batch: nftnl::Batch,
    steps: Vec<(String, bool)>,
}

impl Writer {
    fn new(name: &str) -> Self {
        let name = c_string(name);
        let table = Table::new(&name, ProtoFamily::Inet);
        Self { name, table, batch: nftnl::Batch::new(), steps: Vec::new() }
    }

    /// Without a word about flags: a table that is there keeps its own until it is deleted.
    fn table(&mut self, what: &str, kind: MsgType) {
        self.batch.add(&TableMessage { name: &self.name, flags: None }, kind);
        self.steps.push((what.to_owned(), kind == MsgType::Add));
    }

    fn content(&mut self, ruleset: &Ruleset) {
        let layout = Layout::of(ruleset);
        for &set in layout.sets {
            self.batch.add(&nft_set(&self.table, set), MsgType::Add);
            self.steps.push((format!("{} `{}`", if set.is_map() { "map" } else { "set" }, set.name()), true));
        }
        self.elements(ruleset, MsgType::Add);
        for chain in layout.chains {
            let nft_chain = nft_chain(&self.table, chain);
            self.batch.add(&nft_chain, MsgType::Add);
            self.steps.push((format!("chain `{}`", chain.name), true));
            for &rule in chain.rules {
                self.batch.add(&nft_rule(&nft_chain, rule), MsgType::Add);
                self.steps.push((format!("rule `{rule}` in chain `{}`", chain.name), true));
            }
        }
    }

    fn elements(&mut self, ruleset: &Ruleset, kind: MsgType) {
        for set in [Set::Links, Set::Mss(Family::Ipv4), Set::Mss(Family::Ipv6)] {
            let mut nft_set = nft_set(&self.table, set);
            match set {
                Set::Links => ruleset.route.iter().for_each(|link| nft_set.add(&IfName(link))),
                Set::Mss(_) if kind == MsgType::Del => {
                    ruleset.fixed.keys().for_each(|link| nft_set.add(&IfName(link)));
                }
                Set::Mss(family) => {
                    for (link, mtu) in &ruleset.fixed {
                        let mss = if family == Family::Ipv4 { mtu.mss_v4() } else { mtu.mss_v6() };
                        nft_set.add_pair(&link.padded(), &mss.to_be_bytes());
                    }
                }
            }
            let doing = if kind == MsgType::Add { "new" } else { "old" };
            for message in nft_set.elems_iter() {
                self.batch.add(&message, kind);
                self.steps.push((format!("{doing} elements of `{}`", set.name()), false));
            }
        }
    }

    fn finish(self) -> Batch {
        let bytes: Vec<u8> = self.batch.finalize().iter().flatten().copied().collect();
        let mut names = self.steps.into_iter();
        let inside = messages(&bytes).filter_map(Result::ok).filter(|message| {
            !matches!(i32::from(message.kind), libc::NFNL_MSG_BATCH_BEGIN | libc::NFNL_MSG_BATCH_END)
        });
        let steps = inside
            .filter_map(|message| names.next().map(|(what, makes)| Step { sequence: message.sequence, what, makes }))
            .collect();
        Batch { bytes, steps }
    }
}

/// A link's name as a set's key.
struct IfName<'a>(&'a LinkName);

impl SetKey for IfName<'_> {
    const TYPE: u32 = IFNAME;
    const LEN: u32 = NAME_LEN;

    fn data(&self) -> Box<[u8]> {
        Box::new(self.0.padded())
    }
}

fn nft_set(table: &Table, set: Set) -> NftSet<'_, IfName<'_>> {
    // The number only has to differ from those of the same batch.
    let number = match set {
        Set::Links => 1,
        Set::Mss(Family::Ipv4) => 2,
        Set::Mss(Family::Ipv6) => 3,
    };
    let mut nft_set = NftSet::new_named(&c_string(set.name()), number, table, ProtoFamily::Inet);
    nft_set.describe(&userdata(set));
    if set.is_map() {
        nft_set.map_to(INTEGER, MSS_LEN);
    }
    nft_set
}

fn nft_chain<'t>(table: &'t Table, chain: &Chain) -> nftnl::Chain<'t> {
    let mut nft_chain = nftnl::Chain::new(c_string(chain.name), table);
    if let Some(hook) = chain.hook {
        let hook = match hook {
            Hook::Prerouting => NftHook::PreRouting,
            Hook::Postrouting => NftHook::PostRouting,
        };
        nft_chain.set_hook(hook, PRIORITY_MANGLE);
        nft_chain.set_type(ChainType::Filter);
        nft_chain.set_policy(Policy::Accept);
    }
    nft_chain
}

fn nft_rule<'c>(chain: &'c nftnl::Chain<'_>, rule: Rule) -> NftRule<'c> {
    let mut nft_rule = NftRule::new(chain);
    for expression in rule.expressions() {
        add_expression(&mut nft_rule, expression);
    }
    nft_rule
}

/// `NFT_REG_1`.
const REGISTER: Value<'static> = Value::U32(1);

fn add_expression(rule: &mut NftRule<'_>, expression: Expression) {
    match expression {
        Expression::LoadProtocol => rule.add_expr(&Meta::L4Proto),
        Expression::LoadFamily => rule.add_expr(&Meta::NfProto),
        Expression::LoadLink(Direction::Out) => rule.add_expr(&Meta::OifName),
        Expression::LoadLink(Direction::In) => rule.add_expr(&Meta::IifName),
        Expression::LoadTcpFlags => rule.add_expr(&nft_expr!(payload_raw th TCP_FLAGS_OFFSET, 1)),
        Expression::Mask(mask) => rule.add_expr(&Bitwise::new(mask, 0_u8)),
        Expression::Equals(byte) => rule.add_expr(&nftnl::expr::Cmp::new(CmpOp::Eq, byte)),
        Expression::Count => rule.add_expr(&nft_expr!(counter)),
        Expression::Jump(chain) => rule.add_expr(&Verdict::Jump { chain: c_string(chain) }),
        Expression::IsIn(set) => rule.add_expr(&Raw {
            name: c"lookup",
            attributes: &[
                (sys::NFTNL_EXPR_LOOKUP_SREG, REGISTER),
                (sys::NFTNL_EXPR_LOOKUP_SET, Value::Text(&c_string(set.name()))),
            ],
        }),
        Expression::MapBy(map) => rule.add_expr(&Raw {
            name: c"lookup",
            attributes: &[
                (sys::NFTNL_EXPR_LOOKUP_SREG, REGISTER),
                (sys::NFTNL_EXPR_LOOKUP_DREG, REGISTER),
                (sys::NFTNL_EXPR_LOOKUP_SET, Value::Text(&c_string(map.name()))),
            ],
        }),
        Expression::LoadRouteMss => rule.add_expr(&Raw {
            name: c"rt",
            attributes: &[(sys::NFTNL_EXPR_RT_KEY, Value::U32(RT_TCPMSS)), (sys::NFTNL_EXPR_RT_DREG, REGISTER)],
        }),
        Expression::ToNetworkOrder => rule.add_expr(&Raw {
            name: c"byteorder",
            attributes: &[
                (sys::NFTNL_EXPR_BYTEORDER_DREG, REGISTER),
                (sys::NFTNL_EXPR_BYTEORDER_SREG, REGISTER),
                (sys::NFTNL_EXPR_BYTEORDER_OP, Value::U32(BYTEORDER_HTON)),
                (sys::NFTNL_EXPR_BYTEORDER_LEN, Value::U32(MSS_LEN)),
                (sys::NFTNL_EXPR_BYTEORDER_SIZE, Value::U32(MSS_LEN)),
            ],
        }),
        Expression::LowerMss => rule.add_expr(&Raw {
            name: c"exthdr",
            attributes: &[
                (sys::NFTNL_EXPR_EXTHDR_SREG, REGISTER),
                (sys::NFTNL_EXPR_EXTHDR_TYPE, Value::U8(TCPOPT_MSS)),
                (sys::NFTNL_EXPR_EXTHDR_OFFSET, Value::U32(MSS_OFFSET)),
                (sys::NFTNL_EXPR_EXTHDR_LEN, Value::U32(MSS_LEN)),
                (sys::NFTNL_EXPR_EXTHDR_OP, Value::U32(EXTHDR_TCPOPT)),
            ],
        }),
    }
}

/// A text without NUL, as all names here are.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
