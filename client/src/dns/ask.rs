//! One question to a name server, to see whether it answers at all: from the host, or from within a container's network to
//! the servers that its resolv.conf names, see [`crate::inside`].

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::servers;
use crate::file;
use crate::inside::{self, enter};

/// The name asked for: one that exists as long as the internet's names do, tells nobody anything, and has dots, without
/// which podman's name service would answer by itself.
const NAME: &str = "a.root-servers.net";

/// How long a server has to answer: one that takes longer is of no use to anybody.
const PATIENCE: Duration = Duration::from_secs(3);

/// After this time the question is sent again: it may have got lost.
const AGAIN: Duration = Duration::from_secs(1);

/// The largest answer without EDNS (RFC 1035, section 2.3.4), and then some.
const ANSWER: usize = 4096;

/// The outcome of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply", content = "why")]
pub enum Reply {
    /// An answer, if only that there is no such name.
    Answered,
    /// The server answers that it cannot or will not.
    Failed(String),
    /// The network rejects the question: nothing listens there, or a firewall says no.
    Rejected(String),
    /// Nothing came back.
    Silent,
}

/// Asks a server and waits for what comes. Blocks for up to three seconds.
#[must_use]
pub fn ask(server: IpAddr) -> Reply {
    try_ask(SocketAddr::new(server, 53)).unwrap_or_else(|error| Reply::Rejected(error.to_string()))
}

fn try_ask(server: SocketAddr) -> io::Result<Reply> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // A connected socket is told when the network rejects what it sent.
    socket.connect(server)?;
    let id = id();
    let question = question(id).map_err(io::Error::other)?;
    let begun = Instant::now();
    let mut sent = Duration::ZERO;
    socket.send(&question)?;
    let mut answer = [0; ANSWER];
    while begun.elapsed() < PATIENCE {
        // Whatever else arrives meanwhile is no reason to ask again.
        if begun.elapsed() >= sent + AGAIN {
            sent = begun.elapsed();
            socket.send(&question)?;
        }
        let wait = (sent + AGAIN).saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
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

/// Nobody gains from a forged answer to this question; the number only tells an old answer from a new one.
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

/// `None` if it is no answer to this question.
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

/// What a server said that was asked from within.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The server.
    pub server: IpAddr,
    /// Its output.
    #[serde(flatten)]
    pub reply: Reply,
}

/// The name of the hidden command that does it.
pub const COMMAND: &str = "ask-inside";

/// How many servers of a container are asked: resolvers ask three (resolv.conf(5), `MAXNS`), and podman may list some more.
const MOST: usize = 8;

/// How long all of them may take together: they are asked side by side.
const PATIENCE_INSIDE: Duration = Duration::from_secs(15);

/// Asks from within the network of the process `pid`, by a process of our own.
///
/// # Errors
/// Where that may not be entered.
pub async fn ask_inside(pid: u32) -> io::Result<Vec<Asked>> {
    let answer = inside::run(COMMAND, pid, &[], PATIENCE_INSIDE).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// Enters the network of the process `pid` for good and asks the servers that its resolv.conf names.
///
/// # Errors
/// The kernel's, mostly that this user may not.
pub fn enter_and_ask(pid: u32) -> io::Result<Vec<Asked>> {
    let servers = servers_of(&Path::new(&format!("/proc/{pid}")).join("root"))?;
    enter(pid)?;
    // Threads that are started now are in there as well.
    Ok(std::thread::scope(|scope| {
        let started: Vec<_> = servers.iter().map(|server| (*server, scope.spawn(move || ask(*server)))).collect();
        let asked = started.into_iter().map(|(server, asked)| {
            // A thread that ended without an answer got none.
            Asked { server, reply: asked.join().unwrap_or(Reply::Silent) }
        });
        asked.collect()
    }))
}

/// The servers that are asked of those below the root of a container, which wrote what is there.
fn servers_of(root: &Path) -> io::Result<Vec<IpAddr>> {
    let conf = file::open_in_root(root, Path::new("etc/resolv.conf"))?;
    let mut servers = servers::parse_resolv_conf(&file::text(conf)?);
    servers.truncate(MOST);
    Ok(servers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

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
    fn what_is_no_answer_to_the_question_is_passed_over() {
        assert_eq!(judge(&answer(8, RCODE::NoError), 7), None, "another question's");
        assert_eq!(judge(&question(7).unwrap(), 7), None, "the question itself");
        assert_eq!(judge(b"nonsense", 7), None);
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_a_rejection_at_once() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let begun = Instant::now();
        let error = try_ask(free).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        assert!(begun.elapsed() < AGAIN);
    }

    #[test]
    fn what_a_container_has_in_place_of_its_resolv_conf_is_bounded_or_refused() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("etc/resolv.conf");
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(&conf, "nameserver 10.8.0.1\n".repeat(20_000)).unwrap();
        assert_eq!(servers_of(root.path()).unwrap(), [IpAddr::from([10, 8, 0, 1]); MOST]);
        fs::remove_file(&conf).unwrap();
        nix::unistd::mkfifo(&conf, Mode::S_IRWXU).unwrap();
        assert_eq!(servers_of(root.path()).unwrap_err().kind(), ErrorKind::InvalidData, "a pipe is not waited for");
        fs::remove_file(&conf).unwrap();
        // Within the root, so that neither the host's file nor a device of the host is what it leads to.
        for target in ["/etc/hostname", "../../../../../dev/zero", "/proc/self/root/etc/hostname"] {
            symlink(target, &conf).unwrap();
            assert_eq!(servers_of(root.path()).unwrap_err().kind(), ErrorKind::NotFound, "{target}");
            fs::remove_file(&conf).unwrap();
        }
    }
}
