//! Turns the findings about a path into a verdict: a pure table, in the order of decision.
//!
//! "Too narrow" needs [`FAILURES_NEEDED_UP`] connections that agree up, or [`failures_needed_down`]
//! down, each of which sent the size often enough. A search that ran out of time is never a verdict
//! about the network.

mod code;
#[cfg(test)]
mod tests;

use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use code::{Code, Severity, Words, words};

use super::evidence::Evidence;
use super::findings::Findings;
use super::loss::Loss;
use super::report::{Confidence, Direction, LimitedBy, PathReport, Udp};
use super::search::{FAILURES_NEEDED_UP, failures_needed_down};

/// The facts about a path other than the evidence of its connections.
#[expect(clippy::struct_excessive_bools, reason = "each is an observation of its own, and all combinations occur")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PathFacts {
    /// The family is IPv6.
    pub(super) ipv6: bool,
    /// The largest size that was tried.
    pub(super) top: u16,
    /// The path MTU that the kernel had learnt for every address, if it is below the link's.
    pub(super) learnt: Option<u16>,
    /// The error with which the kernel refused to connect a UDP socket to the server: no route
    /// leads there.
    pub(super) no_route: Option<Errno>,
    /// A rule of this host rejects connections or drops what is sent.
    pub(super) own_firewall: bool,
    /// Another server answers from the same place. If the first one accepts no connection, it is
    /// enough that the other one does.
    pub(super) others_answer: bool,
    /// Another server was tried at all.
    pub(super) others_tried: bool,
    /// There is another server, and no time was left to ask it.
    pub(super) others_unasked: bool,
    /// The value that the helper clamps the link to, if it is a fixed one.
    pub(super) clamped: Option<u16>,
    /// The host's own measurement on the same family, if this place is a container's network.
    pub(super) from_host: Option<FromHost>,
}

/// The host's own measurement, for judging a container's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FromHost {
    /// The host connects to the server.
    pub(super) connects: bool,
    /// The MTU of the link that packets leave by, at most 1500.
    pub(super) link: u16,
    /// The host's packets of the link's size pass both ways.
    pub(super) whole: bool,
    /// The largest packets proven from the host, up and down; 0 if unknown.
    pub(super) up: u16,
    pub(super) down: u16,
    /// The server answers the host by QUIC.
    pub(super) quic: bool,
}

/// The verdict on one path.
#[must_use]
pub(super) fn judge(findings: &Findings, facts: &PathFacts) -> Code {
    match judge_alone(findings, facts) {
        // The host got answers in packets of every size, so the host itself drops packets while it
        // forwards this place's.
        Code::TlsBlocked | Code::Stalls if facts.from_host.is_some_and(|host| host.whole) => Code::ContainerCut,
        code => code,
    }
}

fn judge_alone(findings: &Findings, facts: &PathFacts) -> Code {
    if !findings.connected {
        return not_connected(findings, facts);
    }
    if findings.not_tls {
        return Code::NotTls;
    }
    if findings.answers_without_name == Some(true) {
        return Code::NameFiltered;
    }
    let (up, down) = narrow(findings);
    if findings.differs {
        return Code::MixedPaths;
    }
    let stalls = findings.cuts >= 2 && findings.up.failed().is_none() && !findings.up_is_whole(facts.top);
    if stalls && (findings.tls || findings.alert) {
        return Code::Stalls;
    }
    if up || down {
        return too_narrow(findings, facts, up, down);
    }
    let answered = findings.tls || findings.alert;
    if !answered {
        // A small hello (256 bytes) that never arrives, or is reset with the name and without, is
        // dropped on the way.
        let blocked = !findings.hello_arrived || findings.resets >= 2 || (facts.others_tried && !facts.others_answer);
        // There are fewer failures than a verdict needs: they neither prove a narrow path nor rule
        // it out.
        let doubtful = findings.up.failed().is_some() && !findings.up_is_whole(facts.top);
        return match (blocked, doubtful) {
            (true, _) if findings.hurried => Code::NotMeasured,
            (true, _) => Code::TlsBlocked,
            (false, true) => Code::NotMeasured,
            (false, false) => Code::ServerSilent,
        };
    }
    if findings.big_hello == Some(false) && findings.big_hellos >= 4 && findings.tls {
        return Code::BigHello;
    }
    passes(findings, facts)
}

/// Whether the path is too narrow, up and down.
pub(super) fn narrow(findings: &Findings) -> (bool, bool) {
    let up = findings.up.refutations() >= FAILURES_NEEDED_UP && findings.up.proven.is_some();
    (up, findings.tls && findings.down.refutations() >= failures_needed_down(&findings.down))
}

