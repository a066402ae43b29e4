//! What `GetStatus` answers: `a{sv}` on the bus, with the keys being the fields' names in kebab case.

use std::fmt;

use serde::{Deserialize, Serialize};
use zbus::{DeserializeDict, SerializeDict, Type};

macro_rules! wire_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
        #[zbus(signature = "s")]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word that stands for it on the bus.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

wire_words! {
    /// Whether a clamp does anything now.
    ClampState {
        /// The rules hold and the link is there.
        Active = "active",
        /// The link is not there, or not up; the rules take it the moment it comes.
        Waiting = "waiting",
        /// Somebody keeps removing the table, and the helper keeps putting it back ever more slowly.
        Contested = "contested",
    }
}

wire_words! {
    /// What the MSS is taken from.
    Mode {
        /// The route's MTU, packet by packet (`rt mtu`).
        Route = "route",
        /// The path MTU given with `mtu`.
        Fixed = "fixed",
    }
}

wire_words! {
    /// Who asked for a clamp.
    Origin {
        /// It is a VPN link and auto is on.
        Auto = "auto",
        /// A caller named it.
        Named = "named",
    }
}

mod foreign;

pub use foreign::{Foreign, ForeignClamp, Legacy, Technique};

/// One clamp.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct ClampStatus {
    /// The link's name.
    pub link: String,
    /// Whether it does anything now.
    pub state: ClampState,
    /// What the MSS is taken from.
    pub mode: Mode,
    /// Who asked for it.
    pub origin: Origin,
    /// Whether it is kept across reboots.
    pub persist: bool,
    /// The fixed path MTU in bytes; only in mode `fixed`.
    pub mtu: Option<u32>,
    /// The link's own MTU in bytes; only while the link is there.
    pub link_mtu: Option<u32>,
    /// The link's kind as the kernel names it, such as `wireguard`; only while the link is there.
    pub link_kind: Option<String>,
}

/// TCP handshake packets (SYN and SYN-ACK) that went through the clamping rules since the table was made. The
/// kernel has lowered the MSS of those that announced more than the path takes, and left the others alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct Counters {
    /// IPv4, leaving through a clamped link.
    pub ipv4_out: u64,
    /// IPv4, arriving through a clamped link.
    pub ipv4_in: u64,
    /// IPv6, leaving through a clamped link.
    pub ipv6_out: u64,
    /// IPv6, arriving through a clamped link.
    pub ipv6_in: u64,
}

/// What the kernel gives the helper to work with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct Features {
    /// The table carries the `owner` flag (Linux 5.12): nobody else can change it, and it goes with the helper.
    pub owner: bool,
}

/// Everything the helper knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct Status {
    /// The helper's version.
    pub version: String,
    /// Whether every VPN link is clamped, now and whenever one appears.
    pub auto: bool,
    /// Whether auto is kept across reboots.
    pub auto_persist: bool,
    /// The clamps, sorted by link.
    pub clamps: Vec<ClampStatus>,
    /// Handshake packets clamped, over all links.
    pub counters: Counters,
    /// The rules as `nft list table inet airpods` would print them; empty while there is no table.
    pub ruleset: String,
    /// What the kernel offers.
    pub features: Features,
    /// The clamps that others have installed; `None` if that is not known.
    pub foreign: Option<Foreign>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use zbus::wire::{LE, serialized::Context, to_bytes};

    #[test]
    fn a_status_survives_the_way_over_the_bus() {
        let status = Status {
            version: "0.1.0".to_owned(),
            auto: true,
            auto_persist: false,
            clamps: vec![ClampStatus {
                link: "wg0".to_owned(),
                state: ClampState::Active,
                mode: Mode::Fixed,
                origin: Origin::Named,
                persist: true,
                mtu: Some(1300),
                link_mtu: None,
                link_kind: Some("wireguard".to_owned()),
            }],
            counters: Counters { ipv4_out: 3, ..Counters::default() },
            ruleset: "table inet airpods {}".to_owned(),
            features: Features { owner: true },
            foreign: Some(Foreign {
                clamps: vec![ForeignClamp {
                    by: Technique::IptablesNft,
                    family: "ip".to_owned(),
                    table: "mangle".to_owned(),
                    chain: "FORWARD".to_owned(),
                    out_link: Some("wg0".to_owned()),
                    in_link: None,
                    mode: Mode::Fixed,
                    mss: Some(1300),
                }],
                more: 3,
                whole: true,
                iptables_legacy: Legacy::Possible,
            }),
        };
        let bytes = to_bytes(Context::new(LE, 0), &status).unwrap();
        let (read, _): (Status, usize) = bytes.deserialize().unwrap();
        assert_eq!(read, status);
    }
}
