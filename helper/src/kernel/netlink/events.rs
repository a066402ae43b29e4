//! Monitors links, addresses, routes, routing rules, and other programs' changes of our table.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::SockProtocol;

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
    | 1 << (RTNLGRP_IPV6_RULE - 1);

/// `RTNLGRP_IPV6_RULE` of `linux/rtnetlink.h`; the old `RTMGRP_*` masks do not include it.
const RTNLGRP_IPV6_RULE: u32 = 19;

/// `NFNLGRP_NFTABLES` (7) of `linux/netfilter/nfnetlink.h`, as a bit.
const NFTABLES_GROUP: u32 = 1 << 6;

/// `NFTA_GEN_PROC_PID` of `linux/netfilter/nf_tables.h`.
const NFTA_GEN_PROC_PID: u16 = 2;

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

    fn drain_both(&mut self) -> io::Result<Vec<Event>> {
        let (mut has_changed, mut events) = (false, Vec::new());
        // The content does not matter: one event makes the helper read everything again.
        let mut was_lost = self.network.take(&mut |_| {
            has_changed = true;
            ControlFlow::Continue(())
        })?;
        was_lost |= self.rules.take(&mut |message| {
            events.extend(self.filter.event(&message));
            ControlFlow::Continue(())
        })?;
        events.dedup();
        events.extend(was_lost.then_some(Event::Overrun));
        events.extend(has_changed.then_some(Event::Network));
        Ok(events)
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Events for Monitor {
    fn drain(&mut self) -> Result<Vec<Event>, KernelError> {
        self.drain_both().map_err(|source| KernelError::Netlink { doing: "watching for changes", source })
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
        let subsystem = i32::from(message.kind >> 8);
        if subsystem != libc::NFNL_SUBSYS_NFTABLES || message.port == self.own {
            return None;
        }
        let (header, body) = message.body.split_first_chunk::<4>()?;
        let attributes = Attributes::new(body);
        if i32::from(message.kind & 0xff) == libc::NFT_MSG_NEWGEN {
            let pid = attributes.be32(NFTA_GEN_PROC_PID).unwrap_or_default();
            return std::mem::take(&mut self.touched).then_some(Event::Rules { pid });
        }
        // Attribute 1 of every object names its table: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE,
        // NFTA_RULE_TABLE …
        let inet = i32::from(header[0]) == libc::NFPROTO_INET;
        self.touched |= inet && attributes.text(1) == Some(NAME);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, port: u32, body: &[u8]) -> Option<Message<'_>> {
        let kind = u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | kind).ok()?;
        Some(Message { kind, flags: 0, sequence: 0, port, body })
    }

    /// `struct nfgenmsg` for inet, and the table's name as attribute 1.
    const OUR_TABLE: &[u8] = b"\x01\0\0\0\x0c\0\x01\0airpods\0";
    const OTHER_TABLE: &[u8] = b"\x01\0\0\0\x0b\0\x01\0filter\0\0";
    /// The same for IPv4.
    const OTHER_FAMILY: &[u8] = b"\x02\0\0\0\x0c\0\x01\0airpods\0";
    /// `NFTA_GEN_PROC_PID` = 513.
    const GENERATION: &[u8] = b"\0\0\0\0\x08\0\x02\0\0\0\x02\x01";

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
        assert_eq!(events(7, &said), [Event::Rules { pid: 513 }]);
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
