//! Links and routes, as rtnetlink tells them. neli reads and writes the messages.

use std::collections::BTreeSet;
use std::io::{self, Cursor};

use airpods_dbus::LinkName;
use neli::attr::Attribute;
use neli::consts::rtnl::{Iff, Ifla, IflaInfo, RtAddrFamily, RtScope, RtTable, Rta, Rtm, Rtn, Rtprot};
use neli::err::DeError;
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder, Rtattr, Rtmsg, RtmsgBuilder};
use neli::types::{Buffer, RtBuffer};
use neli::{FromBytesWithInput, Size, ToBytes};
use nix::libc;

use super::socket::{Request, Socket};
use crate::kernel::{Link, LinkKind};

/// `RTEXT_FILTER_SKIP_STATS` of `linux/rtnetlink.h`: statistics are most of a link's message, and unread here.
const SKIP_STATS: u32 = 1 << 3;

/// `IFLA_TUN_TYPE` of `linux/if_link.h`, which neli does not name.
const IFLA_TUN_TYPE: u16 = 3;

/// `RTNH_F_DEAD` of `linux/rtnetlink.h`: the next hop's link is down.
const RTNH_F_DEAD: u8 = 1;

/// Bytes of `struct rtnexthop`.
const RTNEXTHOP: usize = 8;

/// Asks for every link and whether a route leaves through it.
pub(super) fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let links = socket.dump(&request(Rtm::Getlink, &all_links()?)?)??;
    let routes = socket.dump(&request(Rtm::Getroute, &all_routes()?)?)??;
    let routes: Vec<Rtmsg> = routes.iter().filter_map(|body| route(body)).collect();
    let carrying = carrying_links(&routes);
    Ok(links.iter().filter_map(|body| link(body, &carrying)).collect())
}

fn request(kind: Rtm, message: &(impl Size + ToBytes)) -> io::Result<Request> {
    let mut bytes = Cursor::new(vec![0; message.padded_size()]);
    message.to_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(Request { kind: kind.into(), body: bytes.into_inner() })
}

fn all_links() -> io::Result<Ifinfomsg> {
    let filter = neli::rtnl::RtattrBuilder::default().rta_type(Ifla::ExtMask).rta_payload(SKIP_STATS).build();
    let attributes: RtBuffer<Ifla, Buffer> = [filter.map_err(io::Error::other)?].into_iter().collect();
    let message = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).rtattrs(attributes).build();
    message.map_err(io::Error::other)
}

fn all_routes() -> io::Result<Rtmsg> {
    let message = RtmsgBuilder::default()
        .rtm_family(RtAddrFamily::Unspecified)
        .rtm_dst_len(0)
        .rtm_src_len(0)
        .rtm_tos(0)
        .rtm_table(RtTable::Unspec)
        .rtm_protocol(Rtprot::Unspec)
        .rtm_scope(RtScope::Universe)
        .rtm_type(Rtn::Unspec)
        .build();
    message.map_err(io::Error::other)
}

/// Reads a link; `None` if it is malformed or its name could not be asked for.
fn link(body: &[u8], carrying: &BTreeSet<i32>) -> Option<Link> {
    let message = Ifinfomsg::from_bytes_with_input(&mut Cursor::new(body), body.len()).ok()?;
    let attributes = message.rtattrs().get_attr_handle();
    let name = text(attributes.get_attribute(Ifla::Ifname)?)?;
    Some(Link {
        name: LinkName::parse(&name).ok()?,
        kind: kind(&message).unwrap_or(LinkKind {
            info_kind: String::new(),
            tun_type: None,
            hardware: hardware(&message),
        }),
        mtu: attributes.get_attr_payload_as(Ifla::Mtu).ok()?,
        up: message.ifi_flags().contains(Iff::UP),
        carries_route: carrying.contains(message.ifi_index()),
    })
}

/// What `IFLA_LINKINFO` says; hardware has none.
fn kind(message: &Ifinfomsg) -> Option<LinkKind> {
    let attributes = message.rtattrs().get_attr_handle();
    let info = attributes.get_nested_attributes::<IflaInfo>(Ifla::Linkinfo).ok()?;
    let info_kind = text(info.get_attribute(IflaInfo::Kind)?)?;
    let tun_type = if info_kind == "tun" { info.get_attribute(IflaInfo::Data).and_then(tun_type) } else { None };
    Some(LinkKind { info_kind, tun_type, hardware: hardware(message) })
}

fn hardware(message: &Ifinfomsg) -> u16 {
    (*message.ifi_type()).into()
}

fn tun_type(data: &Rtattr<IflaInfo, Buffer>) -> Option<u8> {
    super::attribute::Attributes::new(data.payload().as_ref()).get(IFLA_TUN_TYPE)?.first().copied()
}

fn text(attribute: &Rtattr<impl neli::consts::rtnl::RtaType, Buffer>) -> Option<String> {
    let bytes = attribute.payload().as_ref();
    std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok().map(str::to_owned)
}

fn route(body: &[u8]) -> Option<Rtmsg> {
    Rtmsg::from_bytes_with_input(&mut Cursor::new(body), body.len()).ok()
}

/// The links, by index, that a route leaves through.
///
/// Routes that carry traffic to elsewhere count, also the one that an address brings for its own network (all there is
/// on many a VPN). What only says something about the link or the host itself does not: the table `local`, other types
/// than unicast, routes to the host's own addresses, IPv6's link-local and all multicast networks, and cached copies.
fn carrying_links(routes: &[Rtmsg]) -> BTreeSet<i32> {
    let own = |route: &&Rtmsg| route.rtm_type() == &Rtn::Local;
    let own: BTreeSet<&[u8]> = routes.iter().filter(own).filter_map(destination).collect();
    let carries = |route: &&Rtmsg| {
        route.rtm_type() == &Rtn::Unicast
            && route.rtm_table() != &RtTable::Local
            && route.rtm_flags().bits() & libc::RTM_F_CLONED == 0
            && matches!(route.rtm_family(), RtAddrFamily::Inet | RtAddrFamily::Inet6)
            && !destination(route).is_some_and(|to| is_link_scope(to) || own.contains(to))
    };
    routes.iter().filter(carries).flat_map(leaves_through).collect()
}

/// Where a route leads; `None` for a default route.
fn destination(route: &Rtmsg) -> Option<&[u8]> {
    Some(route.rtattrs().iter().find(|attribute| attribute.rta_type() == &Rta::Dst)?.payload().as_ref())
}

fn leaves_through(route: &Rtmsg) -> Vec<i32> {
    let attributes = route.rtattrs().get_attr_handle();
    let single: Result<i32, DeError> = attributes.get_attr_payload_as(Rta::Oif);
    let several = attributes.get_attribute(Rta::Multipath).map(|hops| next_hops(hops.payload().as_ref()));
    single.into_iter().chain(several.unwrap_or_default()).collect()
}

/// `fe80::/10` and `ff00::/8` (RFC 4291, sections 2.5.6 and 2.7), and `224.0.0.0/4`.
fn is_link_scope(destination: &[u8]) -> bool {
    match destination {
        [first, _, _, _] => first & 0xf0 == 0xe0,
        [first, second, ..] => *first == 0xff || (*first == 0xfe && second & 0xc0 == 0x80),
        _ => false,
    }
}

/// The links of a route with several next hops that are alive: `struct rtnexthop` and attributes, again and again.
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
