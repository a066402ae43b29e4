//! The part of a status that tells what others do.

use std::fmt;

use serde::{Deserialize, Serialize};
use zbus::{DeserializeDict, SerializeDict, Type};

use super::Mode;

wire_words! {
    /// What made a rule.
    Technique {
        /// nft, or another program that speaks nftables, such as firewalld.
        Nftables = "nftables",
        /// iptables or ip6tables in its nftables variant, with the target `TCPMSS`.
        IptablesNft = "iptables-nft",
    }
}

wire_words! {
    /// Whether iptables-legacy, whose rules only root can read, clamps too.
    #[derive(Default)]
    Legacy {
        /// It does not.
        None = "none",
        /// Somebody uses its target `TCPMSS`, here or in another network namespace.
        Possible = "possible",
        /// The kernel does not tell.
        #[default]
        Unknown = "unknown",
    }
}

/// A rule of somebody else's that sets the MSS.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct ForeignClamp {
    /// What made it.
    pub by: Technique,
    /// The table's family: `ip`, `ip6`, `inet`, `bridge`, `arp`, `netdev`, or the kernel's number for another one.
    pub family: String,
    /// The table's name. What is no printable ASCII is escaped, as in `\n` and `\xff`.
    pub table: String,
    /// The chain's name, escaped in the same way.
    pub chain: String,
    /// The link that packets must leave through, if the rule names one; `wg*` for all that begin so.
    pub out_link: Option<String>,
    /// The link that packets must arrive through, if the rule names one.
    pub in_link: Option<String>,
    /// What the MSS is taken from: the route, or anything else.
    pub mode: Mode,
    /// The MSS in bytes; only in mode `fixed`, and only if it is the same for all packets.
    pub mss: Option<u32>,
}

/// The clamps that others have installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct Foreign {
    /// Those in nftables, in the kernel's order; not more than [`Self::LISTED`].
    pub clamps: Vec<ForeignClamp>,
    /// How many there are beyond those.
    pub more: u32,
    /// Whether all rules were read, so that there can be no others in nftables.
    pub whole: bool,
    /// Whether iptables-legacy clamps too.
    pub iptables_legacy: Legacy,
}

impl Foreign {
    /// How many clamps are listed at most.
    pub const LISTED: usize = 64;

    /// How many there are, as far as is known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.clamps.len() + usize::try_from(self.more).unwrap_or(usize::MAX)
    }
}
