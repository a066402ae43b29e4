//! A reader that dumps the table a thousand times a second to find moments without it.
//!
//! nft(8) would be too slow for that, so the reader uses `nfnetlink` itself
//! (`linux/netfilter/nf_tables.h`). Only two facts of the answers matter for a gap: whether the set
//! has the link, and how many rules there are.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};
use serde_json::json;

use crate::Result;

const TABLE: &str = "airpods";
const SET: &str = "links";

/// `NFPROTO_INET`
const INET: u8 = 1;
/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const NF_TABLES: u16 = 0x0a00;
const NEW_RULE: u16 = NF_TABLES | 0x06;
const GET_RULE: u16 = NF_TABLES | 0x07;
const GET_ELEMENTS: u16 = NF_TABLES | 0x0d;
/// `NLMSG_ERROR`, `NLMSG_DONE`
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`, and `NLM_F_DUMP_INTR`: the list changed during the dump.
const LIST: u16 = 0x301;
const INTERRUPTED: u16 = 0x10;
/// The length of an interface's name in a set, in bytes (`IFNAMSIZ`).
const NAME: usize = 16;

/// The time between two dumps.
const PERIOD: Duration = Duration::from_millis(1);

/// Reads until the end of standard input, then prints what it saw. Its first line reports that it
/// has seen the link.
pub(crate) fn read(link: &str) -> Result<()> {
    let reader = Reader::open(link)?;
    let Some(rules) = reader.look()?.filter(|rules| *rules > 0) else {
        return Err(format!("{link} is not in the table").into());
    };
    println!("{}", json!({ "rules": rules }));
    let end = std::thread::spawn(|| io::stdin().read_to_end(&mut Vec::new()));
    let (began, mut rounds, mut longest, mut gaps) = (Instant::now(), 0_u64, Duration::ZERO, Vec::new());
    while !end.is_finished() {
        let round = Instant::now();
        let seen = reader.look()?;
        if seen != Some(rules) {
            gaps.push(json!({ "at_ms": began.elapsed().as_secs_f64() * 1e3, "rules": seen }));
        }
        std::thread::sleep(PERIOD.saturating_sub(round.elapsed()));
        rounds += 1;
        longest = longest.max(round.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({ "rounds": rounds, "seconds": seconds, "longest_ms": longest.as_secs_f64() * 1e3, "gaps": gaps })
    );
    Ok(())
}

/// A message's type and what follows its head.
type Message = (u16, Vec<u8>);

struct Reader {
    socket: OwnedFd,
    key: [u8; NAME],
}

impl Reader {
    fn open(link: &str) -> Result<Self> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        let mut key = [0; NAME];
        key.get_mut(..link.len()).ok_or("the name is too long")?.copy_from_slice(link.as_bytes());
        Ok(Self { socket, key })
    }

    /// The number of rules while the link is in the set; `None` while the link or the table is
    /// missing.
    fn look(&self) -> Result<Option<usize>> {
        let elements = self.list(GET_ELEMENTS, &[TABLE, SET])?;
        if !elements.iter().any(|(_, body)| body.windows(NAME).any(|part| part == self.key)) {
            return Ok(None);
        }
        let rules = self.list(GET_RULE, &[TABLE])?;
        Ok(Some(rules.iter().filter(|(kind, _)| *kind == NEW_RULE).count()))
    }

    /// The messages of an uninterrupted dump; none if the dumped object does not exist.
    fn list(&self, kind: u16, names: &[&str]) -> Result<Vec<Message>> {
        loop {
            sendto(self.socket.as_raw_fd(), &request(kind, names), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
            if let Some(messages) = self.answer()? {
                return Ok(messages);
            }
        }
    }

    fn answer(&self) -> Result<Option<Vec<Message>>> {
        let (mut messages, mut whole, mut buffer) = (Vec::new(), true, vec![0; 1 << 16]);
        loop {
            let count = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, flags, body) in split(&buffer[..count]) {
                whole &= flags & INTERRUPTED == 0;
                match kind {
                    DONE => return Ok(whole.then_some(messages)),
                    // The table or the set does not exist.
                    ERROR => return Ok(Some(Vec::new())),
                    _ => messages.push((kind, body.to_vec())),
                }
            }
        }
    }
}

/// A dump request whose attributes 1, 2… are the names.
fn request(kind: u16, names: &[&str]) -> Vec<u8> {
    let mut body = vec![INET, 0, 0, 0];
    for (name, number) in names.iter().zip(1_u16..) {
        let length = u16::try_from(4 + name.len() + 1).unwrap_or(u16::MAX);
        body.extend([length.to_ne_bytes(), number.to_ne_bytes()].concat());
        body.extend(name.as_bytes());
        body.push(0);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(LIST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The messages of a datagram: type, flags, body.
fn split(mut datagram: &[u8]) -> Vec<(u16, u16, &[u8])> {
    let mut found = Vec::new();
    while let Some((head, _)) = datagram.split_first_chunk::<8>() {
        let [length @ .., _, _, _, _] = *head;
        let [_, _, _, _, kind @ .., _, _] = *head;
        let [_, _, _, _, _, _, flags @ ..] = *head;
        let length = u32::from_ne_bytes(length) as usize;
        let Some(body) = datagram.get(16..length) else { break };
        found.push((u16::from_ne_bytes(kind), u16::from_ne_bytes(flags), body));
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}
