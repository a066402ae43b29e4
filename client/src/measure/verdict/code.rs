//! The verdicts of a check, and their texts: the event, the things that are not to blame, and the
//! next step.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::report::LimitedBy;
use crate::egress::SMALLEST_MTU;

/// How serious a verdict is; the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing has to be repaired.
    Fine,
    /// The path could not be measured.
    Unmeasured,
    /// Something does not work.
    Broken,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $word:literal, $severity:ident;)*) => {
        /// The verdicts. Scripts use their codes, and each has a section in
        /// `docs/troubleshooting.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[$doc])* #[serde(rename = $word)] $code,)* }

        impl Code {
            /// Every verdict.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The code as a word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $word,)* }
            }

            /// How serious it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$code => Severity::$severity,)* }
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
    /// The server answers and does not speak TLS.
    NotTls = "not-tls", Broken;
    /// Connections are filtered by the server's name.
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
    /// The host gets larger packets through than it forwards for the container, and nothing reports
    /// it.
    ForwardNarrow = "forward-narrow", Broken;
    /// Large packets vanish towards one server only.
    FarEndNarrow = "far-end-narrow", Broken;
    /// IPv6 passes in packets below 1280 bytes only.
    V6BelowMinimum = "v6-below-minimum", Broken;
    /// Packets are lost whatever their size.
    LinkLoses = "link-loses", Fine;
    /// Everything passes, slowly.
    LinkSlow = "link-slow", Fine;
    /// Something on the way answers in place of the server.
    ProxyBetween = "proxy-between", Fine;
    /// TCP passes, and large UDP packets do not.
    UdpNarrow = "udp-narrow", Broken;
    /// Something refuses UDP, or drops it although the server speaks QUIC.
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

/// The facts for the texts of a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The place: `the host`, or a network's name.
    pub place: String,
    /// The server's name.
    pub server: String,
    /// The link, as a name.
    pub link: Option<String>,
    /// The link is a VPN's.
    pub vpn: bool,
    /// The MTU of the link.
    pub link_mtu: Option<u32>,
    /// The MTU of the place itself.
    pub own_mtu: Option<u32>,
    /// A service whose packets take this path.
    pub service: Option<String>,
    /// The directions that are too narrow: `up`, `down` or `in both directions`.
    pub direction: &'static str,
    /// The size that passes.
    pub passes: Option<u16>,
    /// Why no larger size was tried up, if none was.
    pub limited_by: Option<LimitedBy>,
    /// Why nothing was measured, if nothing was.
    pub reason: Option<String>,
}

/// The sentence about a verdict, what must not be blamed, and the cure.
#[must_use]
pub fn words(code: Code, about: &Words) -> (String, Option<&'static str>, Option<String>) {
    (sentence(code, about), not_to_blame(code, about), cure(code, about))
}

fn link(about: &Words) -> String {
    about.link.as_ref().map_or_else(|| "the link".to_owned(), |link| format!("`{link}`"))
}

fn bytes(size: Option<impl ToString>) -> String {
    size.map_or_else(|| "an unknown number of".to_owned(), |size| size.to_string())
}

fn sentence(code: Code, about: &Words) -> String {
    let (link, server, place) = (link(about), &about.server, &about.place);
    let (passes, link_mtu, own) = (bytes(about.passes), bytes(about.link_mtu), bytes(about.own_mtu.or(about.link_mtu)));
    let direction = about.direction;
    match code {
        Code::Fine => format!("packets of up to {passes} bytes pass in both directions"),
        Code::Clamped => format!(
            "{server}, or a clamp on the way, keeps packets to {passes} bytes, and they pass in both directions"
        ),
        Code::PmtudWorks => format!("the path takes {passes} bytes, less than {link}, and reports it: transfers work"),
        Code::PmtuLearnt => format!(
            "the kernel has learnt a path MTU of {passes} bytes for every address of {server}, so a hole cannot be seen now"
        ),
        Code::DnsRefused => {
            format!("the name {server} does not resolve: the name servers refuse to answer or do not know it")
        }
        Code::DnsSilent => format!("the name {server} does not resolve: no name server answers"),
        Code::NoRoute => format!("no route leads from {place} to {server}"),
        Code::OwnFirewall => format!("a firewall of this machine keeps {place} from connecting to {server}"),
        Code::ContainerCut => {
            format!("the host reaches {server}, and {place} does not: the host does not forward its packets")
        }
        Code::RefusedOnTheWay => format!("something on the way refuses connections to {server}"),
        Code::PortFiltered => {
            format!("nothing answers {place} on the port of {server}: connections are dropped on the way")
        }
        Code::ServerDown => format!("{server} does not answer, other servers do"),
        Code::Ipv6Dead => format!("IPv6 leads nowhere from {place}, IPv4 works"),
        Code::NotTls => {
            format!("the answer for {server} is not TLS: a login page of the network answers in its place")
        }
        Code::NameFiltered => {
            format!("connections that name {server} are filtered; the same server answers without the name")
        }
        Code::TlsBlocked => "TCP connects, and no server answers a TLS hello: TLS is blocked on the way".to_owned(),
        Code::ServerSilent => format!("{server} accepts connections and does not answer"),
        Code::BigHello => format!(
            "a large TLS hello to {server} is dropped, in packets of a size that passes: a filter on the way reads only the first packet"
        ),
        Code::Stalls => format!("connections to {server} stall after some bytes, at any packet size"),
        Code::MixedPaths => format!("the paths to {server} differ: some take no more than {passes} bytes"),
        Code::MtuBlackHole => format!(
            "{place} sends packets of up to {own} bytes into {link}, which takes {link_mtu}, and nothing reports it: large transfers hang"
        ),
        Code::ClampOneWay => {
            format!("a clamp covers what {place} receives and not what it sends: uploads of more than a packet hang")
        }
        Code::ClampTooHigh => {
            format!("{link} is clamped to more than passes: packets of more than {passes} bytes vanish")
        }
        Code::PathNarrow => format!(
            "the path behind {link} takes {passes} bytes {direction}, not the {link_mtu} of the link, and nothing reports it: large transfers hang"
        ),
        Code::ForwardNarrow => format!(
            "the host forwards packets of {place} of up to {passes} bytes {direction}, and its own pass in larger ones: a rule of this host drops the rest, and large transfers hang"
        ),
        Code::FarEndNarrow => {
            format!("packets of more than {passes} bytes vanish near {server} only; other servers are reached")
        }
        Code::V6BelowMinimum => format!(
            "IPv6 takes only {passes} bytes behind {link}, less than the 1280 that every IPv6 path must take: large transfers hang"
        ),
        Code::LinkLoses => "packets of every size pass, and many are lost on the way".to_owned(),
        Code::LinkSlow => "packets of every size pass, slowly".to_owned(),
        Code::ProxyBetween => format!(
            "packets of up to {passes} bytes pass to a nearby proxy that answers for {server}; the path behind it was not measured"
        ),
        Code::UdpNarrow => format!("TCP passes, and UDP packets of more than {passes} bytes vanish behind {link}"),
        Code::QuicBlocked => {
            format!("TCP passes, and UDP does not reach {server}: programs use TCP instead of QUIC")
        }
        Code::DownNotMeasured => {
            format!("{server} sends too little to measure the direction down beyond {passes} bytes")
        }
        Code::UpNotMeasured => format!("packets of more than {passes} bytes could not be tried up"),
        Code::NotMeasured if about.passes.is_some() => {
            format!("packets of at least {passes} bytes pass; there was no time to find out more")
        }
        Code::NotMeasured => {
            format!("nothing was measured: {}", about.reason.as_deref().unwrap_or("there is no server to ask"))
        }
    }
}

