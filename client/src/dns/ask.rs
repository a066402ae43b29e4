//! Whether names resolve. One query to a name server shows whether it answers at all. The query is
//! sent from the host, or from within a container's network to the servers in its resolv.conf (see
//! [`crate::inside`]). If none answers there, the cause is named.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::parse_resolv_conf;
use crate::config::DnsServers;
use crate::egress::Egress;
use crate::file;
use crate::inside;
use crate::podman::Podman;

/// The name to look up. It exists as long as the DNS itself and reveals nothing about the user. It
/// has dots, because podman's name service answers names without dots by itself.
const NAME: &str = "a.root-servers.net";

/// Time limit for an answer: a slower server is useless.
const TIMEOUT: Duration = Duration::from_secs(3);

/// After this time the query is repeated, since it may be lost.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Size of the buffer for an answer. The largest one without EDNS is smaller (RFC 1035, section
/// 2.3.4).
const ANSWER: usize = 4096;

/// The outcome of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply", content = "why")]
pub enum Reply {
    /// An answer, even if it reports that the name does not exist.
    Answered,
    /// The server answers with an error.
    Failed(String),
    /// The network rejects the query: nothing listens there, or a firewall rejects it.
    Rejected(String),
    /// Nothing came back.
    Silent,
}

/// Asks a server. Blocks for up to three seconds.
#[must_use]
pub fn ask(server: IpAddr) -> Reply {
    try_ask(SocketAddr::new(server, 53)).unwrap_or_else(|error| Reply::Rejected(error.to_string()))
}

fn try_ask(server: SocketAddr) -> io::Result<Reply> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // The kernel reports a rejection (ICMP) only on a connected socket.
    socket.connect(server)?;
    let id = id();
    let question = question(id).map_err(io::Error::other)?;
    let begun = Instant::now();
    let mut sent = Duration::ZERO;
    socket.send(&question)?;
    let mut answer = [0; ANSWER];
    while begun.elapsed() < TIMEOUT {
        // A foreign datagram that arrives earlier does not repeat the query.
        if begun.elapsed() >= sent + RETRY_AFTER {
            sent = begun.elapsed();
            socket.send(&question)?;
        }
        // A read timeout of zero would be an error (`UdpSocket::set_read_timeout`).
        let wait = (sent + RETRY_AFTER).saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv(&mut answer) {
            Ok(length) => {
                if let Some(reply) = answer.get(..length).and_then(|answer| judge(answer, id)) {
                    return Ok(reply);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Reply::Silent)
}

/// The ID only tells an old answer from a new one: a forged answer to this query gains nothing.
fn id() -> u16 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    u16::try_from(nanos & 0xffff).unwrap_or_default()
}

fn question(id: u16) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(NAME)?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec()
}

/// Judges an answer; `None` if it does not belong to this query.
fn judge(answer: &[u8], id: u16) -> Option<Reply> {
    let packet = Packet::parse(answer).ok()?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    Some(match packet.rcode() {
        RCODE::NoError | RCODE::NameError => Reply::Answered,
        other => Reply::Failed(format!("{other:?}")),
    })
}

/// A server, and the outcome of asking it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The server.
    pub server: IpAddr,
    /// The outcome.
    #[serde(flatten)]
    pub reply: Reply,
}

/// The name of the hidden command that asks from within a container's network.
pub const COMMAND: &str = "ask-inside";

/// The number of a container's servers that are asked: resolvers use three (resolv.conf(5),
/// `MAXNS`), and podman may list some more.
const MAX_SERVERS: usize = 8;

/// Time limit for all servers together, which are asked side by side.
const TIMEOUT_INSIDE: Duration = Duration::from_secs(15);

