//! Encodes a change as a batch of netlink messages, which the kernel applies in one transaction.

use std::ffi::CString;

use airpods_dbus::LinkName;
use nftnl::expr::{Bitwise, Cmp, CmpOp, Counter, Meta, Payload, TransportHeaderField, Verdict};
use nftnl::nftnl_sys as sys;
use nftnl::set::{Set as NftSet, SetKey};
use nftnl::{ChainType, MsgType, NlMsg, Policy, ProtoFamily, Rule as NftRule, Table};
use nix::libc;

use super::expression::{Raw, SetExt, TableMessage, Value};
use super::layout::{Chain, Direction, Family, Layout, Rule, Set, WITH_FIXED};
use super::{Change, NAME, Ruleset};
use crate::kernel::wire::{Message, Object, messages};

/// One message of a batch, to report which one the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its purpose, such as ``chain `clamp` ``.
    pub what: String,
    /// Whether it creates a table, chain, set or rule. A refusal then may mean that the kernel
    /// lacks a piece.
    pub makes: bool,
}

/// A transaction: the bytes of all its messages, for one datagram.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The bytes of the whole transaction.
    pub(crate) bytes: Vec<u8>,
    steps: Vec<Step>,
}

impl Batch {
    /// The messages between those that open and close the batch.
    fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        messages(&self.bytes).flatten().filter(Message::is_of_table)
    }

    /// The objects that the messages are about.
    pub(crate) fn objects(&self) -> Vec<Object> {
        self.messages().map(|message| message.object()).collect()
    }

    /// The step that a sequence number belongs to; `None` for the messages that open and close the
    /// batch.
    #[must_use]
    pub fn step(&self, sequence: u32) -> Option<&Step> {
        self.messages().zip(&self.steps).find_map(|(message, step)| (message.sequence == sequence).then_some(step))
    }
}

/// The batch for a change.
#[must_use]
pub fn encode(change: &Change) -> Batch {
    let table = Table::new(c_string(NAME), ProtoFamily::Inet);
    let mut writer = Writer::default();
    match change {
        Change::Delete => writer.table("old table", MsgType::Del),
        Change::Elements { remove, add } => {
            writer.elements(&table, remove, MsgType::Del);
            writer.elements(&table, add, MsgType::Add);
        }
        Change::Replace(ruleset) => {
            // The kernel refuses to delete a missing table, so this adds it first.
            writer.table("table", MsgType::Add);
            writer.table("old table", MsgType::Del);
            writer.table("table", MsgType::Add);
            writer.content(&table, Layout::of(ruleset), ruleset);
        }
    }
    writer.finish()
}

/// A batch that is being built.
#[derive(Default)]
struct Writer {
    batch: nftnl::Batch,
    steps: Vec<Step>,
}

impl Writer {
    fn add(&mut self, message: &impl NlMsg, kind: MsgType, what: String, makes: bool) {
        self.batch.add(message, kind);
        self.steps.push(Step { what, makes });
    }

    fn table(&mut self, what: &str, kind: MsgType) {
        self.add(&TableMessage, kind, what.to_owned(), kind == MsgType::Add);
    }

    fn content(&mut self, table: &Table, layout: &Layout, ruleset: &Ruleset) {
        for &set in layout.sets {
            let what = format!("{} `{}`", if set.is_map() { "map" } else { "set" }, set.name());
            self.add(&nft_set(table, set), MsgType::Add, what, true);
        }
        self.elements(table, ruleset, MsgType::Add);
        for chain in layout.chains {
            let nft_chain = nft_chain(table, chain);
            self.add(&nft_chain, MsgType::Add, format!("chain `{}`", chain.name), true);
            for &rule in chain.rules {
                let what = format!("rule `{rule}` in chain `{}`", chain.name);
                self.add(&nft_rule(&nft_chain, rule), MsgType::Add, what, true);
            }
        }
    }

    fn elements(&mut self, table: &Table, ruleset: &Ruleset, kind: MsgType) {
        for &set in WITH_FIXED.sets {
            let mut nft_set = nft_set(table, set);
            match set {
                Set::Links => ruleset.route.iter().for_each(|link| nft_set.add(&IfName(link))),
                // The kernel finds an element to delete by its key, and ignores the value.
                Set::Mss(family) => ruleset.fixed.iter().for_each(|(link, mtu)| {
                    let mss = if family == Family::Ipv4 { mtu.mss_v4() } else { mtu.mss_v6() };
                    nft_set.add_pair(&link.padded(), &mss.to_be_bytes());
                }),
            }
            let doing = if kind == MsgType::Add { "new" } else { "old" };
            for message in nft_set.elems_iter() {
                self.add(&message, kind, format!("{doing} elements of `{}`", set.name()), false);
            }
        }
    }

