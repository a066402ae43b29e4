//! The routes through a link and their MTU, read from rtnetlink.
//!
//! There may be hundreds of thousands of routes. So they are read only for the requested links, and
//! the kernel filters those that can matter. No route is kept after it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow::{Break, Continue};

use nix::libc;

use super::socket::{Request, Socket};
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

/// The number of routes to read through a link before reading ends, once one of them counts. An
/// MTU on a later route is missed.
const MAX_ROUTES: usize = 1024;

/// The routes through each of the links in `asked`, by index.
///
/// Routes that carry traffic to elsewhere count, also the one that comes with an address for its
/// own network: many VPNs have no other. Routes that only describe the link or the host do not.
/// Those are the table `local`, types other than unicast, routes to the host's own addresses,
/// IPv6's link-local and all multicast networks, and cached copies.
pub(super) fn through(socket: &mut Socket, asked: &BTreeSet<i32>) -> io::Result<BTreeMap<i32, Routes>> {
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    let own = socket.read(&question(libc::RTN_LOCAL, None), &mut |own: &mut BTreeSet<Vec<u8>>, message| {
        let local = Route::read(message.body).filter(|route| route.kind == libc::RTN_LOCAL);
        own.extend(local.and_then(|route| route.destination().map(<[u8]>::to_vec)));
        Continue(())
    })?;
    let mut through = BTreeMap::new();
    if asked.len() > ONE_BY_ONE {
        through = read(socket, None, &own)?.through;
        through.retain(|link, _| asked.contains(link));
        return Ok(through);
    }
    for link in asked {
        match read(socket, Some(*link), &own) {
            Ok(mut found) => through.extend(found.through.remove_entry(link)),
            // The link has been removed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(through)
}

/// The result of the routes read so far.
#[derive(Debug, Default)]
struct Found {
    through: BTreeMap<i32, Routes>,
    /// The number of routes read.
    read: usize,
}

impl Found {
    fn add(&mut self, route: &Route<'_>, own: &BTreeSet<Vec<u8>>) {
        self.read += 1;
        if route.leads_elsewhere() && !route.destination().is_some_and(|to| own.contains(to)) {
            for link in route.links() {
                let routes = self.through.entry(link).or_default();
                *routes = Routes { any: true, mtu: routes.mtu.into_iter().chain(route.mtu()).min() };
            }
        }
    }
}

/// Reads the routes through one link or all. `own` has the host's own addresses.
fn read(socket: &mut Socket, link: Option<i32>, own: &BTreeSet<Vec<u8>>) -> io::Result<Found> {
    socket.read(&question(libc::RTN_UNICAST, link), &mut |found: &mut Found, message| {
        if let Some(route) = Route::read(message.body) {
            found.add(&route, own);
        }
        let is_known = link.is_some_and(|link| found.through.contains_key(&link));
        if is_known && found.read >= MAX_ROUTES { Break(()) } else { Continue(()) }
    })
}

/// The request for routes of a type (`RTN_*`), through one link or all: `struct rtmsg` and its
/// attributes. Before Linux 4.20 the kernel returns all routes, and the result is the same.
fn question(kind: u8, link: Option<i32>) -> Request {
    let through = link.map(|link| attribute(libc::RTA_OIF, &link.to_ne_bytes()));
    let body = [&[0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0], through.unwrap_or_default().as_slice()].concat();
    Request { kind: libc::RTM_GETROUTE, flags: libc::NLM_F_DUMP, body }
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
