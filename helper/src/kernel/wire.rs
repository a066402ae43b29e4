//! Netlink's bytes: messages, attributes, and the constants of the `nf_tables` interface. The other
//! kernel modules build on this one, and it depends on none of them.

use std::io;

use mnl::NlMessages;
use nix::libc;

/// Bytes of `struct nlmsghdr` (`linux/netlink.h`).
pub(super) const HEADER: usize = 16;

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// `nlmsg_flags`.
    pub(super) flags: u16,
    /// `nlmsg_seq`.
    pub(super) sequence: u32,
    /// `nlmsg_pid`: the netlink port of the socket that the message answers or reports on.
    pub(super) port: u32,
    /// The bytes after the header.
    pub(super) body: &'a [u8],
}

/// A message about one object of the kernel, without its place in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// The bytes after the header.
    pub(super) body: Vec<u8>,
}

impl<'a> Message<'a> {
    /// Parses one whole message; `None` if the header is incomplete.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER>()?;
        let [_, _, _, _, k0, k1, f0, f1, s0, s1, s2, s3, port @ ..] = *header;
        let (kind, flags) = (u16::from_ne_bytes([k0, k1]), u16::from_ne_bytes([f0, f1]));
        let (sequence, port) = (u32::from_ne_bytes([s0, s1, s2, s3]), u32::from_ne_bytes(port));
        Some(Self { kind, flags, sequence, port, body })
    }

    /// Copies the message's kind and body.
    pub(super) fn object(&self) -> Object {
        Object { kind: self.kind, body: self.body.to_vec() }
    }

    /// The errno of an acknowledgement or of the end of a dump, 0 for success. `None` for other
    /// messages.
    pub(super) fn errno(&self) -> Option<i32> {
        if !matches!(i32::from(self.kind), libc::NLMSG_ERROR | libc::NLMSG_DONE) {
            return None;
        }
        // The end of a dump carries an errno only since Linux 2.6.
        let code = self.body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        Some(code.saturating_neg().max(0))
    }

    /// Whether it is a message of `nf_tables`, not one that opens or closes a batch.
    pub(super) fn is_of_table(&self) -> bool {
        i32::from(self.kind >> 8) == libc::NFNL_SUBSYS_NFTABLES
    }

    /// Whether the kernel's tables changed during the dump (`NLM_F_DUMP_INTR`).
    pub(super) fn was_interrupted(&self) -> bool {
        i32::from(self.flags) & libc::NLM_F_DUMP_INTR != 0
    }
}

/// The messages of one datagram.
///
/// # Errors
/// If a length does not fit, the last item is an [`io::ErrorKind::InvalidData`] error.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = io::Result<Message<'_>>> {
    // Messages are padded to 4 bytes, and `NlMessages` must not get an unpadded rest.
    let whole = datagram.len() & !3;
    NlMessages::new(datagram.get(..whole).unwrap_or_default()).map(|message| {
        Message::read(message?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a netlink message was cut short"))
    })
}

/// A whole message to the kernel, which fills in the sender's port. The body is padded to 4 bytes.
pub(super) fn framed(kind: u16, flags: i32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes();
    let flags = u16::try_from(libc::NLM_F_REQUEST | flags).unwrap_or_default().to_ne_bytes();
    [&length[..], &kind.to_ne_bytes(), &flags, &sequence.to_ne_bytes(), &[0; 4], body].concat()
}

/// `nlmsg_type` of a message of `nf_tables` (`NFT_MSG_*`).
pub(super) fn nft_kind(kind: i32) -> u16 {
    u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | kind).unwrap_or_default()
}

/// The body of a message about objects of the family inet: `struct nfgenmsg`, and attributes with
/// names.
pub(super) fn inet(names: &[(u16, &str)]) -> Vec<u8> {
    let mut body = vec![u8::try_from(libc::NFPROTO_INET).unwrap_or_default(), 0, 0, 0];
    body.extend(names.iter().flat_map(|(kind, name)| attribute(*kind, format!("{name}\0").as_bytes())));
    body
}

/// `NLA_F_NESTED`: the value consists of attributes.
pub(super) const NESTED: u16 = 0x8000;

/// The type bits of `nla_type`, without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` (`NLA_TYPE_MASK`).
pub(super) const TYPE_MASK: u16 = 0x3fff;

/// Bytes of `struct nlattr`.
const ATTRIBUTE: usize = 4;

/// A sequence of attributes, top-level or nested in another one. It trusts no length: an attribute
/// that does not fit ends the walk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes that these bytes hold.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Iterates over pairs of type (with its flags) and value.
    pub(super) fn walk(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&[low, high, kind_low, kind_high], _) = rest.split_first_chunk::<ATTRIBUTE>()?;
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let value = rest.get(ATTRIBUTE..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((u16::from_ne_bytes([kind_low, kind_high]), value))
        })
    }

    /// The value of the first attribute of that type.
    pub(super) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.walk().find(|&(other, _)| other & TYPE_MASK == kind).map(|(_, value)| value)
    }

    /// The attributes nested in the first one of that type.
    pub(super) fn nested(self, kind: u16) -> Option<Self> {
        self.get(kind).map(Self)
    }

    /// The first attribute of that type as a NUL-terminated text.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }

    /// The first attribute of that type as a number in network byte order, as `nf_tables` sends
    /// them.
    pub(super) fn be32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The first attribute of that type as a number in the host's byte order, as rtnetlink sends
    /// them.
    pub(super) fn ne32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_ne_bytes)
    }

    /// Like [`Self::be32`], but with 8 bytes.
    pub(super) fn be64(self, kind: u16) -> Option<u64> {
        self.get(kind)?.try_into().ok().map(u64::from_be_bytes)
    }
}