/// Asks from within the network of the process `pid`, in a process of airpods that enters it.
///
/// # Errors
/// The network may not be entered, or the process fails.
pub async fn ask_inside(pid: u32) -> io::Result<Vec<Asked>> {
    let answer = inside::run(COMMAND, pid, &[], TIMEOUT_INSIDE).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// Enters the network of the process `pid` and asks the servers in its resolv.conf. The process
/// cannot leave that network again.
///
/// # Errors
/// The kernel's, mostly that this user may not enter.
pub fn enter_and_ask(pid: u32) -> io::Result<Vec<Asked>> {
    let servers = servers_of(&Path::new(&format!("/proc/{pid}")).join("root"))?;
    inside::enter(pid, inside::NETWORK)?;
    // Threads that start after `enter` are in that network, too.
    Ok(std::thread::scope(|scope| {
        let started: Vec<_> = servers.iter().map(|server| (*server, scope.spawn(move || ask(*server)))).collect();
        let asked = started.into_iter().map(|(server, asked)| {
            // A thread that panicked counts as silence.
            Asked { server, reply: asked.join().unwrap_or(Reply::Silent) }
        });
        asked.collect()
    }))
}

/// The servers to ask, from resolv.conf below a container's root. The container controls that
/// folder, so the path must not lead out of it.
fn servers_of(root: &Path) -> io::Result<Vec<IpAddr>> {
    let conf = file::open_in_root(root, Path::new("etc/resolv.conf"))?;
    let mut servers = parse_resolv_conf(&file::text(conf)?);
    servers.truncate(MAX_SERVERS);
    Ok(servers)
}

/// The facts for the judgement.
#[derive(Clone, Debug, Default)]
struct Facts<'a> {
    /// The answers from within a container's network; `None` if it may not be entered.
    inside: Option<Vec<Asked>>,
    /// The answers of the containers' servers to the host.
    outside: Vec<Asked>,
    /// The link that the host's traffic leaves by.
    egress: Option<&'a Egress>,
    /// The servers come from `auto`.
    auto: bool,
}

/// Asks from within the network of a running container and, if no answer comes, also from the host.
/// Returns the problem as one sentence with its cure.
pub async fn verify(
    podman: &impl Podman,
    container: &str,
    servers: &[IpAddr],
    configured: &DnsServers,
    egress: Option<&Egress>,
) -> Option<String> {
    let pid = podman.inspect_container(container).await.ok()?.pid?;
    let mut facts = Facts { egress, auto: *configured == DnsServers::Auto, ..Facts::default() };
    facts.inside = ask_inside(pid).await.ok();
    if facts.inside.as_deref().is_some_and(is_answered) {
        return None;
    }
    facts.outside = ask_all(servers).await;
    judge_all(&facts)
}

/// Asks these servers from the host, all at once.
pub async fn ask_all(servers: &[IpAddr]) -> Vec<Asked> {
    let asked = servers.iter().map(|server| {
        let server = *server;
        async move {
            // `ask` blocks. A thread that panicked counts as silence.
            let reply = tokio::task::spawn_blocking(move || ask(server)).await.unwrap_or(Reply::Silent);
            Asked { server, reply }
        }
    });
    join_all(asked).await
}

fn is_answered(asked: &[Asked]) -> bool {
    asked.iter().any(|asked| asked.reply == Reply::Answered)
}

fn judge_all(facts: &Facts<'_>) -> Option<String> {
    if facts.inside.as_deref().is_some_and(is_answered) {
        return None;
    }
    let failed: Vec<&Asked> = facts.outside.iter().filter(|asked| asked.reply != Reply::Answered).collect();
    match failed.first() {
        // One server that answers is enough for the host. But podman asks the first one first, so a
        // failing one is reported if the containers got no answer.
        Some(first) if !is_answered(&facts.outside) || facts.inside.is_some() => Some(refusal(facts, first)),
        _ if facts.inside.is_some() => Some(
            "names are not resolved in the containers, though the name servers answer the host: a firewall of the host may \
             stand between; `airpods start --reset-network` makes the network anew"
                .to_owned(),
        ),
        _ => None,
    }
}

