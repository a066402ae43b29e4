#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;

/// What the kernel says about a link: `struct ifinfomsg` with index 7 and `IFF_UP`, name, MTU, link info.
fn message(name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(0xfffe_u16.to_ne_bytes());
    bytes.extend(7_i32.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    let mut attribute = |kind: u16, value: &[u8]| {
        bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    attribute(3, name);
    attribute(4, &1380_u32.to_ne_bytes());
    // IFLA_LINKINFO { IFLA_INFO_KIND "tun", IFLA_INFO_DATA { IFLA_TUN_TYPE 1 } }.
    attribute(18, b"\x08\0\x01\0tun\0\x0c\0\x02\0\x05\0\x03\0\x01\0\0\0");
    bytes
}

#[test]
fn a_link_whose_name_could_not_be_asked_for_is_left_out() {
    let (index, read) = link(&message(b"tun0\0")).unwrap();
    assert_eq!((index, read.name.as_str(), read.mtu, read.up), (7, "tun0", 1380, true));
    for name in [&b"tun\xff\0"[..], b"a b\0", b"\x1b]0;x\0", b"\0"] {
        assert!(link(&message(name)).is_none(), "{name:?}");
    }
}

#[test]
fn a_message_cut_or_changed_anywhere_is_read_or_left_out_without_a_panic() {
    let whole = message(b"tun0\0");
    for cut in 0..whole.len() {
        let _ = link(&whole[..cut]);
    }
    for at in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut changed = whole.clone();
            changed[at] = byte;
            let _ = link(&changed);
        }
    }
    assert!(link(&whole[..8]).is_none());
}
