//! The answer of `GetStatus`: `a{sv}` on the bus, with the names of the fields in kebab case as
//! keys.

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
            /// The word for this value on the bus.
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
    /// Whether a clamp is in effect now.
    ClampState {
        /// The rules name the link, and the link is up.
        Active = "active",
        /// The link is missing or down; the rules apply as soon as it comes up. Without `any-link`,
        /// a link of that name that is no VPN link counts as waiting, too.
        Waiting = "waiting",
        /// Another program keeps removing or changing the table; the helper repairs it ever more
        /// slowly.
        Contested = "contested",
        /// The kernel refuses the table; `refusal` in the status has the cause.
        Refused = "refused",
    }
}

wire_words! {
    /// The source of the MSS.
    Mode {
        /// The MTU of the packet's route (`rt mtu`).
        Route = "route",
        /// The path MTU given with `mtu`.
        Fixed = "fixed",
    }
}

wire_words! {
    /// Why a clamp exists.
    Origin {
        /// Auto: it is a VPN link.
        Auto = "auto",
        /// A caller named it.
        Named = "named",
    }
}

/// One clamp.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct ClampStatus {
    /// The link's name.
    pub link: String,
    /// Whether it is in effect now.
    pub state: ClampState,
    /// The source of the MSS.
    pub mode: Mode,
    /// Why it exists: auto, or a caller named the link.
    pub origin: Origin,
    /// Whether it is kept across reboots.
    pub persist: bool,
    /// The fixed path MTU in bytes; only in mode `fixed`.
    pub mtu: Option<u32>,
    /// The link's own MTU in bytes; only while the link is there.
    pub link_mtu: Option<u32>,
    /// The smallest MTU in bytes that a route through the link sets (`ip route … mtu`). Only if it
    /// is below the link's MTU; a clamp to the route MTU then uses it.
    pub route_mtu: Option<u32>,
    /// The link's kind as the kernel names it, such as `wireguard`; only while the link is there.
    pub link_kind: Option<String>,
}

impl ClampStatus {
    /// The MTU in bytes that a clamp to the route MTU uses now; `None` while the link is not there.
    #[must_use]
    pub fn effective_mtu(&self) -> Option<u32> {
        self.route_mtu.into_iter().chain(self.link_mtu).min()
    }
}

/// A VPN link that cannot be clamped.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct Unclampable {
    /// The link's name; every character that is not printable ASCII is escaped.
    pub link: String,
    /// Why it cannot be clamped, as a clause such as `its name ends in an asterisk`.
    pub reason: String,
}

/// TCP handshake packets (SYN and SYN-ACK) that matched the clamping rules since the table was
/// created. The kernel lowers the MSS only of those that announce more than the path takes.
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

/// The helper's full status.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "kebab-case")]
pub struct Status {
    /// The helper's version.
    pub version: String,
    /// Whether every VPN link is clamped, now and whenever one appears.
    pub auto: bool,
    /// Whether auto is kept across reboots.
    pub auto_persist: bool,
    /// The fixed path MTU in bytes to which auto clamps every link, if one was given.
    pub auto_mtu: Option<u32>,
    /// The clamps, sorted by link.
    pub clamps: Vec<ClampStatus>,
    /// Handshake packets that matched the clamping rules, over all links.
    pub counters: Counters,
    /// Why the kernel refuses the table; `None` while it does not.
    pub refusal: Option<String>,
    /// VPN links that cannot be clamped, sorted by link.
    pub unclampable: Vec<Unclampable>,
    /// Whether there is a table `inet airpods` that the helper did not make. The helper leaves it
    /// alone while nothing is to be clamped.
    pub foreign_table: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::doubles::clamp_status;
    use zbus::wire::{LE, serialized::Context, to_bytes};

    #[test]
    fn a_status_survives_the_way_over_the_bus() {
        let status = Status {
            version: "0.1.0".to_owned(),
            auto: true,
            auto_persist: false,
            auto_mtu: Some(1300),
            clamps: vec![ClampStatus {
                link: "wg0".to_owned(),
                state: ClampState::Active,
                mode: Mode::Fixed,
                origin: Origin::Named,
                persist: true,
                mtu: Some(1300),
                link_mtu: None,
                route_mtu: None,
                link_kind: Some("wireguard".to_owned()),
            }],
            counters: Counters { ipv4_out: 3, ..Counters::default() },
            refusal: Some("this kernel has no nf_tables".to_owned()),
            unclampable: vec![Unclampable {
                link: "wg*".to_owned(),
                reason: "its name ends in an asterisk".to_owned(),
            }],
            foreign_table: true,
        };
        let bytes = to_bytes(Context::new(LE, 0), &status).unwrap();
        let (read, _): (Status, usize) = bytes.deserialize().unwrap();
        assert_eq!(read, status);
    }

    #[test]
    fn the_effective_mtu_is_the_smaller_one_of_link_and_routes() {
        let active = || clamp_status("wg0", ClampState::Active);
        let clamp = |link_mtu, route_mtu| ClampStatus { link_mtu, route_mtu, ..active() };
        assert_eq!(clamp(Some(1500), Some(1400)).effective_mtu(), Some(1400));
        assert_eq!(clamp(Some(1380), None).effective_mtu(), Some(1380));
        assert_eq!(clamp(None, None).effective_mtu(), None);
    }
}
