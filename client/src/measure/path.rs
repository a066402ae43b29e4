//! Measures one path from the network of this process: the host's, or a container's that it has
//! entered.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
use serde::{Deserialize, Serialize};

use super::findings::{Findings, Subject, confirm, confirming, greet};
use super::report::{Confidence, Direction, Family, LimitedBy, PathReport, TransferReport, Udp};
use super::run::{Budget, Deadline};
use super::search::{FAILURES_NEEDED_UP, SYN_TIMEOUT, failures_needed_down, search};
use super::socket::Sockets;
use super::transfer::{LIMIT, PADDING, transfer};
use super::verdict::{Code, FromHost, PathFacts, direction, judge, narrow, value, with_udp};
use super::{Stage, quic};
use crate::egress::egress;

/// The measurement to make. A process that enters a container's network reads it as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) family: Family,
    /// The server that sizes are measured with.
    pub(super) server: Server,
    /// A second server, which only confirms.
    pub(super) second: Option<Server>,
    /// Sizes at which the path is likely to end.
    pub(super) hints: Vec<u16>,
    /// Make plain transfers as well.
    pub(super) proof: bool,
    /// Make only plain transfers: a program of the host opens the connections, so sizes inside show
    /// nothing.
    pub(super) transfers_only: bool,
    /// Try UDP as well.
    pub(super) udp: bool,
    /// The value that the helper clamps the link to, if it is a fixed one.
    pub(super) clamped: Option<u16>,
    /// The moment at which it has to end.
    pub(super) deadline: Deadline,
    /// The host's own measurement, for a container's network.
    pub(super) from_host: Option<FromHost>,
}

/// A server, as its addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) host: String,
    /// The server name (SNI) for the hello; `None` for an address.
    pub(super) name: Option<String>,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Server {
    fn port(&self) -> u16 {
        self.addresses.first().map_or(0, SocketAddr::port)
    }
}

/// The largest packet to try: no public path is expected to carry more than Ethernet's 1500 bytes.
const LARGEST: u32 = 1500;

/// An address of the server, and the MTUs that the kernel knows for it.
struct Destination {
    to: SocketAddr,
    link_mtu: Option<u32>,
    known: Result<u32, Errno>,
}

/// Measures one path.
pub(super) fn measure(job: &Job, stop: &AtomicBool, on_progress: &(dyn Fn(Stage) + Sync)) -> PathReport {
    let begun = Instant::now();
    let Some(destination) = destination_of(&job.server) else { return unresolved(job, "the server has no address") };
    let link = u16::try_from(destination.link_mtu.unwrap_or(LARGEST).min(LARGEST)).unwrap_or(u16::MAX);
    let known = destination.known.map_or(link, |known| u16::try_from(known).unwrap_or(u16::MAX).min(link));
    let subject = Subject {
        ipv6: job.family == Family::Ipv6,
        name: job.server.name.clone(),
        top: known,
        hints: job.hints.clone(),
        probing: is_probing(),
    };
    let mut facts = PathFacts {
        ipv6: subject.ipv6,
        top: link,
        learnt: (known < link).then_some(known),
        no_route: destination.known.err(),
        clamped: job.clamped,
        from_host: job.from_host,
        ..PathFacts::default()
    };
    let mut sockets = Sockets::new(destination.to, begun, stop);
    if job.transfers_only {
        on_progress(Stage::Transfers);
        return only_transfers(job, &subject, &mut sockets, begun);
    }
    let mut findings = if destination.known.is_ok() {
        search(&mut sockets, &subject, Budget::within(job.deadline.left()), on_progress)
    } else {
        Findings::default()
    };
    if let Some(learnt) = facts.learnt {
        findings.up.limit_to(learnt, LimitedBy::Learnt);
    }
    try_others(job, &subject, &destination, &mut findings, &mut facts, stop, on_progress);
    let may_try_udp = job.udp && findings.tls && job.deadline.left() > quic::longest(findings.rtt);
    // UDP often ends at the same size as TCP.
    let hints: Vec<u16> = findings.up.proven.into_iter().collect();
    let udp = may_try_udp.then(|| quic::measure(destination.to, link, &hints, findings.rtt, stop).ok()).flatten();
    let transfers = (job.proof && findings.connected && job.deadline.left() > LIMIT).then(|| {
        // If a filter drops large hellos, a padded transfer would fail for that reason and show
        // nothing about sizes.
        on_progress(Stage::Transfers);
        let padding = if findings.big_hello == Some(false) { 0 } else { PADDING };
        let made = transfer(&mut sockets, subject.ipv6, subject.name.as_deref(), padding, &mut findings.spent);
        TransferReport { answers: made.answers || findings.tls, ..made }
    });
    findings.took = begun.elapsed();
    report(job, &findings, &facts, udp, transfers)
}

