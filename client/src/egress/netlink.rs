//! Links and routes, asked of the kernel as any user may.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use neli::attr::Attribute;
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{RtAddrFamily, RtTable, Rta, Rtm, Rtn};
use neli::consts::socket::NlFamily;
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::rtnl::Rtmsg;
use neli::socket::synchronous::NlSocketHandle;
use neli::utils::Groups;
use neli::{FromBytesWithInput, Size, ToBytes};
use nix::errno::Errno;

use super::Egress;
use super::question::{Link, link_question, route_question, routes_question};

/// Two addresses of the public internet, of IPv4 and IPv6, to ask the kernel's way to; nothing is ever sent there. They are those of
/// a.root-servers.net (IANA, "Root Servers"), which have been the same for many years. An address of a public name server
/// would not do: VPNs and users give those routes of their own, and the documentation ranges are often barred.
pub const INTERNET: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)), IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30))];

/// `RTAX_MTU` of `linux/rtnetlink.h`, an attribute within `RTA_METRICS`.
const RTAX_MTU: u16 = 2;

/// A socket on which the kernel answers about links and routes. It answers within the question, so nothing waits.
pub(super) struct Rtnetlink {
    socket: NlSocketHandle,
    sequence: u32,
}

impl Rtnetlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = NlSocketHandle::connect(NlFamily::Route, None, Groups::empty()).map_err(io::Error::other)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The link of this name, if there is one.
    pub(super) fn link_by_name(&mut self, name: &str) -> io::Result<Option<Link>> {
        self.link(0, Some(name))
    }

    /// Where packets to this address leave the host, and how much fits; `None` if nothing leads there. `from` is a packet's
    /// source and the link it arrives by, for one that the host forwards.
    ///
    /// The kernel walks all its rules and tables for the answer, as for a packet without a mark.
    pub(super) fn egress(&mut self, to: IpAddr, from: Option<(IpAddr, i32)>) -> io::Result<Option<Egress>> {
        let Some((index, route_mtu)) = self.route(to, from)? else { return Ok(None) };
        let link = self.link(index, None)?;
        Ok(link.map(|link| Egress {
            mtu: route_mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            link: link.name,
            index,
            kind: link.kind,
        }))
    }

    fn link(&mut self, index: i32, name: Option<&str>) -> io::Result<Option<Link>> {
        match self.ask(Rtm::Getlink, link_question(index, name)?, Link::of)? {
            Ok(link) => Ok(link),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The link's index and the route's own MTU.
    fn route(&mut self, to: IpAddr, from: Option<(IpAddr, i32)>) -> io::Result<Option<(i32, Option<u32>)>> {
        match self.ask(Rtm::Getroute, route_question(to, from)?, route)? {
            Ok(route) => Ok(route),
            // Each is a way of saying that such a packet goes nowhere: no route, one that forbids, and for a packet to be
            // forwarded also that the host does not forward, or would not take it from there.
            Err(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EACCES
                | Errno::EINVAL
                | Errno::EXDEV
                | Errno::EAFNOSUPPORT
                | Errno::ENODEV,
            ) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// One question with one answer, which `read` makes something of.
    fn ask<Q, A, T>(&mut self, kind: Rtm, question: Q, read: impl FnOnce(&A) -> T) -> io::Result<Result<T, Errno>>
    where
        Q: Size + ToBytes + Debug,
        A: Size + FromBytesWithInput<Input = usize> + Debug,
    {
        self.send(kind, NlmF::REQUEST, question)?;
        let (answers, _) = self.socket.recv::<Rtm, A>().map_err(io::Error::other)?;
        for answer in answers {
            let answer = answer.map_err(io::Error::other)?;
            match answer.nl_payload() {
                _ if *answer.nl_seq() != self.sequence => {}
                NlPayload::Err(refusal) => return Ok(Err(Errno::from_raw(refusal.error().saturating_neg()))),
                NlPayload::Payload(answer) => return Ok(Ok(read(answer))),
                _ => break,
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not understood"))
    }

    fn send<Q>(&mut self, kind: Rtm, flags: NlmF, question: Q) -> io::Result<()>
    where
        Q: Size + ToBytes + Debug,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let message = NlmsghdrBuilder::default()
            .nl_type(kind)
            .nl_flags(flags)
            .nl_seq(self.sequence)
            .nl_payload(NlPayload::Payload(question))
            .build()
            .map_err(io::Error::other)?;
        self.socket.send(&message).map_err(io::Error::other)
    }

    /// Every route of every table, with its link's index, but the default ones and those to the host itself.
    fn networks(&mut self) -> io::Result<Vec<(IpNet, i32)>> {
        self.send(Rtm::Getroute, NlmF::REQUEST | NlmF::DUMP, routes_question()?)?;
        let mut networks = Vec::new();
        loop {
            let (answers, _) = self.socket.recv::<Rtm, Rtmsg>().map_err(io::Error::other)?;
            for answer in answers {
                let answer = answer.map_err(io::Error::other)?;
                match answer.nl_payload() {
                    _ if *answer.nl_seq() != self.sequence => {}
                    NlPayload::Payload(route) => networks.extend(network(route)),
                    NlPayload::Err(refusal) => return Err(Errno::from_raw(refusal.error().saturating_neg()).into()),
                    NlPayload::Empty | NlPayload::DumpExtAck(_) | NlPayload::Ack(_) => return Ok(networks),
                }
            }
        }
    }
}

/// Where this host's packets to an address leave; `None` if no route leads there. It is asked in the network of the calling thread.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn egress(to: IpAddr) -> io::Result<Option<Egress>> {
    Rtnetlink::open()?.egress(to, None)
}

/// A route to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// The name of the link that leads there.
    pub link: String,
}

/// The routes to networks that the host has, of all its tables: VPNs keep theirs apart from the main one. Default routes are not among
/// them, nor is what leads to the host itself.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn routes() -> io::Result<Vec<Route>> {
    let mut kernel = Rtnetlink::open()?;
    let mut names = BTreeMap::new();
    let mut routes = Vec::new();
    for (to, index) in kernel.networks()? {
        let link = match names.entry(index) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(kernel.link(index, None)?),
        };
        routes.extend(link.as_ref().map(|link| Route { to, link: link.name.clone() }));
    }
    Ok(routes)
}

