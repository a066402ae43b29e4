//! Whether a rule sets the MSS: one walk over its expressions, as the kernel dumps them.

use std::collections::BTreeMap;

use airpods_dbus::{ForeignClamp, Mode, Technique};
use nix::libc;

use crate::kernel::netlink::attribute::Attributes;
use crate::kernel::table::NAME;
use crate::kernel::table::wire::{EXTHDR_TCPOPT, MSS_LEN, MSS_OFFSET, NFGENMSG, RT_TCPMSS, TCPOPT_MSS, nfta};

/// The name of the target in iptables, and of the kernel's module.
const TCPMSS: &[u8] = b"TCPMSS";

/// `XT_TCPMSS_CLAMP_PMTU` of `linux/netfilter/xt_TCPMSS.h`.
const CLAMP_PMTU: u16 = 0xffff;

/// The clamp that a rule is, if it is one of somebody else's. A rule that sets the MSS more than once is told by the first.
pub(super) fn clamp(rule: &[u8]) -> Option<ForeignClamp> {
    let (header, body) = rule.split_first_chunk::<NFGENMSG>()?;
    let (family, rule) = (i32::from(header[0]), Attributes::new(body));
    let table = text(rule.get(nfta::RULE_TABLE)?);
    if family == libc::NFPROTO_INET && table == NAME {
        return None;
    }
    let mut state = State::default();
    let mut expressions = rule.nested(nfta::RULE_EXPRESSIONS)?.into_iter().map(|(_, element)| Attributes::new(element));
    let (by, value) = expressions.find_map(|element| state.after(element))?;
    let (mode, mss) = match value {
        Value::RouteMss => (Mode::Route, None),
        Value::Number(mss) => (Mode::Fixed, Some(u32::from(mss))),
        Value::Link(_) | Value::Other => (Mode::Fixed, None),
    };
    let chain = rule.get(nfta::RULE_CHAIN).map(text).unwrap_or_default();
    let State { out_link, in_link, .. } = state;
    Some(ForeignClamp { by, family: family_name(family), table, chain, out_link, in_link, mode, mss })
}

/// What a rule has come to, expression by expression.
#[derive(Debug, Default)]
struct State {
    /// What is in the registers, by their first word.
    registers: BTreeMap<u32, Value>,
    out_link: Option<String>,
    in_link: Option<String>,
}

/// What a register holds, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The name of the link: the one to leave through, or not.
    Link(Direction),
    /// The MSS that fits the route.
    RouteMss,
    /// A number of two bytes.
    Number(u16),
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Out,
    In,
}

impl State {
    /// Follows one expression; tells if it sets the MSS, and to what. The numbers are the attribute types of each
    /// expression, in the order of its enum in `linux/netfilter/nf_tables.h`.
    fn after(&mut self, element: Attributes<'_>) -> Option<(Technique, Value)> {
        let data = element.nested(nfta::EXPR_DATA).unwrap_or(Attributes::new(&[]));
        match element.text(nfta::EXPR_NAME)? {
            // DREG, KEY
            "meta" => self.load(data.be32(1), loaded(data.be32(2))),
            "rt" => {
                let value = if data.be32(2) == Some(RT_TCPMSS) { Value::RouteMss } else { Value::Other };
                self.load(data.be32(1), value);
            }
            // SREG, DREG
            "byteorder" => {
                let value = self.value(data.be32(1));
                self.load(data.be32(2), value);
            }
            // DREG, DATA { VALUE }
            "immediate" => {
                let number = data.nested(2).and_then(|value| value.get(nfta::DATA_VALUE)?.try_into().ok());
                self.load(data.be32(1), number.map_or(Value::Other, |bytes| Value::Number(u16::from_be_bytes(bytes))));
            }
            // SREG, OP, DATA { VALUE }
            "cmp" => {
                let equals = data.be32(2) == u32::try_from(libc::NFT_CMP_EQ).ok();
                let name = data.nested(3).and_then(|value| value.get(nfta::DATA_VALUE)).map(link_name);
                match self.value(data.be32(1)) {
                    Value::Link(Direction::Out) if equals => self.out_link = name,
                    Value::Link(Direction::In) if equals => self.in_link = name,
                    _ => {}
                }
            }
            // DREG, TYPE, OFFSET, LEN, FLAGS, OP, SREG
            "exthdr" => {
                let place = [data.be32(3), data.be32(4), data.be32(6)];
                let is_mss = place == [Some(MSS_OFFSET), Some(MSS_LEN), Some(EXTHDR_TCPOPT)]
                    && data.get(2) == Some(&[TCPOPT_MSS]);
                match data.be32(7) {
                    Some(source) if is_mss => return Some((Technique::Nftables, self.value(Some(source)))),
                    _ => self.registers.clear(),
                }
            }
            // NAME, REV, INFO { struct xt_tcpmss_info }
            "target" if data.get(1).map(unpadded) == Some(TCPMSS) => {
                let mss = data.get(3).and_then(|info| info.first_chunk()).map(|bytes| u16::from_ne_bytes(*bytes));
                let value = match mss {
                    Some(CLAMP_PMTU) => Value::RouteMss,
                    Some(mss) => Value::Number(mss),
                    None => Value::Other,
                };
                return Some((Technique::IptablesNft, value));
            }
            "counter" => {}
            // It may write to any register.
            _ => self.registers.clear(),
        }
        None
    }

    fn load(&mut self, register: Option<u32>, value: Value) {
        if let Some(register) = register {
            self.registers.insert(first_word(register), value);
        }
    }

    fn value(&self, register: Option<u32>) -> Value {
        register.and_then(|register| self.registers.get(&first_word(register))).copied().unwrap_or(Value::Other)
    }
}

fn loaded(key: Option<u32>) -> Value {
    match key.and_then(|key| i32::try_from(key).ok()) {
        Some(libc::NFT_META_OIFNAME) => Value::Link(Direction::Out),
        Some(libc::NFT_META_IIFNAME) => Value::Link(Direction::In),
        _ => Value::Other,
    }
}

/// `NFT_REG_1` to `NFT_REG_4` are 16 bytes each, and `NFT_REG32_00` (8) and those behind it the same bytes in words.
fn first_word(register: u32) -> u32 {
    match register {
        1..=4 => 8 + (register - 1) * 4,
        other => other,
    }
}

/// A link's name as a rule compares it: without a NUL at its end it stands for all names that begin so.
fn link_name(bytes: &[u8]) -> String {
    let any = if bytes.len() < 16 && !bytes.contains(&0) { "*" } else { "" };
    text(bytes) + any
}

/// Somebody else's bytes as a text that cannot steer whatever shows it.
fn text(bytes: &[u8]) -> String {
    unpadded(bytes).escape_ascii().to_string()
}

/// The bytes before the first NUL.
fn unpadded(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What nft calls a family (`NFPROTO_*` of `linux/netfilter.h`).
fn family_name(family: i32) -> String {
    let name = match family {
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_IPV6 => "ip6",
        libc::NFPROTO_INET => "inet",
        libc::NFPROTO_BRIDGE => "bridge",
        libc::NFPROTO_ARP => "arp",
        libc::NFPROTO_NETDEV => "netdev",
        other => return other.to_string(),
    };
    name.to_owned()
}
