//! Links, as rtnetlink tells them. neli reads and writes the messages.

pub(super) mod routes;

use std::io::{self, Cursor};

use airpods_dbus::{InvalidLinkName, LinkName, Unclampable, rtnetlink};
use neli::consts::rtnl::Rtm;
use neli::rtnl::Ifinfomsg;
use neli::{FromBytesWithInput, Size, ToBytes};
use nix::errno::Errno;

use super::socket::{Request, Socket};
use crate::kernel::{Link, Links, Routes};

/// Asks for every link, and for the routes through those that `routes_of` picks.
pub(super) fn links(socket: &mut Socket, routes_of: &dyn Fn(&Link) -> bool) -> io::Result<Links> {
    let answer = socket.dump(&request(Rtm::Getlink, &rtnetlink::link_question(0, None)?)?)??;
    let (mut named, mut unclampable) = (Vec::new(), Vec::new());
    for read in answer.iter().filter_map(|body| link(body)) {
        match read {
            Read::Named(index, link) => named.push((index, link)),
            Read::Unclampable(vpn) => unclampable.push(vpn),
            Read::Other => {}
        }
    }
    let asked = named.iter().filter(|(_, link)| routes_of(link)).map(|(index, _)| *index).collect();
    let routes = routes::through(socket, &asked)?;
    for (index, link) in &mut named {
        link.routes = routes.get(index).copied().unwrap_or_default();
    }
    unclampable.sort_by(|one, other| one.link.cmp(&other.link));
    Ok(Links { named: named.into_iter().map(|(_, link)| link).collect(), unclampable })
}

/// Asks for the one link of this name.
pub(super) fn by_name(socket: &mut Socket, name: &LinkName) -> io::Result<Option<Link>> {
    let question = request(Rtm::Getlink, &rtnetlink::link_question(0, Some(name.as_str()))?)?;
    match socket.ask(&[question])?.pop() {
        Some(Ok(body)) => Ok(match link(&body) {
            // The kernel finds a link by its other names (IFLA_ALT_IFNAME), too; those are nothing that rules see.
            Some(Read::Named(_, link)) if link.name == *name => Some(link),
            _ => None,
        }),
        Some(Err(Errno::ENODEV)) | None => Ok(None),
        Some(Err(errno)) => Err(errno.into()),
    }
}

fn request(kind: Rtm, message: &(impl Size + ToBytes)) -> io::Result<Request> {
    let mut bytes = Cursor::new(vec![0; message.padded_size()]);
    message.to_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(Request { kind: kind.into(), body: bytes.into_inner() })
}

/// What a message about a link comes to.
#[derive(Debug)]
pub(super) enum Read {
    /// A link that a rule can name, with its index and without its routes.
    Named(i32, Link),
    /// A VPN link that no rule can name.
    Unclampable(Unclampable),
    /// Neither, such as the loopback.
    Other,
}

/// Reads a link; `None` if the message is malformed.
pub(super) fn link(body: &[u8]) -> Option<Read> {
    let message = Ifinfomsg::from_bytes_with_input(&mut Cursor::new(body), body.len()).ok()?;
    let rtnetlink::Link { name, index, kind, mtu, up } = rtnetlink::Link::of(&message)?;
    // What is no UTF-8 has been replaced by this.
    let parsed =
        if name.contains('\u{fffd}') { Err(InvalidLinkName::Encoding) } else { LinkName::of_kernel(name.as_bytes()) };
    Some(match parsed {
        Ok(name) => Read::Named(index, Link { name, kind, mtu, up, routes: Routes::default() }),
        Err(reason) if kind.is_vpn() => {
            Read::Unclampable(Unclampable { link: name.escape_default().to_string(), reason: reason.to_string() })
        }
        Err(_) => Read::Other,
    })
}

#[cfg(test)]
mod tests;
