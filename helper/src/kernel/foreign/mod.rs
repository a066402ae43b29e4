//! Clamps that others have installed, found in what the kernel says about their rules. Pure: bytes in, values out.

mod rule;

use std::ops::ControlFlow;

use airpods_dbus::{Foreign, Legacy, Technique};

/// How many rules are read at most. It takes the kernel about a microsecond to tell one.
pub const READ: usize = 50_000;

/// What the rules that have been read so far come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    foreign: Foreign,
    rules: usize,
    /// How many of the clamps were made by iptables-nft.
    compat: u64,
}

impl Found {
    /// Takes a rule: the body of an `NFT_MSG_NEWRULE`. Breaks when enough have been read.
    pub fn take(&mut self, rule: &[u8]) -> ControlFlow<()> {
        if self.rules == READ {
            return ControlFlow::Break(());
        }
        self.rules += 1;
        if let Some(clamp) = rule::clamp(rule) {
            self.compat += u64::from(clamp.by == Technique::IptablesNft);
            if self.foreign.clamps.len() < Foreign::LISTED {
                self.foreign.clamps.push(clamp);
            } else {
                self.foreign.more = self.foreign.more.saturating_add(1);
            }
        }
        ControlFlow::Continue(())
    }

    /// The result: `whole` if no rule is missing.
    #[must_use]
    pub fn finish(mut self, whole: bool) -> Self {
        self.foreign.whole = whole;
        self
    }

    /// For whoever asks.
    #[must_use]
    pub fn report(&self, traces: Traces) -> Foreign {
        let compat = self.foreign.whole.then_some(self.compat);
        Foreign { iptables_legacy: traces.judge(compat), ..self.foreign.clone() }
    }
}

/// What of iptables-legacy can be seen without the right to read its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether the network namespace can hold tables of iptables-legacy at all: the module `ip_tables` or `ip6_tables` is
    /// there.
    pub can_have_tables: Option<bool>,
    /// How many rules use the module `xt_TCPMSS`, in all namespaces, and those of iptables-nft included.
    pub users: Option<u64>,
}

impl Traces {
    /// Whether iptables-legacy clamps, with so many clamps by iptables-nft, if all of them are known.
    fn judge(self, compat: Option<u64>) -> Legacy {
        match (self.can_have_tables, self.users, compat) {
            (Some(false), ..) | (_, Some(0), _) => Legacy::None,
            (_, Some(users), Some(compat)) if users <= compat => Legacy::None,
            (_, Some(_), Some(_)) => Legacy::Possible,
            _ => Legacy::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