fn report(
    job: &Job,
    findings: &Findings,
    facts: &PathFacts,
    udp: Option<Udp>,
    transfers: Option<TransferReport>,
) -> PathReport {
    let code = with_udp(judge(findings, facts), udp.as_ref(), job.from_host);
    let errors = findings.refusals.iter().find_map(|(errno, _)| *errno).filter(|_| !findings.connected);
    let mut up = direction(&findings.up, facts, FAILURES_NEEDED_UP, findings.cut_short);
    let mut down = direction(&findings.down, facts, failures_needed_down(&findings.down), findings.cut_short);
    let doubt = if findings.differs {
        Some("some connections carry less")
    } else {
        facts.others_unasked.then_some("there was no time to confirm it with another server")
    };
    if let Some(doubt) = doubt {
        for direction in [&mut up, &mut down].into_iter().filter(|direction| direction.proven.is_some()) {
            direction.confidence = direction.confidence.min(Confidence::AtLeast);
            direction.reason = Some(doubt.to_owned());
        }
    }
    if !findings.tls {
        // A server that sends nothing does not show that packets vanish.
        down.failed = None;
    }
    PathReport {
        family: job.family,
        server: job.server.host.clone(),
        port: job.server.port(),
        top: facts.top,
        learnt: facts.learnt,
        up,
        down,
        udp,
        narrow_to: value(findings),
        verdict: code,
        error: facts.no_route.or(errors).map(|errno| errno.desc().to_owned()),
        rtt_ms: findings.min_rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        transfers,
        seconds: findings.took.as_secs_f64(),
        connections: findings.spent.connections,
        bytes_up: findings.spent.bytes,
    }
}

/// The reason if time ran out before anything was measured.
pub(super) const LATE: &str = "there was no time left";

/// A report without a measurement, and the reason.
pub(super) fn unresolved(job: &Job, why: &str) -> PathReport {
    let direction = Direction { reason: Some(why.to_owned()), ..Direction::default() };
    PathReport {
        up: direction.clone(),
        down: direction,
        ..PathReport::without(job.family, &job.server.host, job.server.port(), Code::NotMeasured)
    }
}

fn only_transfers(job: &Job, subject: &Subject, sockets: &mut Sockets<'_>, begun: Instant) -> PathReport {
    if job.deadline.left() < LIMIT {
        return unresolved(job, LATE);
    }
    let mut findings = Findings::default();
    let mut made = transfer(sockets, subject.ipv6, subject.name.as_deref(), PADDING, &mut findings.spent);
    if made.completed < made.of && job.deadline.left() > SYN_TIMEOUT {
        let (reaction, spent) = greet(sockets, subject);
        made.answers |= reaction.answers;
        findings.spent.connections += spent.connections;
    }
    let host = job.from_host.unwrap_or_default();
    let code = match made.completed {
        0 if host.whole => Code::ContainerCut,
        _ => Code::Fine,
    };
    PathReport {
        transfers: Some(made),
        seconds: begun.elapsed().as_secs_f64(),
        connections: findings.spent.connections,
        ..PathReport::without(job.family, &job.server.host, job.server.port(), code)
    }
}

