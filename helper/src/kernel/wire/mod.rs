//! Netlink's bytes: messages, attributes, and the numbers of the kernel's nftables interface and of TCP that both writing and
//! reading rules need. Everything else of the kernel side builds on this, and this on nothing of it.

pub(in crate::kernel) mod attribute;
pub(in crate::kernel) mod message;

/// nft's number for the type `ifname` (`TYPE_IFNAME` in nftables' `include/datatype.h`).
pub(in crate::kernel) const IFNAME: u32 = 41;
/// nft's number for the type `integer` (`TYPE_INTEGER`).
pub(in crate::kernel) const INTEGER: u32 = 4;
/// Bytes of a link name with its padding, `IFNAMSIZ`.
pub(in crate::kernel) const NAME_LEN: u32 = 16;
/// Bytes of an MSS.
pub(in crate::kernel) const MSS_LEN: u32 = 2;
/// Where the flags are in the TCP header (RFC 9293, section 3.1).
pub(in crate::kernel) const TCP_FLAGS_OFFSET: u32 = 13;
/// `NFT_RT_TCPMSS` of `linux/netfilter/nf_tables.h`.
pub(in crate::kernel) const RT_TCPMSS: u32 = 3;
/// `NFT_BYTEORDER_HTON`.
pub(in crate::kernel) const BYTEORDER_HTON: u32 = 1;
/// `NFT_EXTHDR_OP_TCPOPT`.
pub(in crate::kernel) const EXTHDR_TCPOPT: u32 = 1;
/// The option's kind, maximum segment size (RFC 9293, section 3.2).
pub(in crate::kernel) const TCPOPT_MSS: u8 = 2;
/// Where the value is in the option, behind kind and length.
pub(in crate::kernel) const MSS_OFFSET: u32 = 2;

/// Bytes of `struct nfgenmsg`, which every message of nfnetlink begins with.
pub(in crate::kernel) const NFGENMSG: usize = 4;

/// Attribute types of `linux/netfilter/nf_tables.h`.
pub(in crate::kernel) mod nfta {
    pub(in crate::kernel) const TABLE_FLAGS: u16 = 2;
    pub(in crate::kernel) const TABLE_USE: u16 = 3;
    pub(in crate::kernel) const TABLE_OWNER: u16 = 7;
    pub(in crate::kernel) const CHAIN_NAME: u16 = 3;
    pub(in crate::kernel) const CHAIN_HOOK: u16 = 4;
    pub(in crate::kernel) const CHAIN_POLICY: u16 = 5;
    pub(in crate::kernel) const CHAIN_TYPE: u16 = 7;
    pub(in crate::kernel) const HOOK_HOOKNUM: u16 = 1;
    pub(in crate::kernel) const HOOK_PRIORITY: u16 = 2;
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
    pub(in crate::kernel) const DATA_VERDICT: u16 = 2;
    pub(in crate::kernel) const RULE_CHAIN: u16 = 2;
    pub(in crate::kernel) const RULE_EXPRESSIONS: u16 = 4;
    pub(in crate::kernel) const EXPR_NAME: u16 = 1;
    pub(in crate::kernel) const EXPR_DATA: u16 = 2;
}