/// An attribute to be sent, padded.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // The length fits: no attribute here comes near 64 KiB.
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or_default();
    let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Bytes of `struct nfgenmsg`, which every message of nfnetlink begins with.
pub(super) const NFGENMSG: usize = 4;

/// Attribute types of `linux/netfilter/nf_tables.h`.
pub(super) mod nfta {
    pub(in crate::kernel) const TABLE_FLAGS: u16 = 2;
    pub(in crate::kernel) const TABLE_USE: u16 = 3;
    pub(in crate::kernel) const TABLE_OWNER: u16 = 7;
    pub(in crate::kernel) const CHAIN_NAME: u16 = 3;
    pub(in crate::kernel) const CHAIN_HOOK: u16 = 4;
    pub(in crate::kernel) const CHAIN_POLICY: u16 = 5;
    pub(in crate::kernel) const CHAIN_TYPE: u16 = 7;
    pub(in crate::kernel) const SET_NAME: u16 = 2;
    pub(in crate::kernel) const SET_FLAGS: u16 = 3;
    pub(in crate::kernel) const SET_KEY_TYPE: u16 = 4;
    pub(in crate::kernel) const SET_KEY_LEN: u16 = 5;
    pub(in crate::kernel) const SET_DATA_LEN: u16 = 7;
    pub(in crate::kernel) const SET_ELEM_LIST_SET: u16 = 2;
    pub(in crate::kernel) const SET_ELEM_LIST_ELEMENTS: u16 = 3;
    pub(in crate::kernel) const SET_ELEM_KEY: u16 = 1;
    pub(in crate::kernel) const SET_ELEM_DATA: u16 = 2;
    pub(in crate::kernel) const DATA_VALUE: u16 = 1;
    pub(in crate::kernel) const RULE_CHAIN: u16 = 2;
    pub(in crate::kernel) const RULE_EXPRESSIONS: u16 = 4;
    pub(in crate::kernel) const EXPR_NAME: u16 = 1;
    pub(in crate::kernel) const EXPR_DATA: u16 = 2;
    pub(in crate::kernel) const COUNTER_PACKETS: u16 = 2;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn acknowledgement(errno: i32) -> Vec<u8> {
        let mut bytes = Vec::from(20_u32.to_ne_bytes());
        bytes.extend(u16::try_from(libc::NLMSG_ERROR).unwrap().to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend(77_u32.to_ne_bytes());
        bytes.extend((-errno).to_ne_bytes());
        bytes
    }

    #[test]
    fn an_acknowledgement_has_its_message_and_errno() {
        let mut datagram = acknowledgement(0);
        datagram.extend(acknowledgement(libc::EPERM));
        let read: Vec<_> = messages(&datagram).map(Result::unwrap).collect();
        assert_eq!(read.iter().map(Message::errno).collect::<Vec<_>>(), [Some(0), Some(libc::EPERM)]);
        assert!(read.iter().all(|message| message.sequence == 5 && message.port == 77));
    }

    #[test]
    fn a_datagram_cut_anywhere_is_an_error_and_no_panic() {
        let mut datagram = acknowledgement(0);
        datagram.extend(acknowledgement(libc::EPERM));
        for cut in 0..datagram.len() {
            assert!(messages(&datagram[..cut]).flatten().count() <= 1, "{cut}");
        }
        for length in [0_u32, 1, 15, 4096, u32::MAX] {
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(messages(&datagram).next().unwrap().is_err(), "{length}");
        }
    }

    #[test]
    fn the_smallest_errno_there_is_does_not_overflow() {
        let mut datagram = acknowledgement(0);
        datagram[16..].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert_eq!(messages(&datagram).next().unwrap().unwrap().errno(), Some(i32::MAX));
    }

    /// Type 1 = "wg\0", type 2 nested with type 3 = 7 in network byte order.
    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (length, kind) in [(7_u16, 1_u16), (12, 0x8002), (8, 3)] {
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            match kind {
                1 => bytes.extend(b"wg\0\0"),
                3 => bytes.extend(7_u32.to_be_bytes()),
                _ => {}
            }
        }
        bytes
    }

    #[test]
    fn values_are_found_by_type_also_when_nested() {
        let bytes = sample();
        let attributes = Attributes::new(&bytes);
        assert_eq!(attributes.text(1), Some("wg"));
        assert_eq!(attributes.nested(2).unwrap().be32(3), Some(7));
        assert_eq!(attributes.nested(2).unwrap().be64(3), None);
        assert_eq!(attributes.get(9), None);
    }

    #[test]
    fn a_cut_or_lying_length_ends_the_walk() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            let kept: Vec<_> = Attributes::new(&bytes[..cut]).walk().collect();
            assert!(kept.len() <= 2);
        }
        for lie in [0_u16, 3, 200, u16::MAX] {
            let mut lying = sample();
            lying[..2].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(Attributes::new(&lying).walk().count(), 0, "{lie}");
        }
    }
}