/// Contacts the second server. If the first one is silent, it shows whether any server answers; if
/// the path is narrow, whether it ends there as well. Also finds out whether a firewall of this
/// host is the cause.
fn try_others(
    job: &Job,
    subject: &Subject,
    destination: &Destination,
    findings: &mut Findings,
    facts: &mut PathFacts,
    stop: &AtomicBool,
    on_progress: &dyn Fn(Stage),
) {
    if !findings.connected {
        let link = egress(destination.to.ip()).ok().flatten().map(|egress| egress.link);
        let rejects = |link: String| rejects(destination.to, &link);
        let is_refused = findings.refusals.iter().any(|(errno, _)| errno.is_some());
        facts.own_firewall = drops(destination.to) || is_refused && link.is_some_and(rejects);
    }
    let Some((second, to)) = job.second.as_ref().and_then(|second| Some((second, destination_of(second)?.to))) else {
        return;
    };
    let (up, down) = narrow(findings);
    let silent = !findings.tls && !findings.alert && !findings.not_tls;
    if !(up || down || silent) || facts.no_route.is_some() {
        return;
    }
    let left = job.deadline.left();
    // With less time a server that answers could seem silent.
    if left < if silent { SYN_TIMEOUT } else { confirming(findings) } {
        facts.others_unasked = true;
        return;
    }
    let mut sockets = Sockets::new(to, Instant::now(), stop);
    let subject = Subject { name: second.name.clone(), ..subject.clone() };
    let spent = if silent {
        let (reaction, spent) = greet(&mut sockets, &subject);
        facts.others_tried = true;
        facts.others_answer = if findings.connected { reaction.answers } else { reaction.connects };
        spent
    } else {
        let (outcome, spent) = confirm(&mut sockets, &subject, findings, on_progress);
        findings.second = outcome;
        spent
    };
    findings.spent.connections += spent.connections;
    findings.spent.bytes += spent.bytes;
}

/// The address for which the kernel has learnt no smaller path MTU, or else the first. `None` if
/// there is no address.
fn destination_of(server: &Server) -> Option<Destination> {
    let mut first = None;
    for to in server.addresses.iter().take(2) {
        let known = known_mtu(*to);
        let link_mtu = egress(to.ip()).ok().flatten().map(|egress| egress.mtu);
        let destination = Destination { to: *to, link_mtu, known };
        if let (Ok(known), Some(link)) = (&destination.known, link_mtu)
            && *known >= link.min(LARGEST)
        {
            return Some(destination);
        }
        first.get_or_insert(destination);
    }
    first
}

/// A UDP socket connected to an address. Nothing is sent.
pub(super) fn towards(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

/// The path MTU that the kernel uses (`IP_MTU` in ip(7)), or why no route leads there.
fn known_mtu(to: SocketAddr) -> Result<u32, Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO));
    let socket = towards(to).map_err(errno)?;
    let mtu = if to.is_ipv4() { ip_mtu(&socket) } else { ipv6_mtu(&socket) };
    mtu.map_err(|error| errno(error.into()))
}

fn is_probing() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mtu_probing").is_ok_and(|text| text.trim() == "2")
}

/// How often a connection is tried: another program may send a packet over the link at the same
/// moment.
const TRIES: u32 = 5;

/// Time for an answer that this host itself gives.
const TIMEOUT: Duration = Duration::from_millis(50);

/// Whether a rule of this host drops what is sent: the kernel reports that to the sender of a UDP
/// packet (`EPERM`), but not to TCP.
pub(super) fn drops(to: SocketAddr) -> bool {
    let refused = |error: io::Error| matches!(error.kind(), ErrorKind::PermissionDenied);
    towards(to).is_ok_and(|socket| socket.send(&[0; 12]).is_err_and(refused))
}

/// Whether connections are refused although no packet leaves by the link: then this host refuses
/// them.
pub(super) fn rejects(to: SocketAddr, link: &str) -> bool {
    (0..TRIES).any(|_| {
        let before = sent(link);
        let refused = TcpStream::connect_timeout(&to, TIMEOUT).is_err_and(|error| error.kind() != ErrorKind::TimedOut);
        refused && before.is_some() && before == sent(link)
    })
}

/// The number of packets that a link has sent, in the network of the calling thread.
fn sent(link: &str) -> Option<u64> {
    packets(&fs::read_to_string("/proc/thread-self/net/dev").ok()?, link)
}

/// Reads that number from the table in proc(5): eight counters of received data, then those of sent
/// data, bytes first.
fn packets(table: &str, link: &str) -> Option<u64> {
    let counters = table.lines().find_map(|line| line.trim_start().strip_prefix(link)?.strip_prefix(':'))?;
    counters.split_ascii_whitespace().nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_packets_that_a_link_has_sent_are_read_off_the_kernels_table() {
        let table = "Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
lo:  100  2  0 0 0 0 0 0  300  4 0 0 0 0 0 0
  wg0:1100 12  0 0 0 0 0 0 1300 14 0 0 0 0 0 0
";
        assert_eq!((packets(table, "wg0"), packets(table, "lo"), packets(table, "wg")), (Some(14), Some(4), None));
        assert!(sent("lo").is_some());
    }

    #[test]
    fn a_server_that_refuses_is_no_rule_however_near_it_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        assert!(!rejects(closed, "lo"), "its answer has left by the link");
    }
}
