//! The bytes by which nft remembers how to print a set; the kernel keeps them unread.
//!
//! Entries are type, length, value, and may nest (`struct nftnl_udata` of libnftnl). Without them nft prints every name
//! as `""`, and a map in words that it cannot load again.

use super::layout::Set;

/// `NFTNL_UDATA_SET_KEYBYTEORDER` and the like, of libnftnl's `udata.h`.
mod set {
    pub(super) const KEY_BYTE_ORDER: u8 = 0;
    pub(super) const DATA_BYTE_ORDER: u8 = 1;
    pub(super) const KEY_TYPEOF: u8 = 3;
    pub(super) const DATA_TYPEOF: u8 = 4;
    pub(super) const DATA_INTERVAL: u8 = 6;
}

/// `enum byteorder` of nftables' `include/datatype.h`.
const HOST_ENDIAN: u32 = 1;
const BIG_ENDIAN: u32 = 2;

/// What nft attaches to the set when it loads the same table.
pub(super) fn userdata(of: Set) -> Vec<u8> {
    let key_order = number(set::KEY_BYTE_ORDER, HOST_ENDIAN);
    if !of.is_map() {
        return key_order;
    }
    [
        key_order,
        number(set::DATA_BYTE_ORDER, BIG_ENDIAN),
        nest(set::KEY_TYPEOF, &typeof_oifname()),
        nest(set::DATA_TYPEOF, &typeof_maxseg_size()),
        number(set::DATA_INTERVAL, 0),
    ]
    .concat()
}

/// `oifname`: an expression of type `EXPR_META` (9) with the key `NFT_META_OIFNAME` (7).
fn typeof_oifname() -> Vec<u8> {
    expression(9, &number(0, 7))
}

/// `tcp option maxseg size`: an expression of type `EXPR_EXTHDR` (8) with type maxseg (2), field size (1) and
/// description TCP option (2), in the order of `exthdr_expr_build_udata`.
fn typeof_maxseg_size() -> Vec<u8> {
    expression(8, &[number(1, 2), number(2, 1), number(0, 2)].concat())
}

/// `NFTNL_UDATA_SET_TYPEOF_EXPR` (0) and `NFTNL_UDATA_SET_TYPEOF_DATA` (1).
fn expression(kind: u32, data: &[u8]) -> Vec<u8> {
    [number(0, kind), nest(1, data)].concat()
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    nest(kind, &value.to_ne_bytes())
}

fn nest(kind: u8, content: &[u8]) -> Vec<u8> {
    // Nothing here comes near the 255 bytes of an entry.
    let mut bytes = vec![kind, u8::try_from(content.len()).unwrap_or_default()];
    bytes.extend(content);
    bytes
}