fn not_connected(findings: &Findings, facts: &PathFacts) -> Code {
    let errors = || findings.refusals.iter().filter_map(|(errno, _)| *errno);
    if findings.hurried && errors().next().is_none() {
        return Code::NotMeasured;
    }
    if facts.from_host.is_some_and(|host| host.connects) {
        return Code::ContainerCut;
    }
    if facts.no_route.is_some() {
        return Code::NoRoute;
    }
    let refused = |errno: Errno| matches!(errno, Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH);
    if facts.own_firewall || errors().any(|errno| errno == Errno::EPERM) {
        return Code::OwnFirewall;
    }
    if facts.others_unasked {
        return Code::NotMeasured;
    }
    if facts.others_answer {
        return Code::ServerDown;
    }
    if errors().any(|errno| refused(errno) || errno == Errno::ECONNRESET) {
        return Code::RefusedOnTheWay;
    }
    Code::PortFiltered
}

fn too_narrow(findings: &Findings, facts: &PathFacts, up: bool, down: bool) -> Code {
    if findings.second.is_some_and(|second| second.more) {
        return Code::FarEndNarrow;
    }
    let refuted = [findings.up.refuted(), findings.down.refuted()];
    let beyond_link = |host: &FromHost| refuted.into_iter().flatten().all(|size| size > host.link);
    if let Some(host) = facts.from_host.filter(|host| host.whole && beyond_link(host)) {
        // The link carries packets of up to its MTU. This place sends larger ones, and no router
        // reports them to the sender.
        let held = findings.down.limit.is_some_and(|(limit, _)| limit <= host.link);
        return if up && !down && held { Code::ClampOneWay } else { Code::MtuBlackHole };
    }
    let carried = |host: &FromHost| {
        let ends = [(up, findings.up.refuted(), host.up), (down, findings.down.refuted(), host.down)];
        ends.into_iter()
            .filter(|(narrow, ..)| *narrow)
            .all(|(_, refuted, from_host)| refuted.is_some_and(|size| size <= from_host))
    };
    if facts.from_host.as_ref().is_some_and(carried) {
        return Code::ForwardNarrow;
    }
    let least = value(findings);
    if facts.clamped.zip(least).is_some_and(|(clamped, least)| least < clamped) {
        return Code::ClampTooHigh;
    }
    if facts.ipv6 && least.is_some_and(|least| least < IPV6_MINIMUM) { Code::V6BelowMinimum } else { Code::PathNarrow }
}

/// The smallest MTU that every IPv6 link supports (RFC 8200, section 5).
const IPV6_MINIMUM: u16 = 1280;

/// The verdict if no size was found to be too large. It depends on how much was measured.
fn passes(findings: &Findings, facts: &PathFacts) -> Code {
    let (up, down) = (findings.up_is_whole(facts.top), findings.down_is_whole(facts.top));
    let doubtful = |evidence: &Evidence, whole: bool| evidence.failed().is_some() && !whole;
    if doubtful(&findings.up, up)
        || doubtful(&findings.down, down)
        || findings.up.proven.is_none() && findings.cut_short
    {
        return Code::NotMeasured;
    }
    let limited = |evidence: &Evidence, by: LimitedBy| {
        evidence.limit.filter(|(limit, cause)| *cause == by && *limit < facts.top).map(|(limit, _)| limit)
    };
    // Decided before `healed`: behind a clamp a lost packet is repaired in packets of the clamp's
    // size, which heals nothing.
    let below_top = |evidence: &Evidence| evidence.limit.filter(|(limit, _)| *limit < facts.top);
    if is_clamped(below_top(&findings.up), below_top(&findings.down)) {
        return Code::Clamped;
    }
    // The report on the way up has taught our kernel a path MTU, and it announces no more since.
    // The fate of larger packets on the way down is unknown.
    let unasked = !findings.healed && limited(&findings.down, LimitedBy::Learnt).is_some();
    if findings.up.reported.is_some() && unasked {
        return Code::DownNotMeasured;
    }
    // A server that adapts its own packets shows nothing about the direction up, which has to be
    // whole by itself.
    if findings.up.reported.is_some() || (findings.healed && up) {
        return Code::PmtudWorks;
    }
    if facts.learnt.is_some()
        || limited(&findings.up, LimitedBy::Learnt).or(limited(&findings.down, LimitedBy::Learnt)).is_some()
    {
        return Code::PmtuLearnt;
    }
    match (up, down) {
        (false, _) => Code::UpNotMeasured,
        _ if limited(&findings.up, LimitedBy::MtuProbing).is_some() => Code::UpNotMeasured,
        (true, false) => Code::DownNotMeasured,
        _ if limited(&findings.down, LimitedBy::Flight).is_some() => Code::DownNotMeasured,
        (true, true) => quality(findings),
    }
}

/// Whether a clamp explains the limits below the largest size, up and down.
pub(super) fn is_clamped(up: Option<(u16, LimitedBy)>, down: Option<(u16, LimitedBy)>) -> bool {
    match (up, down) {
        // Some clamps subtract the 12 bytes of timestamps on one side only.
        (Some((up, LimitedBy::Mss)), Some((down, LimitedBy::Flight))) => up.abs_diff(down) <= 12,
        _ => false,
    }
}