    fn finish(self) -> Batch {
        Batch { bytes: self.batch.finalize().iter().flatten().copied().collect(), steps: self.steps }
    }
}

/// nft's number of the type `integer` (`TYPE_INTEGER` in nftables' `include/datatype.h`).
const INTEGER: u32 = 4;
/// Bytes of an MSS.
const MSS_LEN: u32 = 2;

/// A link's name as the key of a set: nft's `TYPE_IFNAME`, padded to `IFNAMSIZ` bytes.
struct IfName<'a>(&'a LinkName);

impl SetKey for IfName<'_> {
    const TYPE: u32 = 41;
    const LEN: u32 = 16;

    fn data(&self) -> Box<[u8]> {
        Box::new(self.0.padded())
    }
}

fn nft_set(table: &Table, set: Set) -> NftSet<'_, IfName<'_>> {
    // The set's id only has to be unique within its batch.
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
        nft_chain.set_hook(hook, libc::NF_IP_PRI_MANGLE);
        nft_chain.set_type(ChainType::Filter);
        nft_chain.set_policy(Policy::Accept);
    }
    nft_chain
}

/// Numbers of `linux/netfilter/nf_tables.h`: `NFT_RT_TCPMSS`, `NFT_EXTHDR_OP_TCPOPT`.
const RT_TCPMSS: u32 = 3;
const EXTHDR_TCPOPT: u32 = 1;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// The byte of flags in the TCP header (RFC 9293, section 3.1), at offset 13. nftnl names these
/// fields bits, but passes them to the kernel as bytes.
const TCP_FLAGS: TransportHeaderField = TransportHeaderField::Raw { offset_bits: 13, length_bits: 1 };
// Bits of that byte.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
/// The TCP option maximum segment size (RFC 9293, section 3.2), and the offset of its value behind
/// kind and length.
const TCPOPT_MSS: u8 = 2;
const MSS_OFFSET: u32 = 2;

/// `NFT_REG_1`, the only register in use.
const REGISTER: Value<'static> = Value::U32(1);

/// The rule as expressions, the same that nft makes of the rule's text.
fn nft_rule<'c>(chain: &'c nftnl::Chain<'_>, rule: Rule) -> NftRule<'c> {
    let mut nft_rule = NftRule::new(chain);
    match rule {
        Rule::Handshakes(target) => {
            nft_rule.add_expr(&Meta::L4Proto);
            nft_rule.add_expr(&Cmp::new(CmpOp::Eq, TCP));
            nft_rule.add_expr(&Payload::Transport(TCP_FLAGS));
            nft_rule.add_expr(&Bitwise::new(SYN | RST, 0_u8));
            nft_rule.add_expr(&Cmp::new(CmpOp::Eq, SYN));
            nft_rule.add_expr(&Verdict::Jump { chain: c_string(target) });
        }
        Rule::RouteMtu(family, direction) => {
            load_link(&mut nft_rule, family, direction);
            look_up(&mut nft_rule, Set::Links);
            nft_rule.add_expr(&Counter);
            load_route_mss(&mut nft_rule);
            lower_mss(&mut nft_rule);
        }
        // The lookup ends the rule for a link that is not in the map. It comes first, so the
        // counter counts only packets of mapped links.
        Rule::FixedMss(family, direction) => {
            load_link(&mut nft_rule, family, direction);
            look_up(&mut nft_rule, Set::Mss(family));
            lower_mss(&mut nft_rule);
            nft_rule.add_expr(&Counter);
        }
    }
    nft_rule
}

/// Continues for packets of the family, with the link's name in the register (16 bytes,
/// NUL-padded).
fn load_link(rule: &mut NftRule<'_>, family: Family, direction: Direction) {
    let protocol = match family {
        Family::Ipv4 => libc::NFPROTO_IPV4,
        Family::Ipv6 => libc::NFPROTO_IPV6,
    };
    rule.add_expr(&Meta::NfProto);
    rule.add_expr(&Cmp::new(CmpOp::Eq, u8::try_from(protocol).unwrap_or_default()));
    rule.add_expr(match direction {
        Direction::Out => &Meta::OifName,
        Direction::In => &Meta::IifName,
    });
}

/// Continues for links in the set. With a map, the value replaces the name in the register.
fn look_up(rule: &mut NftRule<'_>, set: Set) {
    let name = c_string(set.name());
    let key = [(sys::NFTNL_EXPR_LOOKUP_SREG, REGISTER), (sys::NFTNL_EXPR_LOOKUP_SET, Value::Text(&name))];
    let result = set.is_map().then_some((sys::NFTNL_EXPR_LOOKUP_DREG, REGISTER));
    rule.add_expr(&Raw { name: c"lookup", attributes: &key.into_iter().chain(result).collect::<Vec<_>>() });
}

