//! Queries links and routes over rtnetlink, which any user may do. neli encodes and decodes the
//! messages.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use airpods_dbus::LinkKind;
use ipnet::IpNet;
use neli::attr::Attribute;
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Iff, Ifla, IflaInfo, RtAddrFamily, RtScope, RtTable, Rta, Rtm, RtmF, Rtn, Rtprot};
use neli::consts::socket::NlFamily;
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder, RtattrBuilder, Rtmsg, RtmsgBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::types::{Buffer, RtBuffer};
use neli::utils::Groups;
use neli::{FromBytesWithInput, Size, ToBytes};
use nix::errno::Errno;

use super::Egress;

/// Two addresses of the public internet, IPv4 and IPv6, whose route is looked up; nothing is sent
/// to them. They belong to a.root-servers.net (IANA, "Root Servers") and have been the same for
/// many years. The address of a public name server would not do, because VPNs and users set routes
/// of their own for those. The documentation ranges are often blocked.
pub const INTERNET: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)), IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30))];

/// `RTAX_MTU` of `linux/rtnetlink.h`, an attribute within `RTA_METRICS`.
const RTAX_MTU: u16 = 2;

/// A socket for queries about links and routes. The kernel answers within the system call that
/// sends the query, so nothing blocks.
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

    /// The link by which packets to this address leave the host, and the largest packet; `None` if
    /// no route leads there. For a forwarded packet, `from` has its source and the link on which it
    /// arrives.
    ///
    /// The kernel walks all its rules and tables, as for a packet without a mark.
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

    pub(super) fn link(&mut self, index: i32, name: Option<&str>) -> io::Result<Option<Link>> {
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
            // Such a packet goes nowhere. There is no route (or no IPv6), or a route forbids it
            // (unreachable, prohibit, blackhole). For a forwarded packet also: forwarding is off,
            // or the source is rejected. `ENODEV`: the link is gone.
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

    /// Sends one query and decodes its one answer with `read`.
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

    /// Every route of every table with the index of its link, except default routes and routes to
    /// the host itself.
    pub(super) fn networks(&mut self) -> io::Result<Vec<(IpNet, i32)>> {
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

/// Where this host's packets to an address leave; `None` if no route leads there. Looked up in the
/// network of the calling thread.
///
/// # Errors
/// The kernel cannot be queried.
pub fn egress(to: IpAddr) -> io::Result<Option<Egress>> {
    Rtnetlink::open()?.egress(to, None)
}

/// The name of each link of the host, and whether it belongs to a VPN. Looked up in the network of
/// the calling thread.
///
/// # Errors
/// The kernel cannot be queried.
pub fn links() -> io::Result<Vec<(String, bool)>> {
    let mut kernel = Rtnetlink::open()?;
    let names = nix::net::if_::if_nameindex()?;
    let links = names.iter().filter_map(|found| kernel.link_by_name(&found.name().to_string_lossy()).transpose());
    links.map(|link| link.map(|link| (link.name, link.kind.is_vpn()))).collect()
}

/// The network that a route leads to, and the index of its link.
fn network(message: &Rtmsg) -> Option<(IpNet, i32)> {
    // Networks that exist on each link: multicast networks, and IPv6's link-local ones.
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
    // OpenVPN overrides the default route by 0.0.0.0/1 and 128.0.0.0/1 (`redirect-gateway def1`):
    // these count as default routes, too.
    (!of_links(&to) && to.prefix_len() > 1).then_some((to, link))
}

/// The link that a route uses and the route's own MTU; `None` for a route that leads nowhere, or to
/// the host itself.
fn route(message: &Rtmsg) -> Option<(i32, Option<u32>)> {
    if *message.rtm_type() != Rtn::Unicast {
        return None;
    }
    let attributes = message.rtattrs().get_attr_handle();
    let link = attributes.get_attr_payload_as(Rta::Oif).ok()?;
    let metrics = attributes.get_nested_attributes::<u16>(Rta::Metrics).ok();
    // A path MTU that the kernel has learnt is reported in the same place. It belongs to a copy of
    // the route that expires (`rta_cacheinfo`, `rta_expires`), and is no setting of the route. An
    // IPv6 route from a router advertisement expires as well, but it is no copy.
    let expires = attributes.get_attribute(Rta::Cacheinfo).and_then(|info| info.payload().as_ref().get(8..12));
    let is_learnt = message.rtm_flags().contains(RtmF::CLONED) && expires.is_some_and(|bytes| bytes != [0; 4]);
    let metrics = metrics.filter(|_| !is_learnt);
    let mtu = metrics.and_then(|metrics| metrics.get_attr_payload_as(RTAX_MTU).ok());
    Some((link, mtu.filter(|mtu| *mtu > 0)))
}

/// `RTEXT_FILTER_SKIP_STATS` of `linux/rtnetlink.h`: statistics are most of a link's message, and
/// are not needed here.
const SKIP_STATS: u32 = 1 << 3;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its name. Bytes that are not UTF-8 are replaced, and the result is no link's name.
    pub(super) name: String,
    /// Its index.
    pub(super) index: i32,
    /// The kind of link.
    pub(super) kind: LinkKind,
    /// Its MTU in bytes.
    pub(super) mtu: u32,
    /// It is administratively up (`IFF_UP`).
    pub(super) up: bool,
}

impl Link {
    /// Reads the message about a link; `None` if it is malformed.
    pub(super) fn of(message: &Ifinfomsg) -> Option<Self> {
        let attributes = message.rtattrs().get_attr_handle();
        let name = attributes.get_attribute(Ifla::Ifname)?.payload().as_ref();
        Some(Self {
            name: String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned(),
            index: *message.ifi_index(),
            kind: kind(message),
            mtu: attributes.get_attr_payload_as(Ifla::Mtu).ok()?,
            up: message.ifi_flags().contains(Iff::UP),
        })
    }
}

/// `IFLA_TUN_TYPE` of `linux/if_link.h`, which neli does not name.
const IFLA_TUN_TYPE: u16 = 3;

/// The kind of a link by rtnetlink's message; a network card has no `IFLA_LINKINFO`.
fn kind(link: &Ifinfomsg) -> LinkKind {
    let (info_kind, tun_type) = info(link).unwrap_or_default();
    LinkKind { info_kind, tun_type, hardware: (*link.ifi_type()).into() }
}

/// The kind, and for tun its type.
fn info(link: &Ifinfomsg) -> Option<(String, Option<u8>)> {
    let attributes = link.rtattrs().get_attr_handle();
    let info = attributes.get_nested_attributes::<IflaInfo>(Ifla::Linkinfo).ok()?;
    let bytes = info.get_attribute(IflaInfo::Kind)?.payload().as_ref();
    let kind = std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()?;
    let data = (kind == "tun").then(|| info.get_nested_attributes::<u16>(IflaInfo::Data).ok()).flatten();
    let tun_type = data.and_then(|data| data.get_attribute(IFLA_TUN_TYPE)?.payload().as_ref().first().copied());
    Some((kind.to_owned(), tun_type))
}

/// The query for the link with this index, or with this name if the index is 0. Neither is set to
/// dump all links.
///
/// # Errors
/// The message cannot be built.
fn link_question(index: i32, name: Option<&str>) -> io::Result<Ifinfomsg> {
    let filter = RtattrBuilder::default().rta_type(Ifla::ExtMask).rta_payload(SKIP_STATS).build();
    let name = name.map(|name| RtattrBuilder::default().rta_type(Ifla::Ifname).rta_payload(name.to_owned()).build());
    let attributes: Result<RtBuffer<Ifla, Buffer>, _> = [Some(filter), name].into_iter().flatten().collect();
    IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_index(index)
        .rtattrs(attributes.map_err(io::Error::other)?)
        .build()
        .map_err(io::Error::other)
}

/// The query for the route of a packet to this address. For a forwarded packet, `from` has its
/// source and the link on which it arrives.
///
/// # Errors
/// The message cannot be built.
fn route_question(to: IpAddr, from: Option<(IpAddr, i32)>) -> io::Result<Rtmsg> {
    let mut attributes = vec![(Rta::Dst, octets(to))];
    if let Some((source, link)) = from {
        attributes.extend([(Rta::Src, octets(source)), (Rta::Iif, link.to_ne_bytes().to_vec())]);
    }
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let family = if to.is_ipv4() { RtAddrFamily::Inet } else { RtAddrFamily::Inet6 };
    about_routes(family, (bits(to), from.map_or(0, |(source, _)| bits(source))), attributes)
}

/// The query for a dump of every route.
///
/// # Errors
/// The message cannot be built.
fn routes_question() -> io::Result<Rtmsg> {
    about_routes(RtAddrFamily::Unspecified, (0, 0), [])
}

/// A query about routes. `bits` are the prefix lengths of the destination and of the source.
fn about_routes(
    family: RtAddrFamily,
    bits: (u8, u8),
    attributes: impl IntoIterator<Item = (Rta, Vec<u8>)>,
) -> io::Result<Rtmsg> {
    let attribute = |(kind, value)| RtattrBuilder::default().rta_type(kind).rta_payload(Buffer::from(value)).build();
    let attributes: Result<RtBuffer<Rta, Buffer>, _> = attributes.into_iter().map(attribute).collect();
    RtmsgBuilder::default()
        .rtm_family(family)
        .rtm_dst_len(bits.0)
        .rtm_src_len(bits.1)
        .rtm_tos(0)
        .rtm_table(RtTable::Unspec)
        .rtm_protocol(Rtprot::Unspec)
        .rtm_scope(RtScope::Universe)
        .rtm_type(Rtn::Unspec)
        .rtattrs(attributes.map_err(io::Error::other)?)
        .build()
        .map_err(io::Error::other)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Cursor;

    use neli::{FromBytesWithInput, ToBytes};

    use super::*;

    /// An attribute of this kind and value, with its length before and the padding after.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn bytes(message: &impl ToBytes) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        message.to_bytes(&mut bytes).unwrap();
        bytes.into_inner()
    }

    /// The kernel's message about `tun0`: `struct ifinfomsg` with index 7 and `IFF_UP`, and these
    /// attributes.
    fn tun0(attributes: &[Vec<u8>]) -> Option<Link> {
        let mut bytes = [&[0, 0][..], &0xfffe_u16.to_ne_bytes(), &7_i32.to_ne_bytes()].concat();
        bytes.extend([1_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat());
        bytes.extend(attributes.concat());
        let message = Ifinfomsg::from_bytes_with_input(&mut Cursor::new(&bytes), bytes.len()).unwrap();
        Link::of(&message)
    }

    #[test]
    fn a_link_is_read_with_its_index_and_kind() {
        let (name, mtu) = (attribute(3, b"tun0\0"), attribute(4, &1380_u32.to_ne_bytes()));
        // IFLA_LINKINFO { IFLA_INFO_KIND "tun", IFLA_INFO_DATA { IFLA_TUN_TYPE 1 } }.
        let info = attribute(18, b"\x08\0\x01\0tun\0\x0c\0\x02\0\x05\0\x03\0\x01\0\0\0");
        let kind = LinkKind { info_kind: "tun".to_owned(), tun_type: Some(1), hardware: 0xfffe };
        let read = tun0(&[name.clone(), mtu.clone(), info]);
        assert_eq!(read, Some(Link { name: "tun0".to_owned(), index: 7, kind, mtu: 1380, up: true }));
        assert_eq!((tun0(&[name]), tun0(&[mtu])), (None, None), "half of it is no link");
    }

    #[test]
    fn the_mtu_of_a_route_is_that_of_a_setting_and_none_that_the_kernel_has_learnt() {
        const CLONED: u32 = 0x200;
        // `struct rtmsg` of a unicast route by link 9 with an MTU of 1400.
        let found = |family: u8, flags: u32, expires: u32| {
            let info = [0, 0, expires, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
            let mtu = attribute(8, &attribute(2, &1400_u32.to_ne_bytes()));
            let attributes = [attribute(4, &9_i32.to_ne_bytes()), mtu, attribute(12, &info)].concat();
            let bytes = [&[family, 32, 0, 0, 254, 2, 0, 1][..], &flags.to_ne_bytes(), &attributes].concat();
            route(&Rtmsg::from_bytes_with_input(&mut Cursor::new(&bytes), bytes.len()).unwrap())
        };
        for family in [2, 10] {
            assert_eq!(found(family, CLONED, 0), Some((9, Some(1400))), "a setting");
            assert_eq!(found(family, CLONED, 500), Some((9, None)), "learnt");
        }
        assert_eq!(found(10, 0, 1800), Some((9, Some(1400))), "a router's route");
    }

    #[test]
    fn a_packets_route_is_asked_for_by_all_of_its_addresses() {
        let [to, from] = ["198.41.0.4", "10.89.0.2"].map(|address| address.parse().unwrap());
        // `struct rtmsg`: AF_INET, 32 bits of either address, no type of service, table, protocol,
        // scope or type.
        let asked = [&[2, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &attribute(1, &[198, 41, 0, 4])];
        let arrives = [attribute(2, &[10, 89, 0, 2]), attribute(3, &9_i32.to_ne_bytes())];
        let expected = [asked.concat(), arrives.concat()].concat();
        assert_eq!(bytes(&route_question(to, Some((from, 9))).unwrap()), expected);
        let own = route_question("2001:503:ba3e::2:30".parse().unwrap(), None).unwrap();
        assert_eq!(bytes(&own)[..4], [10, 128, 0, 0], "AF_INET6, and the host's own packet has no source yet");
    }

    #[test]
    fn every_route_is_asked_for() {
        assert_eq!(bytes(&routes_question().unwrap()), [0; 12]);
    }
}
