//! The routes through a link and their MTU, read from rtnetlink.
//!
//! There may be tens of thousands of routes. So they are read only for the requested links, and the
//! kernel filters those that can matter. No route is kept after it was read, and reading ends as
//! soon as the result is known.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use super::socket::{Read, Request, Socket};
use crate::kernel::Routes;
use crate::kernel::wire::{Attributes, attribute};

/// `RTNH_F_DEAD` of `linux/rtnetlink.h`: the next hop's link is down.
const RTNH_F_DEAD: u8 = 1;

/// `RTAX_MTU` of `linux/rtnetlink.h`.
const RTAX_MTU: u16 = 2;

/// Bytes of `struct rtnexthop`.
const RTNEXTHOP: usize = 8;

/// Bytes of `struct rtmsg`.
const RTMSG: usize = 12;

/// Up to this many links are read with one dump each. For each dump the kernel walks all its
/// routes, so more links share one dump.
const ONE_BY_ONE: usize = 8;

/// The number of routes to read for each link before reading ends, once all links have a route. An
/// MTU on a later route is missed.
const MAX_ROUTES_PER_LINK: usize = 1024;

/// The routes through each of the links in `asked`, by index.
///
/// Routes that carry traffic to elsewhere count, also the one that comes with an address for its
/// own network: many VPNs have no other. Routes that only describe the link or the host do not.
/// Those are the table `local`, types other than unicast, routes to the host's own addresses,
/// IPv6's link-local and all multicast networks, and cached copies.
pub(super) fn through(socket: &mut Socket, asked: &BTreeSet<i32>) -> io::Result<BTreeMap<i32, Routes>> {
    let mut search = Search { asked, own: BTreeSet::new(), found: BTreeMap::new(), read: 0 };
    if asked.is_empty() {
        return Ok(search.found);
    }
    read(socket, libc::RTN_LOCAL, None, &mut |route| search.take_own(route))?;
    if asked.len() > ONE_BY_ONE {
        read(socket, libc::RTN_UNICAST, None, &mut |route| search.take(route, asked))?;
    } else {
        for link in asked {
            search.read = 0;
            let only = BTreeSet::from([*link]);
            read(socket, libc::RTN_UNICAST, Some(*link), &mut |route| search.take(route, &only))?;
        }
    }
    Ok(search.found)
}

/// The results so far.
struct Search<'a> {
    asked: &'a BTreeSet<i32>,
    /// Destinations that are the host's own addresses.
    own: BTreeSet<Vec<u8>>,
    found: BTreeMap<i32, Routes>,
    /// The number of routes read so far.
    read: usize,
}

