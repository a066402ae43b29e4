//! The structure of the table as values: sets, chains and rules.
//!
//! There are two layouts. If all links are clamped to the route MTU, one base chain suffices:
//!
//! ```text
//! postrouting  (hook postrouting, priority mangle)  tcp flags & (syn | rst) == syn jump clamp
//! clamp        for each family and direction        oifname @links counter tcp option maxseg size set rt mtu
//! ```
//!
//! All packets but TCP handshakes leave after one test of their flags. The hook sees forwarded and
//! host-originated traffic alike. For `rt mtu` the kernel takes the smaller MTU of the outgoing
//! route and the return route there.
//!
//! A fixed path MTU adds the maps from link to MSS, rules for outgoing packets, and a base chain at
//! prerouting for incoming ones. A value below the tunnel's MTU must be set before the host itself
//! reads the handshake.
//!
//! No name is a keyword of nft, so the output of `nft list ruleset` can be loaded again.

use nftnl::Hook;

use super::Ruleset;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// The direction of a packet through a clamped link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Outgoing through the link: `oifname`.
    Out,
    /// Incoming through the link: `iifname`.
    In,
}

/// A named set or map whose keys are link names (nft's type `ifname`, 16 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Links clamped to the route MTU.
    Links,
    /// Maps links with a fixed path MTU to the MSS.
    Mss(Family),
}

impl Set {
    /// The set's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Mss(Family::Ipv4) => "mss4",
            Self::Mss(Family::Ipv6) => "mss6",
        }
    }

    /// Whether it maps to values.
    #[must_use]
    pub fn is_map(self) -> bool {
        self != Self::Links
    }
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Jumps to the named chain for TCP packets with SYN and without RST: SYN and SYN-ACK.
    Handshakes(&'static str),
    /// For links in the set `links`: count, then lower the MSS to the route's MTU.
    RouteMtu(Family, Direction),
    /// For links in the map: lower the MSS to its value, then count.
    FixedMss(Family, Direction),
}

/// A chain with its rules, in order. Every base chain has the priority mangle and the policy
/// accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Its hook; `None` for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: &'static [Rule],
}

/// The structure of the table, without elements and counters.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its sets.
    pub sets: &'static [Set],
    /// Its chains, in the order of creation: the target of a jump precedes the jump.
    pub chains: &'static [Chain],
}

use Direction::{In, Out};
use Family::{Ipv4, Ipv6};

const CLAMP: &str = "clamp";
const ARRIVING: &str = "arriving";

const POSTROUTING: Chain =
    Chain { name: "postrouting", hook: Some(Hook::PostRouting), rules: &[Rule::Handshakes(CLAMP)] };

/// The layout while no link has a fixed path MTU.
pub static ROUTE_ONLY: Layout = Layout {
    sets: &[Set::Links],
    chains: &[
        Chain {
            name: CLAMP,
            hook: None,
            rules: &[
                Rule::RouteMtu(Ipv4, Out),
                Rule::RouteMtu(Ipv4, In),
                Rule::RouteMtu(Ipv6, Out),
                Rule::RouteMtu(Ipv6, In),
            ],
        },
        POSTROUTING,
    ],
};

/// The layout while some link has a fixed path MTU.
pub static WITH_FIXED: Layout = Layout {
    sets: &[Set::Links, Set::Mss(Ipv4), Set::Mss(Ipv6)],
    chains: &[
        Chain {
            name: CLAMP,
            hook: None,
            rules: &[
                Rule::RouteMtu(Ipv4, Out),
                Rule::RouteMtu(Ipv4, In),
                Rule::RouteMtu(Ipv6, Out),
                Rule::RouteMtu(Ipv6, In),
                Rule::FixedMss(Ipv4, Out),
                Rule::FixedMss(Ipv6, Out),
            ],
        },
        POSTROUTING,
        Chain { name: ARRIVING, hook: None, rules: &[Rule::FixedMss(Ipv4, In), Rule::FixedMss(Ipv6, In)] },
        Chain { name: "prerouting", hook: Some(Hook::PreRouting), rules: &[Rule::Handshakes(ARRIVING)] },
    ],
};

impl Layout {
    /// The layout that this ruleset needs.
    #[must_use]
    pub fn of(ruleset: &Ruleset) -> &'static Self {
        if ruleset.fixed.is_empty() { &ROUTE_ONLY } else { &WITH_FIXED }
    }
}

impl std::fmt::Display for Rule {
    /// The part of the rule that a kernel may lack, in nft's syntax.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handshakes(_) => "tcp flags syn / syn,rst jump",
            Self::RouteMtu(..) => "tcp option maxseg size set rt mtu",
            Self::FixedMss(..) => "tcp option maxseg size set map",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chain_comes_before_the_jump_to_it() {
        for layout in [&ROUTE_ONLY, &WITH_FIXED] {
            for (at, chain) in layout.chains.iter().enumerate() {
                for rule in chain.rules {
                    if let Rule::Handshakes(target) = rule {
                        assert!(layout.chains[..at].iter().any(|earlier| earlier.name == *target));
                    }
                }
            }
        }
    }

    #[test]
    fn every_clamping_rule_is_there_once_per_family_and_direction() {
        let clamping = |layout: &Layout| {
            let rules = layout.chains.iter().flat_map(|chain| chain.rules);
            let mut rules: Vec<Rule> = rules.copied().filter(|rule| !matches!(rule, Rule::Handshakes(_))).collect();
            rules.sort_unstable();
            rules
        };
        let both =
            |kind: fn(Family, Direction) -> Rule| [kind(Ipv4, Out), kind(Ipv4, In), kind(Ipv6, Out), kind(Ipv6, In)];
        assert_eq!(clamping(&ROUTE_ONLY), both(Rule::RouteMtu));
        assert_eq!(clamping(&WITH_FIXED), [both(Rule::RouteMtu), both(Rule::FixedMss)].concat());
    }

    #[test]
    fn only_a_fixed_value_needs_a_prerouting_chain() {
        let hooks = |layout: &Layout| layout.chains.iter().filter_map(|chain| chain.hook).collect::<Vec<_>>();
        assert_eq!(hooks(&ROUTE_ONLY), [Hook::PostRouting]);
        assert_eq!(hooks(&WITH_FIXED), [Hook::PostRouting, Hook::PreRouting]);
    }
}
