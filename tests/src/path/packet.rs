//! A packet as a path sees it, and the packets by which it answers. Pure.

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, IpSlice, PacketBuilder, TcpSlice, UdpSlice, icmpv6};

use super::rules::{Refusal, Router};

/// An IP packet, parsed as far as a path needs.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) content: Content<'a>,
}

/// The content of a packet, by protocol.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Tcp(TcpSlice<'a>),
    Udp { source_port: u16, destination_port: u16 },
    Icmp,
    Other,
}

impl<'a> Packet<'a> {
    /// `None` unless the bytes are one whole IP packet.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let ip = IpSlice::from_slice(bytes).ok()?;
        let payload = ip.payload();
        let content = match payload.ip_number {
            IpNumber::TCP => TcpSlice::from_slice(payload.payload).map_or(Content::Other, Content::Tcp),
            IpNumber::UDP => UdpSlice::from_slice(payload.payload).map_or(Content::Other, |udp| Content::Udp {
                source_port: udp.source_port(),
                destination_port: udp.destination_port(),
            }),
            IpNumber::ICMP | IpNumber::IPV6_ICMP => Content::Icmp,
            _ => Content::Other,
        };
        Some(Self { bytes, source: ip.source_addr(), destination: ip.destination_addr(), content })
    }

    /// The two ports, where there are some.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        match &self.content {
            Content::Tcp(tcp) => Some((tcp.source_port(), tcp.destination_port())),
            Content::Udp { source_port, destination_port } => Some((*source_port, *destination_port)),
            Content::Icmp | Content::Other => None,
        }
    }

    /// The router's report that this packet is larger than `mtu`: "fragmentation needed" (RFC 1191)
    /// or "packet too big" (RFC 8201). "Don't fragment" is not checked for IPv4, because Linux
    /// always sets it here.
    pub(super) fn too_big(&self, mtu: u16, router: Router) -> Option<Vec<u8>> {
        let v6 = Icmpv6Type::PacketTooBig { mtu: mtu.into() };
        self.report(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu }, v6, router)
    }

    /// The packet that refuses this one; `None` for silence.
    pub(super) fn refusal(&self, how: Refusal, router: Router) -> Option<Vec<u8>> {
        use DestUnreachableHeader::{FilterProhibited, Host};
        use icmpv6::DestUnreachableCode::{Address, Prohibited};
        match how {
            Refusal::Drop => None,
            Refusal::Reset => self.reset(),
            Refusal::Prohibited => {
                self.report(FilterProhibited, Icmpv6Type::DestinationUnreachable(Prohibited), router)
            }
            Refusal::Unreachable => self.report(Host, Icmpv6Type::DestinationUnreachable(Address), router),
        }
    }

    /// The reset by which the receiver of this segment would refuse it (RFC 9293, section 3.5.2).
    pub(super) fn reset(&self) -> Option<Vec<u8>> {
        let Content::Tcp(tcp) = &self.content else { return None };
        let (from, to) = (tcp.destination_port(), tcp.source_port());
        let step = match (self.source, self.destination) {
            (IpAddr::V4(back), IpAddr::V4(own)) => PacketBuilder::ipv4(own.octets(), back.octets(), TTL),
            (IpAddr::V6(back), IpAddr::V6(own)) => PacketBuilder::ipv6(own.octets(), back.octets(), TTL),
            _ => return None,
        };
        let mut bytes = Vec::new();
        if tcp.ack() {
            step.tcp(from, to, tcp.acknowledgment_number(), 0).rst().write(&mut bytes, &[]).ok()?;
        } else {
            let length = u32::try_from(tcp.payload().len()).ok()? + u32::from(tcp.syn());
            let step = step.tcp(from, to, 0, 0).rst().ack(tcp.sequence_number().wrapping_add(length));
            step.write(&mut bytes, &[]).ok()?;
        }
        Some(bytes)
    }

    fn report(&self, v4: DestUnreachableHeader, v6: Icmpv6Type, router: Router) -> Option<Vec<u8>> {
        /// The quoted bytes of the largest report: the minimum IPv6 MTU (RFC 4443, section 2.4 c)
        /// without the headers of IPv6 and `ICMPv6`.
        const V6_REPORT: usize = 1280 - 48;
        let mut bytes = Vec::new();
        match self.source {
            IpAddr::V4(back) => {
                // The header and eight bytes more (RFC 792).
                let quoted = &self.bytes[..self.bytes.len().min(28)];
                let step = PacketBuilder::ipv4(router.v4.octets(), back.octets(), TTL);
                step.icmpv4(Icmpv4Type::DestinationUnreachable(v4)).write(&mut bytes, quoted).ok()?;
            }
            IpAddr::V6(back) => {
                let quoted = &self.bytes[..self.bytes.len().min(V6_REPORT)];
                let step = PacketBuilder::ipv6(router.v6.octets(), back.octets(), TTL);
                step.icmpv6(v6).write(&mut bytes, quoted).ok()?;
            }
        }
        Some(bytes)
    }

    /// This packet with an MSS of at most `limit`, where it is a SYN or SYN-ACK that announces
    /// more.
    pub(super) fn with_mss(&self, limit: u16) -> Option<Vec<u8>> {
        /// Option kind and length (RFC 9293, section 3.2).
        const MSS: [u8; 2] = [2, 4];
        let Content::Tcp(tcp) = &self.content else { return None };
        let mut header = tcp.to_header();
        let at = mss_at(header.options.as_slice()).filter(|_| tcp.syn())?;
        let option = header.options.as_mut_slice().get_mut(at..at + 4)?;
        if option[..2] != MSS || u16::from_be_bytes([option[2], option[3]]) <= limit {
            return None;
        }
        option[2..].copy_from_slice(&limit.to_be_bytes());
        header.checksum = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), tcp.payload()).ok()?
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), tcp.payload()).ok()?
            }
            _ => return None,
        };
        let start = self.bytes.len().checked_sub(tcp.slice().len())?;
        Some([&self.bytes[..start], &header.to_bytes(), tcp.payload()].concat())
    }
}

/// Hop limit of an answer.
const TTL: u8 = 64;

/// The offset of the MSS option.
fn mss_at(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at)? {
            0 => return None,
            1 => at += 1,
            2 => return Some(at),
            _ => at += usize::from(*options.get(at + 1)?).max(2),
        }
    }
}