impl Search<'_> {
    fn take_own(&mut self, route: &Route<'_>) -> ControlFlow<()> {
        self.own.extend(route.destination().filter(|_| route.kind == libc::RTN_LOCAL).map(<[u8]>::to_vec));
        ControlFlow::Continue(())
    }

    /// Breaks once all of `sought` have a route, and enough routes have been read.
    fn take(&mut self, route: &Route<'_>, sought: &BTreeSet<i32>) -> ControlFlow<()> {
        self.read += 1;
        if route.leads_elsewhere() && !route.destination().is_some_and(|to| self.own.contains(to)) {
            for link in route.links().into_iter().filter(|link| self.asked.contains(link)) {
                let routes = self.found.entry(link).or_default();
                *routes = Routes { any: true, mtu: routes.mtu.into_iter().chain(route.mtu()).min() };
            }
        }
        let is_enough = self.read >= MAX_ROUTES_PER_LINK.saturating_mul(sought.len());
        if is_enough && sought.iter().all(|link| self.found.contains_key(link)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Reads routes of a type, through one link or all, until the reader breaks.
fn read(
    socket: &mut Socket,
    kind: u8,
    link: Option<i32>,
    each: &mut dyn FnMut(&Route<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let request = question(kind, link);
    // With strict checking the kernel filters by type and link. Before Linux 4.20 it returns all
    // routes, and the result is the same.
    socket.ask_strictly();
    let read = socket.read(&request, &mut |body| match body.and_then(Route::read) {
        Some(route) => each(&route),
        // The dump starts again. The results so far stay valid, and reading a route twice changes
        // nothing.
        None => ControlFlow::Continue(()),
    });
    match read? {
        Ok(Read::Whole) => Ok(()),
        Ok(Read::Left) => socket.leave(SockProtocol::NetlinkRoute),
        // The link has been removed meanwhile.
        Err(Errno::ENODEV) if link.is_some() => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The request for routes of a type (`RTN_*`), through one link or all: `struct rtmsg` and its
/// attributes.
fn question(kind: u8, link: Option<i32>) -> Request {
    let through = link.map(|link| attribute(libc::RTA_OIF, &link.to_ne_bytes()));
    let body = [&[0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0], through.unwrap_or_default().as_slice()].concat();
    Request { kind: libc::RTM_GETROUTE, body }
}

/// The relevant parts of a route: `struct rtmsg` and its attributes.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Route<'a> {
    family: i32,
    table: u8,
    kind: u8,
    flags: u32,
    attributes: Attributes<'a>,
}

impl<'a> Route<'a> {
    pub(in crate::kernel) fn read(body: &'a [u8]) -> Option<Self> {
        let (&[family, _, _, _, table, _, _, kind, a, b, c, d], attributes) = body.split_first_chunk::<RTMSG>()?;
        let flags = u32::from_ne_bytes([a, b, c, d]);
        Some(Self { family: i32::from(family), table, kind, flags, attributes: Attributes::new(attributes) })
    }

    /// The destination; `None` for a default route.
    pub(in crate::kernel) fn destination(&self) -> Option<&'a [u8]> {
        self.attributes.get(libc::RTA_DST)
    }

    /// Whether it may carry traffic to elsewhere. The caller excludes the host's own addresses.
    pub(in crate::kernel) fn leads_elsewhere(&self) -> bool {
        self.kind == libc::RTN_UNICAST
            && self.table != libc::RT_TABLE_LOCAL
            && self.flags & libc::RTM_F_CLONED == 0
            && matches!(self.family, libc::AF_INET | libc::AF_INET6)
            && !self.destination().is_some_and(is_link_scope)
    }

    /// The MTU in bytes that the route sets.
    pub(in crate::kernel) fn mtu(&self) -> Option<u32> {
        self.attributes.nested(libc::RTA_METRICS)?.ne32(RTAX_MTU).filter(|mtu| *mtu > 0)
    }

    /// The indexes of the links that it leads through.
    pub(in crate::kernel) fn links(&self) -> Vec<i32> {
        let single = self.attributes.ne32(libc::RTA_OIF).map(u32::cast_signed);
        let several = self.attributes.get(libc::RTA_MULTIPATH).map(next_hops);
        single.into_iter().chain(several.unwrap_or_default()).collect()
    }
}

/// `fe80::/10` and `ff00::/8` (RFC 4291, sections 2.5.6 and 2.7), and `224.0.0.0/4`.
fn is_link_scope(destination: &[u8]) -> bool {
    match destination {
        [first, _, _, _] => first & 0xf0 == 0xe0,
        [first, second, ..] => *first == 0xff || (*first == 0xfe && second & 0xc0 == 0x80),
        _ => false,
    }
}

/// The links of the live next hops of a multipath route: a sequence of `struct rtnexthop`, each
/// with attributes.
fn next_hops(mut bytes: &[u8]) -> Vec<i32> {
    let mut links = Vec::new();
    while let Some((&[low, high, flags, _, a, b, c, d], _)) = bytes.split_first_chunk::<RTNEXTHOP>() {
        if flags & RTNH_F_DEAD == 0 {
            links.push(i32::from_ne_bytes([a, b, c, d]));
        }
        let length = usize::from(u16::from_ne_bytes([low, high])).max(RTNEXTHOP);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    links
}

#[cfg(test)]
mod tests;
