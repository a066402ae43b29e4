//! Links, as rtnetlink tells them. neli reads and writes the messages.

pub(super) mod routes;

use std::io::{self, Cursor};

use airpods_dbus::{LinkKind, LinkName};
use neli::attr::Attribute;
use neli::consts::rtnl::{Iff, Ifla, RtAddrFamily, Rtm};
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder, Rtattr};
use neli::types::{Buffer, RtBuffer};
use neli::{FromBytesWithInput, Size, ToBytes};

use super::socket::{Request, Socket};
use crate::kernel::Link;

/// `RTEXT_FILTER_SKIP_STATS` of `linux/rtnetlink.h`: statistics are most of a link's message, and unread here.
const SKIP_STATS: u32 = 1 << 3;

/// Asks for every link, and about those that `routes_of` picks whether a route leaves through them.
pub(super) fn links(socket: &mut Socket, routes_of: &dyn Fn(&Link) -> bool) -> io::Result<Vec<Link>> {
    let answer = socket.dump(&request(Rtm::Getlink, &all_links()?)?)??;
    let mut links: Vec<(i32, Link)> = answer.iter().filter_map(|body| link(body)).collect();
    let asked = links.iter().filter(|(_, link)| routes_of(link)).map(|(index, _)| *index).collect();
    let carrying = routes::carrying(socket, &asked)?;
    for (index, link) in &mut links {
        link.carries_route = carrying.contains(index);
    }
    Ok(links.into_iter().map(|(_, link)| link).collect())
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

/// Reads a link and its index; `None` if it is malformed or its name could not be asked for. What it carries is not in it.
pub(super) fn link(body: &[u8]) -> Option<(i32, Link)> {
    let message = Ifinfomsg::from_bytes_with_input(&mut Cursor::new(body), body.len()).ok()?;
    let attributes = message.rtattrs().get_attr_handle();
    let name = text(attributes.get_attribute(Ifla::Ifname)?)?;
    let link = Link {
        name: LinkName::parse(&name).ok()?,
        kind: LinkKind::of(&message),
        mtu: attributes.get_attr_payload_as(Ifla::Mtu).ok()?,
        up: message.ifi_flags().contains(Iff::UP),
        carries_route: false,
    };
    Some((*message.ifi_index(), link))
}

fn text(attribute: &Rtattr<impl neli::consts::rtnl::RtaType, Buffer>) -> Option<String> {
    let bytes = attribute.payload().as_ref();
    std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
