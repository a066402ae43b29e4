//! A walk over netlink attributes: type, length and value, each padded to 4 bytes (`linux/netlink.h`, `struct nlattr`).
//!
//! Nothing here trusts a length: what does not fit ends the walk.

/// The bits of `nla_type` that are the type, without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// Bytes of `struct nlattr`.
const HEADER: usize = 4;

/// The attributes in some bytes, also those nested in the value of another.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes that these bytes hold.
    pub(in crate::kernel) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value of the first attribute of that type.
    pub(in crate::kernel) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|&(other, _)| other == kind).map(|(_, value)| value)
    }

    /// The attributes nested in the first one of that type.
    pub(in crate::kernel) fn nested(self, kind: u16) -> Option<Self> {
        self.get(kind).map(Self)
    }

    /// The first attribute of that type as a NUL-terminated text.
    pub(in crate::kernel) fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }

    /// The first attribute of that type as a number in network byte order, as `nf_tables` sends them.
    pub(in crate::kernel) fn be32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Like [`Self::be32`], with 8 bytes.
    pub(in crate::kernel) fn be64(self, kind: u16) -> Option<u64> {
        self.get(kind)?.try_into().ok().map(u64::from_be_bytes)
    }
}

impl<'a> IntoIterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    type IntoIter = Walk<'a>;

    fn into_iter(self) -> Walk<'a> {
        Walk(self.0)
    }
}

/// The walk itself; yields types and values.
#[derive(Debug)]
pub(in crate::kernel) struct Walk<'a>(&'a [u8]);

impl<'a> Iterator for Walk<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = self.0.split_first_chunk::<HEADER>()?;
        let [len_low, len_high, kind_low, kind_high] = *header;
        let length = usize::from(u16::from_ne_bytes([len_low, len_high]));
        let value = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([kind_low, kind_high]) & TYPE_MASK, value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
            let kept: Vec<_> = Attributes::new(&bytes[..cut]).into_iter().collect();
            assert!(kept.len() <= 2);
        }
        for lie in [0_u16, 3, 200, u16::MAX] {
            let mut lying = sample();
            lying[..2].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(Attributes::new(&lying).into_iter().count(), 0, "{lie}");
        }
    }
}
