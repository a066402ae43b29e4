#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use super::*;

/// The kernel's message about a link: `struct ifinfomsg` with index 7 and `IFF_UP`, name, MTU, link
/// info.
fn message(name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(0xfffe_u16.to_ne_bytes());
    bytes.extend(7_i32.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    let tun = b"\x08\0\x01\0tun\0\x0c\0\x02\0\x05\0\x03\0\x01\0\0\0";
    // IFLA_LINKINFO { IFLA_INFO_KIND "tun", IFLA_INFO_DATA { IFLA_TUN_TYPE 1 } }.
    bytes.extend([attribute(3, name), attribute(4, &1380_u32.to_ne_bytes()), attribute(18, tun)].concat());
    bytes
}

#[test]
fn a_vpn_link_whose_name_fits_no_rule_is_reported_with_the_reason() {
    for name in ["tun0", "wg+home", "mullvad=se1", "büro"] {
        let Some((7, Ok(read))) = link(&message(format!("{name}\0").as_bytes())) else { panic!("{name}") };
        assert_eq!((read.name.as_str(), read.mtu, read.up), (name, 1380, true));
        assert_eq!(read.kind, LinkKind { info_kind: "tun".to_owned(), tun_type: Some(1), hardware: 0xfffe });
    }
    for (name, shown, why) in [
        (&b"tun\xff\0"[..], "tun\\u{fffd}", "UTF-8"),
        (b"\x1b]0;x\0", "\\u{1b}]0;x", "control character"),
        (b"wg\"\0", "wg\\\"", "quotation mark"),
        (b"wg*\0", "wg*", "asterisk"),
    ] {
        let Some((7, Err(unclampable))) = link(&message(name)) else { panic!("{name:?}") };
        assert_eq!(unclampable.link, shown);
        assert!(unclampable.reason.contains(why), "{unclampable:?}");
    }
}

#[test]
fn an_unnameable_link_that_is_no_vpn_is_not_reported() {
    let mut ethernet = message(b"eth*\0");
    let kind = ethernet.windows(4).position(|bytes| bytes == b"tun\0").unwrap();
    ethernet[kind..kind + 3].copy_from_slice(b"ifb");
    assert_eq!(link(&ethernet), None);
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