/// The verdict if every size passes: whether the path is lossy, slow, or ends at a proxy.
fn quality(findings: &Findings) -> Code {
    let near = findings.min_rtt.is_some_and(|rtt| rtt < Duration::from_millis(1));
    if findings.loss.is_some_and(Loss::is_high) {
        return Code::LinkLoses;
    }
    if findings.rtt > Duration::from_secs(1) {
        return Code::LinkSlow;
    }
    let far = findings.answers_within.is_some_and(|within| within > Duration::from_millis(20));
    if near && far { Code::ProxyBetween } else { Code::Fine }
}

/// The value for a clamp: the smallest of the proven sizes of the directions that are too narrow.
#[must_use]
pub(super) fn value(findings: &Findings) -> Option<u16> {
    let (up, down) = narrow(findings);
    let least = [(up, &findings.up), (down, &findings.down)]
        .into_iter()
        .filter(|(narrow, _)| *narrow)
        .filter_map(|(_, evidence)| evidence.proven)
        .min();
    if findings.differs { findings.least } else { least }
}

/// The report of one direction.
#[must_use]
pub(super) fn direction(evidence: &Evidence, facts: &PathFacts, needed: u32, cut_short: bool) -> Direction {
    let limit = evidence.limit.filter(|(limit, _)| *limit < facts.top);
    let failed = evidence.failed();
    let (confidence, reason) = confidence(evidence, facts.top, needed, cut_short);
    Direction {
        proven: evidence.proven,
        failed,
        limit: limit.map(|(limit, _)| limit),
        limited_by: limit.map(|(_, by)| by),
        reported: evidence.reported,
        confidence,
        reason: reason.map(str::to_owned),
    }
}

fn confidence(evidence: &Evidence, top: u16, needed: u32, cut_short: bool) -> (Confidence, Option<&'static str>) {
    let late = "there was no time for more";
    let Some(proven) = evidence.proven else {
        let why = match evidence.limit {
            Some((_, LimitedBy::Flight)) => "the server sends too little",
            _ if cut_short => late,
            _ => "no packet of this direction could be judged",
        };
        return (Confidence::NotMeasured, Some(why));
    };
    if proven >= top || evidence.reported.is_some_and(|reported| proven >= reported) {
        return (Confidence::Sure, None);
    }
    if let Some((limit, by)) =
        evidence.limit.filter(|(limit, _)| proven >= *limit && evidence.failed().is_none_or(|failed| failed > *limit))
    {
        let why = match by {
            LimitedBy::Mss => "the server, or a clamp on the way, allows no larger packets",
            LimitedBy::Flight => "the server sent no larger packet",
            LimitedBy::Learnt => "the kernel had learnt this path MTU and tries no more",
            LimitedBy::MtuProbing => "net.ipv4.tcp_mtu_probing=2 makes the kernel begin small",
        };
        return (if limit < top { Confidence::AtLeast } else { Confidence::Sure }, Some(why));
    }
    match evidence.failed() {
        Some(failed) if evidence.refutations() >= needed && failed == proven + 1 => (Confidence::Sure, None),
        Some(_) if evidence.refutations() >= needed => {
            (Confidence::AtLeast, Some("the next sizes were not tried one by one"))
        }
        _ => (Confidence::AtLeast, Some(late)),
    }
}

/// The verdict on UDP takes the place of one by which TCP works: a clamp does not help UDP. Where
/// routers report the path MTU, QUIC adapts as TCP does. A server without QUIC is silent, so
/// silence counts only if something shows that it speaks QUIC.
pub(super) fn with_udp(code: Code, udp: Option<&Udp>, from_host: Option<FromHost>) -> Code {
    let (Some(udp), Severity::Fine) = (udp, code.severity()) else { return code };
    let speaks_quic = from_host.is_some_and(|host| host.quic);
    match (code, udp) {
        (Code::PmtudWorks | Code::PmtuLearnt, _) => code,
        (_, Udp { failed: Some(_), .. }) => Code::UdpNarrow,
        (Code::Fine, Udp { refused: Some(_), .. }) => Code::QuicBlocked,
        (Code::Fine, Udp { answered: false, .. }) if speaks_quic => Code::QuicBlocked,
        _ => code,
    }
}

/// If a server answers QUIC over one family and not over the other, UDP is blocked there.
pub(super) fn mark_blocked_quic(paths: &mut [PathReport]) {
    let answers = |path: &PathReport| path.udp.as_ref().is_some_and(|udp| udp.answered);
    let speaking: Vec<(String, u16)> =
        paths.iter().filter(|path| answers(path)).map(|path| (path.server.clone(), path.port)).collect();
    for path in paths {
        let speaks = speaking.iter().any(|(server, port)| *server == path.server && *port == path.port);
        if speaks && path.verdict == Code::Fine && path.udp.as_ref().is_some_and(|udp| !udp.answered) {
            path.verdict = Code::QuicBlocked;
        }
    }
}
