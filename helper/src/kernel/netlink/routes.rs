//! The routes through a link and their MTU, read from rtnetlink.
//!
//! There may be hundreds of thousands of routes. So they are read for one link at a time while the
//! links are few: the kernel leaves the routes of others out. Reading ends when enough is known,
//! and no route is kept after it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;

use nix::libc;

use super::socket::Socket;
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

/// The number of routes to read through a link before reading ends, if one of them counts. An MTU
/// on a later route is missed.
const MAX_ROUTES: usize = 1024;

/// The routes through each of these links, by index.
///
/// Routes that carry traffic to elsewhere count, also the one that comes with an address for its
/// own network: many VPNs have no other. Routes that only describe the link or the host do not.
/// Those are the table `local`, types other than unicast, routes to the host's own addresses,
/// IPv6's link-local and all multicast networks, and cached copies.
pub(super) fn through(socket: &mut Socket, links: &BTreeSet<i32>) -> io::Result<BTreeMap<i32, Routes>> {
    let mut search = Search { links, own: BTreeSet::new(), found: BTreeMap::new() };
    if links.is_empty() {
        return Ok(search.found);
    }
    visit(socket, libc::RTN_LOCAL, None, &mut |route| {
        search.own.extend(route.destination().filter(|_| route.kind == libc::RTN_LOCAL).map(<[u8]>::to_vec));
        ControlFlow::Continue(())
    })?;
    let dumps = if links.len() > ONE_BY_ONE { vec![None] } else { links.iter().copied().map(Some).collect() };
    for link in dumps {
        let mut read = 0;
        visit(socket, libc::RTN_UNICAST, link, &mut |route| {
            read += 1;
            search.take(route);
            let is_enough = read >= MAX_ROUTES && link.is_some_and(|link| search.found.contains_key(&link));
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(search.found)
}

/// Reads routes of a type, through one link or all, until `each` breaks.
fn visit(
    socket: &mut Socket,
    kind: u8,
    link: Option<i32>,
    each: &mut dyn FnMut(&Route<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let visited = socket.visit(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &question(kind, link), &mut |message| {
        // If the answers start again, those so far stay valid: a route that is read twice changes
        // nothing.
        message.and_then(|message| Route::read(message.body)).map_or(ControlFlow::Continue(()), |route| each(&route))
    });
    match visited {
        // The link has been removed meanwhile.
        Err(error) if link.is_some() && error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        visited => visited,
    }
}

/// The routes found so far.
struct Search<'a> {
    links: &'a BTreeSet<i32>,
    /// Destinations that are the host's own addresses.
    own: BTreeSet<Vec<u8>>,
    found: BTreeMap<i32, Routes>,
}

impl Search<'_> {
    fn take(&mut self, route: &Route<'_>) {
        if !route.leads_elsewhere() || route.destination().is_some_and(|to| self.own.contains(to)) {
            return;
        }
        for link in route.links().into_iter().filter(|link| self.links.contains(link)) {
            let routes = self.found.entry(link).or_default();
            *routes = Routes { any: true, mtu: routes.mtu.into_iter().chain(route.mtu()).min() };
        }
    }
}

/// The body of a request for routes of a type (`RTN_*`), through one link or all: `struct rtmsg`
/// and its attributes. Before Linux 4.20 the kernel returns all routes.
fn question(kind: u8, link: Option<i32>) -> Vec<u8> {
    let through = link.map(|link| attribute(libc::RTA_OIF, &link.to_ne_bytes()));
    [&[0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0], through.unwrap_or_default().as_slice()].concat()
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
