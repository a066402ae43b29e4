//! Reads everybody's rules.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use airpods_dbus::Foreign;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use super::attribute::Attributes;
use super::socket::{Read, Request, Socket};
use super::subsystem;
use crate::kernel::foreign::{Found, Traces};
use crate::kernel::table::wire::NFGENMSG;

/// `NFTA_GEN_ID` of `linux/netfilter/nf_tables.h`.
const NFTA_GEN_ID: u16 = 1;

/// How often the rules are read while they keep changing. What was read last is reported then, as not whole.
const ATTEMPTS: u32 = 3;

/// A transaction has taken effect so long after its number was raised.
const SETTLED: Duration = Duration::from_secs(1);

/// How many rules use the target, if the kernel has it as a module.
const MODULE_USERS: &str = "/sys/module/xt_TCPMSS/refcnt";

/// Reads the rules again only when they have changed: anybody may ask for a status, as often as they like.
#[derive(Debug)]
pub(super) struct Reader {
    /// A socket of its own: closing it, which ends a dump that was left, must not close the one that owns the table.
    socket: Socket,
    /// The folder in /proc of the network namespace that the socket is in.
    net: PathBuf,
    known: Option<Known>,
}

/// What was read.
#[derive(Debug)]
struct Known {
    /// The number of the rules' state then.
    generation: u32,
    /// When that number was first seen.
    seen: Instant,
    /// When the rules were read.
    read: Instant,
    found: Found,
}

impl Known {
    /// Whether it need not be read again. The kernel raises the number shortly before a transaction takes effect
    /// (`nf_tables_commit`): what was read soon after the number was first seen may still be what was before.
    fn holds(&self, now: Instant) -> bool {
        let since = |earlier, later: Instant| later.saturating_duration_since(earlier);
        since(self.seen, self.read) >= SETTLED || since(self.read, now) < SETTLED
    }
}

impl Reader {
    /// A reader for the network namespace of this thread.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, 0)?;
        let thread = fs::read_link("/proc/thread-self").unwrap_or_else(|_| "self".into());
        Ok(Self { socket, net: PathBuf::from("/proc").join(thread).join("net"), known: None })
    }

    /// The clamps of others.
    pub(super) fn read(&mut self) -> io::Result<Result<Foreign, Errno>> {
        let generation = match self.generation()? {
            Ok(generation) => generation,
            Err(errno) => return Ok(Err(errno)),
        };
        let read = Instant::now();
        let known = self.known.take().filter(|known| generation == Some(known.generation));
        let seen = known.as_ref().map_or(read, |known| known.seen);
        let known = match known.filter(|known| known.holds(read)) {
            Some(known) => known,
            None => match self.rules()? {
                Ok(found) => Known { generation: generation.unwrap_or_default(), seen, read, found },
                Err(errno) => return Ok(Err(errno)),
            },
        };
        let report = known.found.report(self.traces());
        self.known = generation.is_some().then_some(known);
        Ok(Ok(report))
    }

    /// The number of the rules' present state.
    fn generation(&mut self) -> io::Result<Result<Option<u32>, Errno>> {
        let request = Request { kind: subsystem(libc::NFT_MSG_GETGEN), body: vec![0; NFGENMSG] };
        let answer = self.socket.ask(&[request])?.pop();
        let generation = |body: &Vec<u8>| Attributes::new(body.get(NFGENMSG..).unwrap_or_default()).be32(NFTA_GEN_ID);
        Ok(answer.transpose().map(|body| body.as_ref().and_then(generation)))
    }

    /// Reads all rules of all families: of none in particular (`NFPROTO_UNSPEC`), and of no table.
    fn rules(&mut self) -> io::Result<Result<Found, Errno>> {
        let request = Request { kind: subsystem(libc::NFT_MSG_GETRULE), body: vec![0; NFGENMSG] };
        let mut last = Found::default();
        for _ in 0..ATTEMPTS {
            let mut found = Found::default();
            match self.socket.read(&request, &mut |rule| found.take(rule))? {
                Ok(Read::Whole) => return Ok(Ok(found.finish(true))),
                Ok(Read::Left) => {
                    self.socket.leave(SockProtocol::NetlinkNetFilter)?;
                    return Ok(Ok(found));
                }
                Ok(Read::Torn) => last = found,
                Err(errno) => return Ok(Err(errno)),
            }
        }
        Ok(Ok(last))
    }

    fn traces(&self) -> Traces {
        let is_there = |file: &str| self.net.join(file).try_exists().ok();
        let can_have_tables = match (is_there("ip_tables_names"), is_there("ip6_tables_names")) {
            (Some(false), Some(false)) => Some(false),
            (Some(true), _) | (_, Some(true)) => Some(true),
            _ => None,
        };
        let users = fs::read_to_string(MODULE_USERS).ok().and_then(|text| text.trim().parse().ok());
        Traces { can_have_tables, users }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_while_the_rules_changed_is_read_again_once_they_are_settled() {
        let seen = Instant::now();
        let after = |read: u64| Known {
            generation: 7,
            seen,
            read: seen + Duration::from_millis(read),
            found: Found::default(),
        };
        let later = |now: u64| seen + Duration::from_millis(now);
        assert!(after(0).holds(later(900)), "a flood of questions is answered from one reading");
        assert!(!after(0).holds(later(1_000)));
        assert!(after(1_000).holds(later(1_000_000)), "from then on it holds as long as the number does");
    }
}
