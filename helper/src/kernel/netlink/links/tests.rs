#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;

/// What the kernel says about `tun0`: `struct ifinfomsg` with index 7 and `IFF_UP`, name, MTU, link info.
fn tun0() -> Vec<u8> {
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
    attribute(3, b"tun0\0");
    attribute(4, &1380_u32.to_ne_bytes());
    // IFLA_LINKINFO { IFLA_INFO_KIND "tun", IFLA_INFO_DATA { IFLA_TUN_TYPE 1 } }.
    attribute(18, b"\x08\0\x01\0tun\0\x0c\0\x02\0\x05\0\x03\0\x01\0\0\0");
    bytes
}

/// An IPv4 route: `struct rtmsg` of the main table, type unicast, and `RTA_OIF` 7.
fn default_route() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    bytes.extend([8, 0, 4, 0]);
    bytes.extend(7_i32.to_ne_bytes());
    bytes
}

#[test]
fn a_link_is_read_with_its_kind_and_what_it_carries() {
    let routes = [route(&default_route()).unwrap()];
    let read = link(&tun0(), &carrying_links(&routes)).unwrap();
    assert_eq!((read.name.as_str(), read.mtu, read.up, read.carries_route), ("tun0", 1380, true, true));
    assert_eq!(read.kind, LinkKind { info_kind: "tun".to_owned(), tun_type: Some(1), hardware: 0xfffe });
    assert!(!link(&tun0(), &BTreeSet::new()).unwrap().carries_route);
}

#[test]
fn a_message_cut_or_changed_anywhere_is_read_or_left_out_without_a_panic() {
    let (whole_link, whole_route) = (tun0(), default_route());
    for whole in [&whole_link, &whole_route] {
        for cut in 0..whole.len() {
            let _ = link(&whole[..cut], &BTreeSet::new());
            let _ = route(&whole[..cut]).map(|route| carrying_links(&[route]));
        }
        for at in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = link(&changed, &BTreeSet::new());
                let _ = route(&changed).map(|route| carrying_links(&[route]));
            }
        }
    }
    assert!(link(&whole_link[..8], &BTreeSet::new()).is_none());
}

#[test]
fn next_hops_that_lie_about_their_length_end() {
    let hop =
        |length: u16, flags: u8, link: i32| [&length.to_ne_bytes()[..], &[flags, 0], &link.to_ne_bytes()].concat();
    assert_eq!(next_hops(&[hop(8, 0, 3), hop(8, 0, 4)].concat()), [3, 4]);
    assert_eq!(next_hops(&[hop(8, RTNH_F_DEAD, 3), hop(8, 0, 4)].concat()), [4]);
    assert_eq!(next_hops(&[hop(0, 0, 3), hop(u16::MAX, 0, 4), hop(8, 0, 5)].concat()), [3, 4]);
    assert!(next_hops(&[1, 2, 3]).is_empty());
}

#[test]
fn link_scope_is_told_by_the_first_bits() {
    for inside in [&[224, 0, 0, 1][..], &[0xfe, 0x80, 0, 0, 0, 0, 0, 0], &[0xfe, 0xbf, 0, 0, 0], &[0xff, 2, 0, 0, 0]] {
        assert!(is_link_scope(inside), "{inside:?}");
    }
    for outside in [&[10, 0, 0, 0][..], &[223, 0, 0, 1], &[0xfe, 0xc0, 0, 0, 0], &[0xfd, 0x80, 0, 0, 0], &[]] {
        assert!(!is_link_scope(outside), "{outside:?}");
    }
}
