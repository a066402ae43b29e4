//! The routes through a link and their MTU, read from rtnetlink.
//!
//! There may be hundreds of thousands of routes. So they are read for one link at a time, the
//! kernel leaves those of other links out, and reading ends when enough is known.

use std::collections::BTreeSet;
use std::io;

use nix::libc;

use super::socket::{ALL, Socket};
use crate::kernel::Routes;
use crate::kernel::wire::{Attributes, Object, attribute};

/// `RTNH_F_DEAD` of `linux/rtnetlink.h`: the next hop's link is down.
const RTNH_F_DEAD: u8 = 1;

/// `RTAX_MTU` of `linux/rtnetlink.h`.
const RTAX_MTU: u16 = 2;

/// Bytes of `struct rtnexthop`.
const RTNEXTHOP: usize = 8;

/// Bytes of `struct rtmsg`.
const RTMSG: usize = 12;

/// The number of routes to read through a link before reading ends, if one of them counts. An MTU
/// on a later route is missed.
const MAX_ROUTES: usize = 1024;

/// The host's own addresses.
pub(super) fn own_addresses(socket: &mut Socket) -> io::Result<BTreeSet<Vec<u8>>> {
    let answers = socket.ask(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &question(libc::RTN_LOCAL, None), ALL)?;
    let local = answers.iter().filter_map(|answer| Route::read(&answer.body)).filter(|it| it.kind == libc::RTN_LOCAL);
    Ok(local.filter_map(|route| route.destination().map(<[u8]>::to_vec)).collect())
}

/// The routes through a link, by its index.
///
/// Routes that carry traffic to elsewhere count, also the one that comes with an address for its
/// own network: many VPNs have no other. Routes that only describe the link or the host do not.
/// Those are the table `local`, types other than unicast, routes to the host's own addresses,
/// IPv6's link-local and all multicast networks, and cached copies.
pub(super) fn through(socket: &mut Socket, link: i32, own: &BTreeSet<Vec<u8>>) -> io::Result<Routes> {
    let (question, mut limit) = (question(libc::RTN_UNICAST, Some(link)), MAX_ROUTES);
    loop {
        let answers = match socket.ask(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &question, limit) {
            // The link has been removed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(Routes::default()),
            answers => answers?,
        };
        let routes = routes_of(link, &answers, own);
        if routes.any || answers.len() < limit {
            return Ok(routes);
        }
        limit = ALL;
    }
}

/// The routes through a link among the kernel's answers.
fn routes_of(link: i32, answers: &[Object], own: &BTreeSet<Vec<u8>>) -> Routes {
    let is_own = |route: &Route<'_>| route.destination().is_some_and(|to| own.contains(to));
    let routes = answers.iter().filter_map(|answer| Route::read(&answer.body));
    let routes = routes.filter(|route| route.leads_elsewhere() && !is_own(route) && route.links().contains(&link));
    routes.fold(Routes::default(), |found, route| Routes {
        any: true,
        mtu: found.mtu.into_iter().chain(route.mtu()).min(),
    })
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
