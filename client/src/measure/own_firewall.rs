//! Whether a rule of this host is what keeps a connection from being made. Time does not tell: a server nearby refuses as fast.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::path::towards;

/// How often a connection is tried: other programs may send something at the same moment.
const TRIES: u32 = 5;

/// How long an answer of this host's own may take.
const PATIENCE: Duration = Duration::from_millis(50);

/// Whether a rule of this host drops what is sent: the kernel tells the sender of a UDP packet, and not TCP.
pub(super) fn drops(to: SocketAddr) -> bool {
    let refused = |error: io::Error| matches!(error.kind(), ErrorKind::PermissionDenied);
    towards(to).is_ok_and(|socket| socket.send(&[0; 12]).is_err_and(refused))
}

/// Whether connections are refused though nothing leaves by the link: whoever refuses is this host.
pub(super) fn rejects(to: SocketAddr, link: &str) -> bool {
    (0..TRIES).any(|_| {
        let before = sent(link);
        let refused = TcpStream::connect_timeout(&to, PATIENCE).is_err_and(|error| error.kind() != ErrorKind::TimedOut);
        refused && before.is_some() && before == sent(link)
    })
}

/// The packets that a link has sent, in the network of the calling thread.
fn sent(link: &str) -> Option<u64> {
    packets(&fs::read_to_string("/proc/thread-self/net/dev").ok()?, link)
}

/// Reads it off the table of proc(5): eight counters of what was received, then those of what was sent, bytes first.
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