fn not_to_blame(code: Code, about: &Words) -> Option<&'static str> {
    Some(match code {
        Code::NoRoute | Code::OwnFirewall | Code::NameFiltered => "the MTU, the server",
        Code::ContainerCut | Code::ForwardNarrow => "the VPN, the server",
        Code::RefusedOnTheWay => "the server",
        Code::DnsRefused | Code::DnsSilent | Code::Ipv6Dead | Code::NotTls | Code::TlsBlocked => "the MTU",
        // A SYN has 60 bytes.
        Code::PortFiltered => "the MTU: the packets that vanish are small",
        Code::ServerDown | Code::ServerSilent => "the link, the MTU",
        Code::BigHello => "the MTU: a clamp does not help",
        Code::Stalls => "the MTU: small packets vanish as well",
        Code::LinkLoses | Code::LinkSlow => "the MTU: all sizes pass alike",
        Code::MixedPaths => "loss",
        Code::MtuBlackHole | Code::ClampOneWay => "the path behind the link: it takes the link's MTU",
        Code::PathNarrow | Code::V6BelowMinimum | Code::ClampTooHigh if about.vpn => {
            "this host's settings: the link's MTU is what the VPN gave it"
        }
        Code::PathNarrow | Code::V6BelowMinimum | Code::ClampTooHigh => {
            "this host's settings: its packets fit the link"
        }
        Code::FarEndNarrow => "the VPN: other servers get through",
        Code::UdpNarrow | Code::QuicBlocked => "TCP",
        Code::Fine
        | Code::Clamped
        | Code::PmtudWorks
        | Code::PmtuLearnt
        | Code::ProxyBetween
        | Code::DownNotMeasured
        | Code::UpNotMeasured
        | Code::NotMeasured => return None,
    })
}

fn cure(code: Code, about: &Words) -> Option<String> {
    let to = |mtu: u16| {
        let link = about.link.as_deref()?;
        Some(if about.vpn {
            format!("airpods net clamp on {link} --mtu {mtu}")
        } else {
            format!("airpods net clamp on {link} --mtu {mtu} --any-link")
        })
    };
    match code {
        Code::MtuBlackHole | Code::ClampOneWay if about.vpn => Some("airpods net clamp on".to_owned()),
        Code::MtuBlackHole | Code::ClampOneWay => {
            about.link.as_ref().map(|link| format!("airpods net clamp on {link} --any-link"))
        }
        Code::PathNarrow | Code::ForwardNarrow | Code::V6BelowMinimum | Code::ClampTooHigh | Code::MixedPaths => {
            about.passes.and_then(to)
        }
        Code::UdpNarrow => {
            let mtu = u32::from(about.passes?).max(SMALLEST_MTU);
            Some(format!("airpods config set runtime.network.mtu {mtu} && airpods start --reset-network"))
        }
        Code::ContainerCut => Some("airpods start --reset-network".to_owned()),
        Code::DnsRefused | Code::DnsSilent => Some("airpods doctor".to_owned()),
        Code::BigHello => about
            .service
            .as_ref()
            .map(|service| format!("airpods config set services.{service}.env.GODEBUG tlsmlkem=0")),
        Code::UpNotMeasured if about.limited_by == Some(LimitedBy::MtuProbing) => {
            Some("sudo sysctl -w net.ipv4.tcp_mtu_probing=1".to_owned())
        }
        Code::NotMeasured => Some("airpods net check".to_owned()),
        code if code.severity() == Severity::Unmeasured => {
            Some("airpods net check --url https://ANOTHER-SERVER".to_owned())
        }
        _ => None,
    }
}
