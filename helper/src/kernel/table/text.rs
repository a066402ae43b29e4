//! The table as `nft list table inet airpods` prints it (nft 1.0.6; others differ in white space and in how they
//! write the same flags), without running nft.

use std::collections::BTreeMap;
use std::fmt::Write;

use airpods_dbus::LinkName;

use super::NAME;
use super::layout::{Chain, Direction, Family, Hook, Layout, Rule, Set};
use crate::kernel::Ruleset;

/// What a rule's counter shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
}

/// Renders the table that holds a ruleset. A rule without a count is shown at zero.
#[must_use]
pub fn render(ruleset: &Ruleset, owned: bool, counts: &BTreeMap<Rule, Count>) -> String {
    let layout = Layout::of(ruleset);
    let flags = owned.then(|| "\tflags owner\n".to_owned());
    let sets = layout.sets.iter().map(|&set| set_text(set, ruleset));
    let chains = layout.chains.iter().map(|chain| chain_text(chain, counts));
    let blocks: Vec<String> = flags.into_iter().chain(sets).chain(chains).collect();
    format!("table inet {NAME} {{\n{}}}\n", blocks.join("\n"))
}

fn set_text(set: Set, ruleset: &Ruleset) -> String {
    let (word, kind) = match set {
        Set::Links => ("set", "type ifname"),
        Set::Mss(_) => ("map", "typeof oifname : tcp option maxseg size"),
    };
    let mut elements: Vec<(&LinkName, String)> = match set {
        Set::Links => ruleset.route.iter().map(|link| (link, format!("\"{link}\""))).collect(),
        Set::Mss(family) => {
            let value = |mtu: airpods_dbus::PathMtu| match family {
                Family::Ipv4 => mtu.mss_v4(),
                Family::Ipv6 => mtu.mss_v6(),
            };
            ruleset.fixed.iter().map(|(link, mtu)| (link, format!("\"{link}\" : {}", value(*mtu)))).collect()
        }
    };
    // nft sorts the names as little-endian numbers: the last byte counts most.
    elements.sort_by_key(|(link, _)| {
        let mut key = link.padded();
        key.reverse();
        key
    });
    let mut text = format!("\t{word} {} {{\n\t\t{kind}\n", set.name());
    if !elements.is_empty() {
        let listed: Vec<String> = elements.into_iter().map(|(_, text)| text).collect();
        let _ = writeln!(text, "\t\telements = {{ {} }}", listed.join(",\n\t\t\t     "));
    }
    text.push_str("\t}\n");
    text
}

fn chain_text(chain: &Chain, counts: &BTreeMap<Rule, Count>) -> String {
    let mut text = format!("\tchain {} {{\n", chain.name);
    if let Some(hook) = chain.hook {
        let hook = match hook {
            Hook::Prerouting => "prerouting",
            Hook::Postrouting => "postrouting",
        };
        let _ = writeln!(text, "\t\ttype filter hook {hook} priority mangle; policy accept;");
    }
    for rule in chain.rules {
        let _ = writeln!(text, "\t\t{}", rule_text(*rule, Some(counts.get(rule).copied().unwrap_or_default())));
    }
    text.push_str("\t}\n");
    text
}

/// One rule; with its count if it has been read.
pub(super) fn rule_text(rule: Rule, count: Option<Count>) -> String {
    let family = |family| match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    let link = |direction| match direction {
        Direction::Out => "oifname",
        Direction::In => "iifname",
    };
    let counter = match count {
        Some(Count { packets, bytes }) => format!("counter packets {packets} bytes {bytes}"),
        None => "counter".to_owned(),
    };
    match rule {
        Rule::Handshakes(chain) => format!("tcp flags syn / syn,rst jump {chain}"),
        Rule::RouteMtu(of, direction) => format!(
            "meta nfproto {} {} @{} {counter} tcp option maxseg size set rt mtu",
            family(of),
            link(direction),
            Set::Links.name()
        ),
        Rule::FixedMss(of, direction) => format!(
            "meta nfproto {} tcp option maxseg size set {} map @{} {counter}",
            family(of),
            link(direction),
            Set::Mss(of).name()
        ),
    }
}
