//! The words for what a check finds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The exit code of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing has to be cured.
    Fine,
    /// It could not be measured.
    Unmeasured,
    /// Something does not work.
    Broken,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $word:literal, $weight:ident;)*) => {
        /// The verdicts. Their words are for scripts, and each has a section in `docs/troubleshooting.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[$doc])* #[serde(rename = $word)] $code,)* }

        impl Code {
            /// Every verdict there is.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The word that stands for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $word,)* }
            }

            /// The exit code for it.
            #[must_use]
            pub fn weight(self) -> Weight {
                match self { $(Self::$code => Weight::$weight,)* }
            }
        }
    };
}

codes! {
    /// The largest packets of the link pass in both directions.
    Fine = "fine", Fine;
    /// A clamp keeps packets small, and they pass.
    Clamped = "clamped", Fine;
    /// The path is narrower than the link, and reports it.
    PmtudWorks = "pmtud-works", Fine;
    /// The kernel has learnt the path MTU of every address of the server, so a hole cannot be seen.
    PmtuLearnt = "pmtu-learnt", Fine;
    /// The server's name does not resolve.
    DnsRefused = "dns-refused", Broken;
    /// No name server answers.
    DnsSilent = "dns-silent", Broken;
    /// No route leads to the server.
    NoRoute = "no-route", Broken;
    /// A firewall of this host rejects or drops what is sent.
    OwnFirewall = "own-firewall", Broken;
    /// The host reaches the server and the container does not.
    ContainerCut = "container-cut", Broken;
    /// Something nearer than the server refuses the connection.
    RefusedOnTheWay = "refused-on-the-way", Broken;
    /// The port is silent, while other servers answer.
    PortFiltered = "port-filtered", Broken;
    /// One server is silent or refuses, others answer.
    ServerDown = "server-down", Unmeasured;
    /// IPv6 leads nowhere, IPv4 works.
    Ipv6Dead = "ipv6-dead", Broken;
    /// What answers does not speak TLS.
    NotTls = "not-tls", Broken;
    /// The server's name is what is filtered.
    NameFiltered = "name-filtered", Broken;
    /// TCP connects, and no server answers a TLS hello.
    TlsBlocked = "tls-blocked", Broken;
    /// This server acknowledges a hello and does not answer.
    ServerSilent = "server-silent", Unmeasured;
    /// A large hello fails, in packets of a size that passes.
    BigHello = "big-hello", Broken;
    /// After some bytes nothing passes any more, small packets included.
    Stalls = "stalls", Broken;
    /// The same size passes on some connections and fails on others.
    MixedPaths = "mixed-paths", Broken;
    /// The container's packets do not fit through the link, and nothing reports it.
    MtuBlackHole = "mtu-black-hole", Broken;
    /// A clamp works for one direction only.
    ClampOneWay = "clamp-one-way", Broken;
    /// A fixed clamp is larger than what passes.
    ClampTooHigh = "clamp-too-high", Broken;
    /// The path takes less than the link's MTU, and nothing reports it.
    PathNarrow = "path-narrow", Broken;
    /// The host gets larger packets through than it forwards for the container, and nothing reports it.
    ForwardNarrow = "forward-narrow", Broken;
    /// The same towards one server only.
    FarEndNarrow = "far-end-narrow", Broken;
    /// IPv6 passes in packets below 1280 bytes only.
    V6BelowMinimum = "v6-below-minimum", Broken;
    /// Packets are lost whatever their size.
    LinkLoses = "link-loses", Fine;
    /// Everything passes, slowly.
    LinkSlow = "link-slow", Fine;
    /// Something on the way answers in the place of the server.
    ProxyBetween = "proxy-between", Fine;
    /// TCP passes, and large UDP packets do not.
    UdpNarrow = "udp-narrow", Broken;
    /// The server speaks QUIC, and UDP does not reach it.
    QuicBlocked = "quic-blocked", Fine;
    /// The server sends too little to measure the way back.
    DownNotMeasured = "down-not-measured", Unmeasured;
    /// Large packets cannot be sent from here.
    UpNotMeasured = "up-not-measured", Unmeasured;
    /// There was no time, or no server, to measure with.
    NotMeasured = "not-measured", Unmeasured;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
