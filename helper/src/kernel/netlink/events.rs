//! Monitors links, addresses, routes, routing rules, and other programs' changes of our table.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::SockProtocol;

use super::failed;
use super::socket::Socket;
use crate::kernel::table::NAME;
use crate::kernel::wire::{Attributes, Message};
use crate::kernel::{Event, Events, KernelError};

/// Groups of `linux/rtnetlink.h`, one bit each.
#[allow(clippy::cast_sign_loss)]
const ROUTE_GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV4_RULE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE) as u32
    // The old `RTMGRP_*` masks do not include it.
    | 1 << (libc::RTNLGRP_IPV6_RULE - 1);

/// The group of `linux/netfilter/nfnetlink.h`, as a bit.
const NFTABLES_GROUP: u32 = 1 << (libc::NFNLGRP_NFTABLES - 1);

/// Attributes of `NFT_MSG_NEWGEN`, `linux/netfilter/nf_tables.h`.
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;

/// Upper bound on a process's name in bytes, `TASK_COMM_LEN` of `linux/sched.h`.
pub(super) const LONGEST_NAME: usize = 16;

/// Two sockets for events, behind one epoll descriptor.
#[derive(Debug)]
pub(super) struct Monitor {
    epoll: Epoll,
    network: Socket,
    rules: Socket,
    filter: RuleFilter,
}

impl Monitor {
    /// Subscribes to events. Ignores transactions of the socket with the netlink port `own`.
    pub(super) fn open(own: u32) -> io::Result<Self> {
        let network = Socket::open(SockProtocol::NetlinkRoute, ROUTE_GROUPS)?;
        let rules = Socket::open(SockProtocol::NetlinkNetFilter, NFTABLES_GROUP)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for socket in [&network, &rules] {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        Ok(Self { epoll, network, rules, filter: RuleFilter::new(own) })
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Events for Monitor {
    fn drain(&mut self) -> Result<Vec<Event>, KernelError> {
        let (mut has_changed, mut events) = (false, Vec::new());
        // The content does not matter: one event makes the helper read everything again.
        let network = self.network.take(&mut |_| {
            has_changed = true;
            ControlFlow::Continue(())
        });
        let rules = self.rules.take(&mut |message| {
            events.extend(self.filter.event(message));
            ControlFlow::Continue(())
        });
        let was_lost = network.and_then(|was_lost| Ok(rules? || was_lost)).map_err(failed("watching for changes"))?;
        events.dedup();
        events.extend(was_lost.then_some(Event::Overrun));
        events.extend(has_changed.then_some(Event::Network));
        Ok(events)
    }
}

/// Recognises other programs' transactions on our table. The kernel first reports each object that
/// a transaction touched. Then it reports the new generation, with the process that made it.
#[derive(Debug)]
pub(super) struct RuleFilter {
    own: u32,
    touched: bool,
}

impl RuleFilter {
    /// A filter that ignores the transactions of the netlink port `own`.
    pub(super) fn new(own: u32) -> Self {
        Self { own, touched: false }
    }

    pub(super) fn event(&mut self, message: &Message<'_>) -> Option<Event> {
        if !message.is_of_table() || message.port == self.own {
            return None;
        }
        let (header, body) = message.body.split_first_chunk::<4>()?;
        let attributes = Attributes::new(body);
        if i32::from(message.kind & 0xff) == libc::NFT_MSG_NEWGEN {
            return std::mem::take(&mut self.touched).then(|| author(attributes));
        }
        // Attribute 1 of every object names its table: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE,
        // NFTA_RULE_TABLE …
        let inet = i32::from(header[0]) == libc::NFPROTO_INET;
        self.touched |= inet && attributes.text(1) == Some(NAME);
        None
    }
}

/// The event for a transaction of another program, with the process that the kernel names.
fn author(attributes: Attributes<'_>) -> Event {
    let name = attributes.get(NFTA_GEN_PROC_NAME).unwrap_or_default();
    let name = name.iter().copied().take(LONGEST_NAME).take_while(|byte| *byte != 0).collect::<Vec<_>>();
    let program = String::from_utf8_lossy(&name).into_owned();
    Event::Rules { pid: attributes.be32(NFTA_GEN_PROC_PID).unwrap_or_default(), program }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::wire::attribute;

    fn message(kind: i32, port: u32, body: &[u8]) -> Option<Message<'_>> {
        let kind = u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | kind).ok()?;
        Some(Message { kind, flags: 0, sequence: 0, port, body })
    }

    /// `struct nfgenmsg` for inet, and the table's name as attribute 1.
    const OUR_TABLE: &[u8] = b"\x01\0\0\0\x0c\0\x01\0airpods\0";
    const OTHER_TABLE: &[u8] = b"\x01\0\0\0\x0b\0\x01\0filter\0\0";
    /// The same for IPv4.
    const OTHER_FAMILY: &[u8] = b"\x02\0\0\0\x0c\0\x01\0airpods\0";
    /// `NFTA_GEN_PROC_PID` = 513, `NFTA_GEN_PROC_NAME` = nft.
    const GENERATION: &[u8] = b"\0\0\0\0\x08\0\x02\0\0\0\x02\x01\x08\0\x03\0nft\0";

    fn events(own: u32, said: &[(i32, u32, &[u8])]) -> Vec<Event> {
        let mut filter = RuleFilter::new(own);
        said.iter().filter_map(|(kind, port, body)| filter.event(&message(*kind, *port, body)?)).collect()
    }

    #[test]
    fn a_foreign_transaction_on_our_table_is_reported_once_with_its_process() {
        let said = [
            (libc::NFT_MSG_DELRULE, 9, OUR_TABLE),
            (libc::NFT_MSG_DELTABLE, 9, OUR_TABLE),
            (libc::NFT_MSG_NEWGEN, 9, GENERATION),
        ];
        assert_eq!(events(7, &said), [Event::Rules { pid: 513, program: "nft".to_owned() }]);
    }

    #[test]
    fn a_process_s_name_is_bounded_and_may_be_missing_or_no_text() {
        for (name, told) in [
            (&b""[..], ""),
            (b"\0", ""),
            (b"nft\0\0", "nft"),
            (b"0123456789abcdefgh\0", "0123456789abcdef"),
            (b"a\xffb\n\0", "a\u{fffd}b\n"),
        ] {
            let generation = [&GENERATION[..12], &attribute(NFTA_GEN_PROC_NAME, name)].concat();
            let said = [(libc::NFT_MSG_DELTABLE, 9, OUR_TABLE), (libc::NFT_MSG_NEWGEN, 9, generation.as_slice())];
            assert_eq!(events(7, &said), [Event::Rules { pid: 513, program: told.to_owned() }]);
        }
        let said = [(libc::NFT_MSG_DELTABLE, 9, OUR_TABLE), (libc::NFT_MSG_NEWGEN, 9, &GENERATION[..4])];
        assert_eq!(events(7, &said), [Event::Rules { pid: 0, program: String::new() }]);
    }

    #[test]
    fn our_own_transactions_and_other_tables_are_ignored() {
        let own = [(libc::NFT_MSG_NEWTABLE, 7, OUR_TABLE), (libc::NFT_MSG_NEWGEN, 7, GENERATION)];
        assert_eq!(events(7, &own), []);
        let others = [
            (libc::NFT_MSG_NEWRULE, 9, OTHER_TABLE),
            (libc::NFT_MSG_NEWTABLE, 9, OTHER_FAMILY),
            (libc::NFT_MSG_NEWGEN, 9, GENERATION),
        ];
        assert_eq!(events(7, &others), []);
    }
}
