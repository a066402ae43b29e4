//! What rtnetlink is asked about links and routes, and how a link is read. neli reads and writes the messages.

use std::io;
use std::net::IpAddr;

use airpods_dbus::LinkKind;
use neli::attr::Attribute;
use neli::consts::rtnl::{Iff, Ifla, IflaInfo, RtAddrFamily, RtScope, RtTable, Rta, Rtn, Rtprot};
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder, RtattrBuilder, Rtmsg, RtmsgBuilder};
use neli::types::{Buffer, RtBuffer};

/// `RTEXT_FILTER_SKIP_STATS` of `linux/rtnetlink.h`: statistics are most of a link's message, and unread here.
const SKIP_STATS: u32 = 1 << 3;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its name; what is no UTF-8 in it is replaced, and then it is nobody's name.
    pub(super) name: String,
    /// Its index.
    pub(super) index: i32,
    /// What it is.
    pub(super) kind: LinkKind,
    /// Its MTU in bytes.
    pub(super) mtu: u32,
    /// Somebody switched it on.
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

/// What rtnetlink's message about a link says it is; hardware has no `IFLA_LINKINFO`.
fn kind(link: &Ifinfomsg) -> LinkKind {
    let (info_kind, tun_type) = info(link).unwrap_or_default();
    LinkKind { info_kind, tun_type, hardware: (*link.ifi_type()).into() }
}

/// The kind and, for tun, its type.
fn info(link: &Ifinfomsg) -> Option<(String, Option<u8>)> {
    let attributes = link.rtattrs().get_attr_handle();
    let info = attributes.get_nested_attributes::<IflaInfo>(Ifla::Linkinfo).ok()?;
    let bytes = info.get_attribute(IflaInfo::Kind)?.payload().as_ref();
    let kind = std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()?;
    let data = (kind == "tun").then(|| info.get_nested_attributes::<u16>(IflaInfo::Data).ok()).flatten();
    let tun_type = data.and_then(|data| data.get_attribute(IFLA_TUN_TYPE)?.payload().as_ref().first().copied());
    Some((kind.to_owned(), tun_type))
}

/// The question about the link with this index, or of this name where that is 0; with neither, to be asked for every link.
///
/// # Errors
/// When the message cannot be built.
pub(super) fn link_question(index: i32, name: Option<&str>) -> io::Result<Ifinfomsg> {
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

/// The question by which route a packet to this address goes. `from` is its source and the link it arrives by, for one that
/// is forwarded.
///
/// # Errors
/// When the message cannot be built.
pub(super) fn route_question(to: IpAddr, from: Option<(IpAddr, i32)>) -> io::Result<Rtmsg> {
    let mut attributes = vec![(Rta::Dst, octets(to))];
    if let Some((source, link)) = from {
        attributes.extend([(Rta::Src, octets(source)), (Rta::Iif, link.to_ne_bytes().to_vec())]);
    }
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let family = if to.is_ipv4() { RtAddrFamily::Inet } else { RtAddrFamily::Inet6 };
    about_routes(family, (bits(to), from.map_or(0, |(source, _)| bits(source))), attributes)
}

/// The question to be asked for every route.
///
/// # Errors
/// When the message cannot be built.
pub(super) fn routes_question() -> io::Result<Rtmsg> {
    about_routes(RtAddrFamily::Unspecified, (0, 0), [])
}

/// `bits` are those of the destination and of the source that count.
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

    /// `kind` and `value`, with the length before and the padding after.
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

    /// What the kernel says about `tun0`: `struct ifinfomsg` with index 7 and `IFF_UP`, and these attributes.
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
    fn a_packets_route_is_asked_for_by_all_of_its_addresses() {
        let [to, from] = ["198.41.0.4", "10.89.0.2"].map(|address| address.parse().unwrap());
        // `struct rtmsg`: AF_INET, 32 bits of either address, no type of service, table, protocol, scope or type.
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
