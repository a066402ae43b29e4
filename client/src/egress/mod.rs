//! The way of the packets: how a service's traffic gets from its container to the host, which link it leaves the host
//! by, and whether a clamp on that link does anything for it.
//!
//! [`survey`] reads the facts; [`Facts::path`] decides from them. Only traffic that the host forwards for a
//! container passes the clamp with the container's own MSS. What leaves by sockets of the host (`network_mode = "host"`, and
//! everything rootless: pasta and slirp4netns end a container's connections and make their own) already knows the
//! MTU of the link, and there nothing but a path narrower than that MTU is left to go wrong.

mod branch;
mod clamp_coverage;
mod decide;
mod facts;
mod netlink;
mod question;
mod rootless_backend;
#[cfg(test)]
mod tests;

use std::fmt;

use airpods_dbus::LinkKind;
use serde_json::{Value, json};

pub use branch::{Branch, branches};
pub use clamp_coverage::{ClampCoverage, clamp_coverage};
pub use facts::{Facts, Leaving, NetworkFacts, survey};
pub use netlink::{INTERNET, Route, egress, links, routes};
pub use rootless_backend::RootlessBackend;

/// The smallest MTU that may be advised: with less, a link has no IPv6 any more (RFC 8200, section 5).
pub const SMALLEST_MTU: u32 = 1280;

/// How a service's packets get to the routing of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkPath {
    /// It has the host's own network.
    Host,
    /// A bridge in a user's own network namespace, and from there by sockets of the host that a program opens for it.
    Rootless(RootlessBackend),
    /// A bridge of the host's, which forwards.
    Bridge,
    /// A link of its own on a link of the host's (macvlan, ipvlan), past the host's routing.
    Direct,
    /// Nothing leads out: `runtime.network.internal`.
    None,
}

impl NetworkPath {
    /// The word for it, in JSON and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Rootless(backend) => backend.as_str(),
            Self::Bridge => "bridge",
            Self::Direct => "direct",
            Self::None => "internal",
        }
    }
}

/// The link by which packets to the internet leave the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The link's name, as the kernel has it: any bytes but `/` and white space.
    pub link: String,
    /// Its index.
    pub index: i32,
    /// What it is.
    pub kind: LinkKind,
    /// The largest packet in bytes: the link's MTU, or the route's if that is smaller.
    pub mtu: u32,
}

/// The effect of a clamp on a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The network's packets are too big for the VPN, and forwarded: a clamp cures that.
    ClampHelps,
    /// The same with a link that is no VPN, which is clamped only on request (`--any-link`).
    NarrowLink,
    /// Traffic leaves by sockets of the host, which know the link's MTU: a clamp has nothing to do, unless the
    /// path is narrower than the link.
    HostSockets,
    /// The network's packets fit.
    Fits,
    /// The traffic does not pass the host's links, or there is none.
    Elsewhere,
    /// No route leads to the internet.
    NoRoute,
    /// The host reaches the internet, and the kernel forwards nothing there for the network.
    NotForwarded,
    /// The kernel could not be asked.
    Unknown,
}

impl Verdict {
    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClampHelps => "clamp-helps",
            Self::NarrowLink => "narrow-link",
            Self::HostSockets => "host-sockets",
            Self::Fits => "fits",
            Self::Elsewhere => "elsewhere",
            Self::NoRoute => "no-route",
            Self::NotForwarded => "not-forwarded",
            Self::Unknown => "unknown",
        }
    }
}

/// The way of a service's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPath {
    /// How they get to the host's routing.
    pub passage: NetworkPath,
    /// Where they leave the host; of IPv4 and IPv6 the one where less fits. `None` if no route leads out, or it is not known.
    pub egress: Option<Egress>,
    /// The MTU of the container's own link; `None` on the host's network.
    pub network_mtu: Option<u32>,
    /// The effect of a clamp.
    pub verdict: Verdict,
}

impl EgressPath {
    /// Whether the packets leave through a VPN.
    #[must_use]
    pub fn through_vpn(&self) -> bool {
        self.egress.as_ref().is_some_and(|egress| egress.kind.is_vpn())
    }

    /// As JSON: `{"kind", "link", "link_kind", "mtu", "network_mtu", "verdict"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let egress = self.egress.as_ref();
        json!({
            "kind": self.passage.as_str(),
            "link": egress.map(|egress| &egress.link),
            "link_kind": egress.map(|egress| &egress.kind.info_kind).filter(|kind| !kind.is_empty()),
            "mtu": egress.map(|egress| egress.mtu),
            "network_mtu": self.network_mtu,
            "verdict": self.verdict.as_str(),
        })
    }
}

/// For a table: `bridge -> wg0 (1380)`.
impl fmt::Display for EgressPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.passage.as_str())?;
        match (&self.egress, self.verdict) {
            (Some(egress), _) => write!(f, " -> {} ({})", egress.link, egress.mtu),
            (None, Verdict::NoRoute) => f.write_str(" -> no route"),
            (None, Verdict::NotForwarded) => f.write_str(" -> not forwarded"),
            (None, Verdict::Unknown) => f.write_str(" -> unknown"),
            (None, _) => Ok(()),
        }
    }
}