fn refusal(facts: &Facts<'_>, asked: &Asked) -> String {
    let server = asked.server;
    let what = match &asked.reply {
        Reply::Rejected(why) => format!("questions to the name server {server} are rejected on the way ({why})"),
        Reply::Failed(code) => format!("the name server {server} refuses to answer ({code})"),
        Reply::Silent | Reply::Answered => format!("the name server {server} does not answer"),
    };
    let vpn = facts.egress.filter(|egress| egress.kind.is_vpn());
    let cause = match vpn {
        Some(egress) => format!(
            ", so containers cannot resolve names: a VPN such as the one behind `{}` may let nobody ask other name servers than its own",
            egress.link
        ),
        None => ", so containers cannot resolve names".to_owned(),
    };
    let cure = if facts.auto {
        "; when the host's own servers have changed, `airpods start` takes the new ones"
    } else {
        "; `airpods config set runtime.network.dns_servers auto` and then `airpods start` takes the host's own"
    };
    format!("{what}{cause}{cure}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use airpods_dbus::LinkKind;
    use nix::libc;
    use nix::sys::stat::Mode;

    use super::*;

    fn answer(id: u16, code: RCODE) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        *packet.rcode_mut() = code;
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn an_answer_that_there_is_no_such_name_is_an_answer_and_a_refusal_is_none() {
        assert_eq!(judge(&answer(7, RCODE::NoError), 7), Some(Reply::Answered));
        assert_eq!(judge(&answer(7, RCODE::NameError), 7), Some(Reply::Answered));
        assert_eq!(judge(&answer(7, RCODE::Refused), 7), Some(Reply::Failed("Refused".to_owned())));
        assert_eq!(judge(&answer(7, RCODE::ServerFailure), 7), Some(Reply::Failed("ServerFailure".to_owned())));
    }

    #[test]
    fn an_unrelated_datagram_is_skipped() {
        assert_eq!(judge(&answer(8, RCODE::NoError), 7), None, "another question's");
        assert_eq!(judge(&question(7).unwrap(), 7), None, "the question itself");
        assert_eq!(judge(b"nonsense", 7), None);
    }

    #[test]
    fn a_closed_port_is_a_rejection_at_once() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let begun = Instant::now();
        let error = try_ask(free).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        assert!(begun.elapsed() < RETRY_AFTER);
    }

    #[test]
    fn a_containers_resolv_conf_is_bounded_or_refused() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("etc/resolv.conf");
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(&conf, "nameserver 10.8.0.1\n".repeat(20_000)).unwrap();
        assert_eq!(servers_of(root.path()).unwrap(), [IpAddr::from([10, 8, 0, 1]); MAX_SERVERS]);
        fs::remove_file(&conf).unwrap();
        nix::unistd::mkfifo(&conf, Mode::S_IRWXU).unwrap();
        assert_eq!(servers_of(root.path()).unwrap_err().kind(), ErrorKind::InvalidData, "a pipe is not waited for");
        fs::remove_file(&conf).unwrap();
        // Links are resolved within the root, so they reach neither a file nor a device of the
        // host.
        for target in ["/etc/hostname", "../../../../../dev/zero", "/proc/self/root/etc/hostname"] {
            symlink(target, &conf).unwrap();
            assert_eq!(servers_of(root.path()).unwrap_err().kind(), ErrorKind::NotFound, "{target}");
            fs::remove_file(&conf).unwrap();
        }
    }

    fn asked(server: &str, reply: Reply) -> Asked {
        Asked { server: server.parse().unwrap(), reply }
    }

    fn rejected() -> Reply {
        Reply::Rejected("Connection refused (os error 111)".to_owned())
    }

    fn wg0() -> Egress {
        let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
        Egress { link: "wg0".to_owned(), index: 9, kind, mtu: 1380 }
    }

    #[test]
    fn an_answer_within_the_network_is_all_it_takes() {
        let inside = Some(vec![asked("10.89.0.1", Reply::Answered)]);
        assert_eq!(judge_all(&Facts { inside, outside: vec![asked("1.1.1.1", rejected())], ..Facts::default() }), None);
    }

    #[test]
    fn a_vpn_that_rejects_other_servers_is_named_with_the_cure() {
        let egress = wg0();
        let facts = Facts {
            inside: Some(vec![asked("10.89.0.1", Reply::Failed("ServerFailure".to_owned()))]),
            outside: vec![asked("1.1.1.1", rejected())],
            egress: Some(&egress),
            auto: false,
        };
        let finding = judge_all(&facts).unwrap();
        for part in ["1.1.1.1", "are rejected", "`wg0`", "other name servers than its own", "dns_servers auto"] {
            assert!(finding.contains(part), "{part}: {finding}");
        }
        let finding = judge_all(&Facts { auto: true, ..facts }).unwrap();
        assert!(!finding.contains("config set") && finding.contains("`airpods start` takes the new ones"), "{finding}");
    }

    #[test]
    fn without_a_vpn_none_is_named_as_the_cause() {
        let outside = vec![asked("192.0.2.1", Reply::Silent)];
        let finding = judge_all(&Facts { outside, ..Facts::default() }).unwrap();
        assert!(
            finding.starts_with("the name server 192.0.2.1 does not answer") && !finding.contains("VPN"),
            "{finding}"
        );
    }

    #[test]
    fn servers_that_answer_only_the_host_are_distinguished() {
        let facts = Facts {
            inside: Some(vec![asked("10.89.0.1", Reply::Silent)]),
            outside: vec![asked("10.64.0.1", Reply::Answered)],
            ..Facts::default()
        };
        assert!(judge_all(&facts).unwrap().contains("answer the host"));
    }

    #[test]
    fn where_the_network_may_not_be_entered_a_server_that_answers_the_host_is_believed() {
        let outside = vec![asked("10.64.0.1", Reply::Silent), asked("10.64.0.2", Reply::Answered)];
        assert_eq!(judge_all(&Facts { outside, ..Facts::default() }), None);
    }
}