/// Loads the MSS for the route's MTU, in network byte order.
fn load_route_mss(rule: &mut NftRule<'_>) {
    rule.add_expr(&Raw {
        name: c"rt",
        attributes: &[(sys::NFTNL_EXPR_RT_KEY, Value::U32(RT_TCPMSS)), (sys::NFTNL_EXPR_RT_DREG, REGISTER)],
    });
    rule.add_expr(&Raw {
        name: c"byteorder",
        attributes: &[
            (sys::NFTNL_EXPR_BYTEORDER_DREG, REGISTER),
            (sys::NFTNL_EXPR_BYTEORDER_SREG, REGISTER),
            (sys::NFTNL_EXPR_BYTEORDER_OP, Value::U32(libc::NFT_BYTEORDER_HTON.cast_unsigned())),
            (sys::NFTNL_EXPR_BYTEORDER_LEN, Value::U32(MSS_LEN)),
            (sys::NFTNL_EXPR_BYTEORDER_SIZE, Value::U32(MSS_LEN)),
        ],
    });
}

/// Writes the MSS into the TCP option. The kernel only does so if the packet has the option and the
/// value is lower.
fn lower_mss(rule: &mut NftRule<'_>) {
    rule.add_expr(&Raw {
        name: c"exthdr",
        attributes: &[
            (sys::NFTNL_EXPR_EXTHDR_SREG, REGISTER),
            (sys::NFTNL_EXPR_EXTHDR_TYPE, Value::U8(TCPOPT_MSS)),
            (sys::NFTNL_EXPR_EXTHDR_OFFSET, Value::U32(MSS_OFFSET)),
            (sys::NFTNL_EXPR_EXTHDR_LEN, Value::U32(MSS_LEN)),
            (sys::NFTNL_EXPR_EXTHDR_OP, Value::U32(EXTHDR_TCPOPT)),
        ],
    });
}

/// `NFTNL_UDATA_SET_KEYBYTEORDER` and the like, of libnftnl's `udata.h`.
const KEY_BYTE_ORDER: u8 = 0;
const DATA_BYTE_ORDER: u8 = 1;
const KEY_TYPEOF: u8 = 3;
const DATA_TYPEOF: u8 = 4;
const DATA_INTERVAL: u8 = 6;

/// `enum byteorder` of nftables' `include/datatype.h`.
const HOST_ENDIAN: u32 = 1;
const BIG_ENDIAN: u32 = 2;

/// The user data that tells nft how to print a set: the same that nft attaches when it loads such a
/// table. The kernel stores it unread. Without it nft prints every name as `""`, and a map in a
/// form that it cannot load again.
///
/// Entries are type, length, value, and may nest (`struct nftnl_udata` of libnftnl).
fn userdata(of: Set) -> Vec<u8> {
    let key_order = number(KEY_BYTE_ORDER, HOST_ENDIAN);
    if !of.is_map() {
        return key_order;
    }
    // `oifname`: an expression of type `EXPR_META` (9) with the key `NFT_META_OIFNAME` (7).
    let oifname = expression(9, &number(0, 7));
    // `tcp option maxseg size`: an expression of type `EXPR_EXTHDR` (8) with type maxseg (2), field
    // size (1) and description TCP option (2), in the order of `exthdr_expr_build_udata`.
    let maxseg_size = expression(8, &[number(1, 2), number(2, 1), number(0, 2)].concat());
    [
        key_order,
        number(DATA_BYTE_ORDER, BIG_ENDIAN),
        nest(KEY_TYPEOF, &oifname),
        nest(DATA_TYPEOF, &maxseg_size),
        number(DATA_INTERVAL, 0),
    ]
    .concat()
}

/// `NFTNL_UDATA_SET_TYPEOF_EXPR` (0) and `NFTNL_UDATA_SET_TYPEOF_DATA` (1).
fn expression(kind: u32, data: &[u8]) -> Vec<u8> {
    [number(0, kind), nest(1, data)].concat()
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    nest(kind, &value.to_ne_bytes())
}

fn nest(kind: u8, content: &[u8]) -> Vec<u8> {
    // The length fits: no entry here comes near 255 bytes.
    let mut bytes = vec![kind, u8::try_from(content.len()).unwrap_or_default()];
    bytes.extend(content);
    bytes
}

/// Converts a text without NUL; no name here has one.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
pub(in crate::kernel) mod tests;
