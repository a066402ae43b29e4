//! The parts of the table as values: sets, chains, rules, and the expressions that a rule is for the kernel.
//!
//! There are two layouts. With links on the route's MTU only, one base chain suffices:
//!
//! ```text
//! postrouting  (hook postrouting, priority mangle)  tcp flags & (syn | rst) == syn jump clamp
//! clamp        for each family and direction        oifname @links counter tcp option maxseg size set rt mtu
//! ```
//!
//! Every packet but a handshake's leaves after one look at its flags. The hook sees forwarded and the host's own
//! traffic alike, and there the kernel takes the smaller MTU of the way out and of the way back for `rt mtu`.
//!
//! A fixed path MTU adds the maps from link to MSS, their rules for what leaves, and a base chain at prerouting for what
//! arrives: a value smaller than the tunnel believes must be set before the host itself, too, reads the handshake.
//!
//! No name is a keyword of nft, so that what `nft list ruleset` prints can be loaded again.

use super::Ruleset;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// A packet's way through a clamped link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// It leaves through the link: `oifname`.
    Out,
    /// It came through the link: `iifname`.
    In,
}

/// A named set or map whose keys are link names (nft's type `ifname`, 16 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Links on the route's MTU.
    Links,
    /// From links on a fixed path MTU to the MSS.
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
    /// TCP packets with SYN and without RST, in other words SYN and SYN-ACK, go on in the chain.
    Handshakes(&'static str),
    /// On links of the set `links`: count, and lower the MSS to what the route's MTU takes.
    RouteMtu(Family, Direction),
    /// On links of the map: lower the MSS to its value, and count.
    FixedMss(Family, Direction),
}

/// Where the kernel calls a base chain, always with priority mangle (-150) and policy accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Incoming packets, before routing.
    Prerouting,
    /// Outgoing packets, after routing.
    Postrouting,
}

/// `NF_IP_PRI_MANGLE` of `linux/netfilter_ipv4.h`.
pub const PRIORITY_MANGLE: i32 = -150;

/// A chain with its rules, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Its hook; `None` for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: &'static [Rule],
}

/// The whole table but its elements and counters.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its sets.
    pub sets: &'static [Set],
    /// Its chains; one that is jumped to comes before the one that jumps.
    pub chains: &'static [Chain],
}

use Direction::{In, Out};
use Family::{Ipv4, Ipv6};

const CLAMP: &str = "clamp";
const ARRIVING: &str = "arriving";

const POSTROUTING: Chain =
    Chain { name: "postrouting", hook: Some(Hook::Postrouting), rules: &[Rule::Handshakes(CLAMP)] };

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
        Chain { name: "prerouting", hook: Some(Hook::Prerouting), rules: &[Rule::Handshakes(ARRIVING)] },
    ],
};

impl Layout {
    /// The layout that holds this ruleset.
    #[must_use]
    pub fn of(ruleset: &Ruleset) -> &'static Self {
        if ruleset.fixed.is_empty() { &ROUTE_ONLY } else { &WITH_FIXED }
    }
}

impl std::fmt::Display for Rule {
    /// The part of the rule that not every kernel has, in nft's words.
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
        assert_eq!(hooks(&ROUTE_ONLY), [Hook::Postrouting]);
        assert_eq!(hooks(&WITH_FIXED), [Hook::Postrouting, Hook::Prerouting]);
    }
}
