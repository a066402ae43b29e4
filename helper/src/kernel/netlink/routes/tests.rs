#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use airpods_lab::{Netns, Place, eventually};
use nix::sys::socket::SockProtocol;

use super::*;

/// An IPv4 route: `struct rtmsg` of the main table, type unicast, and `RTA_OIF` 7.
fn default_route() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    bytes.extend([8, 0, 4, 0]);
    bytes.extend(7_i32.to_ne_bytes());
    bytes
}

/// The links that have one of these routes.
fn links_of(routes: &[&[u8]]) -> BTreeSet<i32> {
    let links = (0..100).collect();
    let mut search = Search { links: &links, own: BTreeSet::new(), found: BTreeMap::new() };
    routes.iter().filter_map(|body| Route::read(body)).for_each(|route| search.take(&route));
    search.found.into_keys().collect()
}

#[test]
fn routes_are_asked_for_by_type_and_link() {
    let expected = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0][..], &[8, 0, 4, 0], &7_i32.to_ne_bytes()].concat();
    assert_eq!(question(libc::RTN_UNICAST, Some(7)), expected);
    assert_eq!(question(libc::RTN_LOCAL, None), [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
}

#[test]
fn a_route_is_read_with_its_link() {
    assert_eq!(links_of(&[&default_route()]), BTreeSet::from([7]));
    // rtm_type: RTN_BLACKHOLE. rtm_table: RT_TABLE_LOCAL. rtm_flags: RTM_F_CLONED.
    for (at, byte) in [(7, 6), (4, 255), (9, 2)] {
        let mut other = default_route();
        other[at] = byte;
        assert_eq!(links_of(&[&other]), BTreeSet::new(), "byte {at}");
    }
}

#[test]
fn a_message_cut_or_changed_anywhere_is_read_or_left_out_without_a_panic() {
    let whole = default_route();
    for cut in 0..whole.len() {
        let _ = links_of(&[&whole[..cut]]);
    }
    for at in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut changed = whole.clone();
            changed[at] = byte;
            let _ = links_of(&[&changed]);
        }
    }
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
fn link_scope_is_recognised_by_the_first_bits() {
    for inside in [&[224, 0, 0, 1][..], &[0xfe, 0x80, 0, 0, 0, 0, 0, 0], &[0xfe, 0xbf, 0, 0, 0], &[0xff, 2, 0, 0, 0]] {
        assert!(is_link_scope(inside), "{inside:?}");
    }
    for outside in [&[10, 0, 0, 0][..], &[223, 0, 0, 1], &[0xfe, 0xc0, 0, 0, 0], &[0xfd, 0x80, 0, 0, 0], &[]] {
        assert!(!is_link_scope(outside), "{outside:?}");
    }
}

/// A namespace with 20,000 routes through `many`, and this number of links without routes.
fn many_routes(links: usize) -> (Netns, Socket) {
    let net = Netns::new().unwrap();
    net.add_tun("many", 1380).unwrap();
    for link in 0..links {
        net.add_tun(&format!("few{link}"), 1380).unwrap();
    }
    let numbers =
        "for a in $(seq 0 79); do for b in $(seq 0 249); do echo route add 10.$a.$b.0/24 dev many; done; done";
    net.sh(&format!("({numbers}) | ip -batch -")).unwrap();
    assert_eq!(net.sh("ip route show | wc -l").unwrap().trim(), "20000", "the premise");
    let socket = net.run(|| Socket::open(SockProtocol::NetlinkRoute, 0).unwrap());
    (net, socket)
}

/// The names of the links that begin with `asked` and have a route.
fn look(socket: &mut Socket, asked: &'static str) -> Vec<String> {
    let links = super::super::links::links(socket, &|link| link.name.as_str().starts_with(asked)).unwrap();
    let carrying = links.named.into_iter().filter(|link| link.routes.any).map(|link| link.name.to_string());
    carrying.collect()
}

#[test]
fn a_read_of_one_link_does_not_grow_with_the_routes() {
    let (net, mut socket) = many_routes(2);
    // On the namespace's thread: a dump that is abandoned needs a new socket in the same namespace.
    let mut socket = net.run(move || {
        let mut read = |link: &str, limit| {
            let link = nix::net::if_::if_nametoindex(link).unwrap().cast_signed();
            let mut read = 0;
            visit(&mut socket, libc::RTN_UNICAST, Some(link), &mut |_| {
                read += 1;
                if read < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .unwrap();
            let mut left = 0;
            socket
                .take(&mut |_| {
                    left += 1;
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(left, 0, "nothing of the routes is left to be read");
            read
        };
        assert!(read("few1", usize::MAX) < 10, "the kernel leaves the routes of other links out");
        assert_eq!(read("many", MAX_ROUTES), MAX_ROUTES);
        assert_eq!((look(&mut socket, "nobody"), look(&mut socket, "few")), (vec![], vec![]));
        assert_eq!(look(&mut socket, "many"), ["many"]);
        socket
    });
    net.sh("ip route add 10.200.0.0/16 dev few1").unwrap();
    net.run(move || assert_eq!(look(&mut socket, ""), ["many", "few1"]));
}

#[test]
fn a_route_behind_very_many_that_do_not_count_is_found() {
    let net = Netns::new().unwrap();
    net.add_tun("tun0", 1380).unwrap();
    let addresses = format!("for n in $(seq 1 {MAX_ROUTES}); do echo addr add fd00::$n/128 dev tun0 nodad; done");
    net.sh(&format!("({addresses}) | ip -6 -batch -")).unwrap();
    let look = || net.run(|| look(&mut Socket::open(SockProtocol::NetlinkRoute, 0).unwrap(), ""));
    // The kernel makes the route to a new address a moment later.
    eventually("no route counts: the premise", || look().is_empty());
    net.sh("ip -6 route add fe00::/16 dev tun0").unwrap();
    assert_eq!(look(), ["tun0"]);
}

#[test]
fn many_links_are_reported_as_exactly_as_few() {
    let (net, mut socket) = many_routes(12);
    net.sh("ip route add default dev few3; ip -6 route add 2001:db8::/32 dev few7 table 200").unwrap();
    // Routes to the host's own addresses do not count.
    net.sh("ip addr add 10.201.0.1/32 dev few0; ip route add 10.201.0.1/32 dev few5 table 201").unwrap();
    net.run(move || {
        assert_eq!(look(&mut socket, ""), ["many", "few3", "few7"]);
        for (link, carries) in [("few3", true), ("few5", false), ("few7", true)] {
            assert_eq!(look(&mut socket, link).len() == 1, carries, "{link}");
        }
    });
}

#[test]
fn the_smallest_mtu_that_a_route_through_the_link_sets_is_reported() {
    let net = Netns::new().unwrap();
    for link in ["tun0", "tun1", "tun2"] {
        net.add_tun(link, 1500).unwrap();
    }
    net.sh("ip route add 10.1.0.0/16 dev tun0 mtu 1400; ip -6 route add 2001:db8::/32 dev tun0 mtu 1300 table 77")
        .unwrap();
    net.sh("ip route add 10.2.0.0/16 dev tun1").unwrap();
    let mut socket = net.run(|| Socket::open(SockProtocol::NetlinkRoute, 0).unwrap());
    let links = super::super::links::links(&mut socket, &|_| true).unwrap().named;
    let of = |name: &str| links.iter().find(|link| link.name.as_str() == name).unwrap().routes;
    assert_eq!(of("tun0"), Routes { any: true, mtu: Some(1300) });
    assert_eq!(of("tun1"), Routes { any: true, mtu: None });
    assert_eq!(of("tun2"), Routes::default());
}
