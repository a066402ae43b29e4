//! Links, as rtnetlink tells them. neli reads and writes the messages.

pub(super) mod routes;

use std::io::{self, Cursor};

use airpods_dbus::{LinkName, rtnetlink};
use neli::consts::rtnl::Rtm;
use neli::rtnl::Ifinfomsg;
use neli::{FromBytesWithInput, Size, ToBytes};

use super::socket::{Request, Socket};
use crate::kernel::Link;

/// Asks for every link, and about those that `routes_of` picks whether a route leaves through them.
pub(super) fn links(socket: &mut Socket, routes_of: &dyn Fn(&Link) -> bool) -> io::Result<Vec<Link>> {
    let answer = socket.dump(&request(Rtm::Getlink, &rtnetlink::link_question(0, None)?)?)??;
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

/// Reads a link and its index; `None` if it is malformed or its name could not be asked for. What it carries is not in it.
pub(super) fn link(body: &[u8]) -> Option<(i32, Link)> {
    let message = Ifinfomsg::from_bytes_with_input(&mut Cursor::new(body), body.len()).ok()?;
    let rtnetlink::Link { name, index, kind, mtu, up } = rtnetlink::Link::of(&message)?;
    let link = Link { name: LinkName::parse(&name).ok()?, kind, mtu, up, carries_route: false };
    Some((index, link))
}

#[cfg(test)]
mod tests;
