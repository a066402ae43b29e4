//! Reads links from rtnetlink.

use std::io;

use airpods_dbus::{InvalidLinkName, LinkKind, LinkName, Unclampable};
use nix::libc;

use super::routes;
use super::socket::Socket;
use crate::kernel::wire::{Attributes, attribute};
use crate::kernel::{Link, Links, Routes};

/// `IFLA_TUN_TYPE` of `linux/if_link.h`.
const IFLA_TUN_TYPE: u16 = 3;

/// Bytes of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

/// Reads all links, and the routes of those that `routes_of` selects.
pub(super) fn links(socket: &mut Socket, routes_of: &dyn Fn(&Link) -> bool) -> io::Result<Links> {
    let (mut links, mut unclampable) = (Vec::new(), Vec::new());
    let answers = socket.ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, &question(None))?;
    for (index, link) in answers.iter().filter_map(|answer| link(&answer.body)) {
        match link {
            Ok(link) => links.push((index, link)),
            Err(vpn) => unclampable.push(vpn),
        }
    }
    let asked = links.iter().filter(|(_, link)| routes_of(link)).map(|(index, _)| *index).collect();
    let routes = routes::through(socket, &asked)?;
    for (index, link) in &mut links {
        link.routes = routes.get(index).copied().unwrap_or_default();
    }
    unclampable.sort_by(|one, other| one.link.cmp(&other.link));
    Ok(Links { named: links.into_iter().map(|(_, link)| link).collect(), unclampable })
}

/// Looks up one link by its name.
pub(super) fn by_name(socket: &mut Socket, name: &LinkName) -> io::Result<Option<Link>> {
    let answers = match socket.ask(libc::RTM_GETLINK, libc::NLM_F_ACK, &question(Some(name))) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        answers => answers?,
    };
    let mut links = answers.iter().filter_map(|answer| link(&answer.body)?.1.ok());
    // The kernel also finds a link by an alternative name (IFLA_ALT_IFNAME), but rules match only
    // the main one.
    Ok(links.find(|link| link.name == *name))
}

/// The body of a request for one link or all: `struct ifinfomsg` and its attributes.
fn question(name: Option<&LinkName>) -> Vec<u8> {
    // Statistics are most of a link's message, and unread here.
    let filter = attribute(libc::IFLA_EXT_MASK, &libc::RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let name = name.map(|name| attribute(libc::IFLA_IFNAME, format!("{name}\0").as_bytes()));
    [vec![0; IFINFOMSG], filter, name.unwrap_or_default()].concat()
}

/// Parses the message about a link: its index, and the link without its routes. For a VPN link that
/// no rule can name, the error has the reason. `None` if the message is malformed, or if another
/// link has such a name, such as the loopback.
pub(super) fn link(body: &[u8]) -> Option<(i32, Result<Link, Unclampable>)> {
    let (header, attributes) = body.split_first_chunk::<IFINFOMSG>()?;
    let [_, _, a, b, index @ .., f0, f1, f2, f3, _, _, _, _] = *header;
    let attributes = Attributes::new(attributes);
    let name = attributes.get(libc::IFLA_IFNAME)?;
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    let kind = kind(u16::from_ne_bytes([a, b]), attributes.nested(libc::IFLA_LINKINFO));
    let up = u32::from_ne_bytes([f0, f1, f2, f3]) & libc::IFF_UP.cast_unsigned() != 0;
    let mtu = attributes.ne32(libc::IFLA_MTU)?;
    let link = match LinkName::of_kernel(name) {
        Ok(name) => Ok(Link { name, kind, mtu, up, routes: Routes::default() }),
        Err(reason) if kind.is_vpn() => Err(unclampable(name, reason)),
        Err(_) => return None,
    };
    Some((i32::from_ne_bytes(index), link))
}

fn unclampable(name: &[u8], reason: InvalidLinkName) -> Unclampable {
    Unclampable { link: String::from_utf8_lossy(name).escape_default().to_string(), reason: reason.to_string() }
}

/// The kind of a link; hardware has no `IFLA_LINKINFO`.
fn kind(hardware: u16, info: Option<Attributes<'_>>) -> LinkKind {
    let info_kind = info.and_then(|info| info.text(libc::IFLA_INFO_KIND)).unwrap_or_default().to_owned();
    let data = info.and_then(|info| info.nested(libc::IFLA_INFO_DATA)).filter(|_| info_kind == "tun");
    let tun_type = data.and_then(|data| data.get(IFLA_TUN_TYPE)?.first().copied());
    LinkKind { info_kind, tun_type, hardware }
}

#[cfg(test)]
mod tests;