/// The name of each link of the host, and whether it is a VPN's. It is asked in the network of the calling thread.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn links() -> io::Result<Vec<(String, bool)>> {
    let mut kernel = Rtnetlink::open()?;
    let names = nix::net::if_::if_nameindex()?;
    let links = names.iter().filter_map(|found| kernel.link_by_name(&found.name().to_string_lossy()).transpose());
    links.map(|link| link.map(|link| (link.name, link.kind.is_vpn()))).collect()
}

/// The network that a route leads to, and the index of its link.
fn network(message: &Rtmsg) -> Option<(IpNet, i32)> {
    // What says something about links only: IPv6's link-local and multicast networks.
    let of_links = |to: &IpNet| match to.addr() {
        IpAddr::V4(address) => address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    };
    if *message.rtm_type() != Rtn::Unicast || *message.rtm_table() == RtTable::Local {
        return None;
    }
    let attributes = message.rtattrs().get_attr_handle();
    let bytes = attributes.get_attribute(Rta::Dst)?.payload().as_ref();
    let address = match *message.rtm_family() {
        RtAddrFamily::Inet => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        RtAddrFamily::Inet6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    let to = IpNet::new(address, *message.rtm_dst_len()).ok()?.trunc();
    let link = attributes.get_attr_payload_as(Rta::Oif).ok()?;
    (!of_links(&to) && to.prefix_len() > 1).then_some((to, link))
}

/// The link that a route leaves through and its own MTU; `None` for one that leads nowhere, or to the host itself.
fn route(message: &Rtmsg) -> Option<(i32, Option<u32>)> {
    if *message.rtm_type() != Rtn::Unicast {
        return None;
    }
    let attributes = message.rtattrs().get_attr_handle();
    let link = attributes.get_attr_payload_as(Rta::Oif).ok()?;
    let metrics = attributes.get_nested_attributes::<u16>(Rta::Metrics).ok();
    // A path MTU that the kernel has learnt stands in the same place, and expires: it is no setting of the route's.
    let expires = attributes.get_attribute(Rta::Cacheinfo).and_then(|info| info.payload().as_ref().get(8..12));
    let is_learnt = expires.is_some_and(|bytes| bytes != [0; 4]);
    let metrics = metrics.filter(|_| !is_learnt);
    let mtu = metrics.and_then(|metrics| metrics.get_attr_payload_as(RTAX_MTU).ok());
    Some((link, mtu.filter(|mtu| *mtu > 0)))
}
