//! Which changes the helper gets as events, and which not.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use airpods_helper::kernel::{Event, Events, Kernel, Ruleset};
use airpods_lab::Place;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket};

use crate::host::{Host, another_helper, ruleset};

fn readable(watch: &dyn Events, limit: Duration) -> bool {
    let mut waiting = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::try_from(limit).unwrap()).unwrap() == 1
}

/// All events until none has come for a moment.
fn settled(watch: &mut dyn Events) -> Vec<Event> {
    let mut events = Vec::new();
    while readable(watch, Duration::from_millis(50)) {
        events.extend(watch.drain().unwrap());
    }
    events
}

#[test]
fn links_addresses_routes_and_rules_are_reported_at_once() {
    let (host, mut watch) = Host::watching();
    host.net.add_tun("tun0", 1380).unwrap();

    settled(&mut *watch);
    for change in [
        "ip link set tun0 mtu 1300",
        "ip addr add 10.8.0.2/24 dev tun0",
        "ip -6 addr add 2001:db8::2/64 dev tun0 nodad",
        "ip route add 10.9.0.0/16 dev tun0 table 51820",
        "ip -6 route add 2001:db8:1::/48 dev tun0",
        "ip rule add from 10.8.0.2 lookup 51820",
        "ip -6 rule add from 2001:db8::2 lookup 51820",
        "ip link set tun0 name wg9",
        "ip link del wg9",
    ] {
        assert!(!readable(&*watch, Duration::ZERO), "before `{change}`");
        host.net.sh(change).unwrap();
        let start = Instant::now();
        assert!(readable(&*watch, Duration::from_secs(1)), "{change}");
        assert!(start.elapsed() < Duration::from_millis(500), "{change}");
        assert!(settled(&mut *watch).contains(&Event::Network), "{change}");
    }
}

#[test]
fn our_own_changes_and_other_tables_are_not_reported() {
    let (mut host, mut watch) = Host::watching();

    host.apply(&ruleset(&["wg0"], &[]));
    host.apply(&ruleset(&["wg1"], &[("wg0", 1300)]));
    host.kernel.apply(&Ruleset::default()).unwrap();
    host.net.nft("table inet other { chain c { }; }").unwrap();
    host.net.nft("table ip airpods { chain c { }; }").unwrap();
    host.net.nft("flush ruleset").unwrap();
    assert_eq!(settled(&mut *watch), []);
}

#[test]
fn a_foreign_creation_or_flush_of_the_table_is_reported_with_the_process() {
    let (host, mut watch) = Host::watching();

    for change in ["table inet airpods { chain c { }; }", "add rule inet airpods c accept", "flush ruleset"] {
        host.net.nft(change).unwrap();
        let events = settled(&mut *watch);
        assert!(
            matches!(&events[..], [Event::Rules { pid, program }] if *pid != 0 && program == "nft"),
            "{change}: {events:?}"
        );
    }
}

#[test]
fn another_helpers_transaction_is_foreign() {
    let (host, mut watch) = Host::watching();

    another_helper(&host.net).apply(&ruleset(&["wg0"], &[])).unwrap();
    assert!(settled(&mut *watch).iter().any(|event| matches!(event, Event::Rules { .. })));
}

#[test]
fn lost_events_are_reported_as_lost() {
    let (host, mut watch) = Host::watching();
    host.net.add_tun("tun0", 1380).unwrap();

    let flood = "for i in 1 2 3 4 5 6; do for j in $(seq 1 250); do echo addr add 10.$i.$j.1/32 dev tun0; done; done | ip -batch -";
    host.net.sh(flood).unwrap();
    assert!(watch.drain().unwrap().contains(&Event::Overrun));
    assert_eq!(watch.drain().unwrap(), []);
    host.net.sh("ip link set tun0 down").unwrap();
    assert!(settled(&mut *watch).contains(&Event::Network), "it goes on afterwards");
}

/// A netlink message as the kernel would send it, without a sequence number.
fn message(kind: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
    bytes.extend(u16::try_from(kind).unwrap().to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

/// Sends a datagram to every socket of a protocol in the namespace, as any process with
/// `CAP_NET_ADMIN` can.
fn send_to_all(host: &Host, protocol: SockProtocol, datagram: Vec<u8>) -> usize {
    let number = if protocol == SockProtocol::NetlinkRoute { 0 } else { 12 };
    // The columns are sk, Eth, Pid, Groups …: the second is the protocol, the third the port.
    let list = format!("awk '$2 == {number} && $3 != 0 {{ print $3 }}' /proc/net/netlink");
    let ports: Vec<u32> = host.net.sh(&list).unwrap().lines().map(|port| port.parse().unwrap()).collect();
    let count = ports.len();
    host.net.run(move || {
        let open = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
        for port in ports {
            sendto(open.as_raw_fd(), &datagram, &NetlinkAddr::new(port, 0), MsgFlags::empty()).unwrap();
        }
    });
    count
}

#[test]
fn messages_forged_by_another_process_are_ignored() {
    let (mut host, mut watch) = Host::watching();
    let wanted = ruleset(&["wg0"], &[]);
    host.apply(&wanted);
    settled(&mut *watch);

    let link = message(i32::from(libc::RTM_NEWLINK), &[0; 16]);
    // As in `somebody_else_making_or_flushing_the_table…`: first the deletion of the table, then
    // the process that did it.
    let nft = libc::NFNL_SUBSYS_NFTABLES << 8;
    let rules = [
        message(nft | libc::NFT_MSG_DELTABLE, b"\x01\0\0\0\x0c\0\x01\0airpods\0"),
        message(nft | libc::NFT_MSG_NEWGEN, b"\0\0\0\0\x08\0\x02\0\0\0\x02\x01"),
    ];
    for (protocol, datagram) in [(SockProtocol::NetlinkRoute, link), (SockProtocol::NetlinkNetFilter, rules.concat())] {
        assert!(send_to_all(&host, protocol, datagram) >= 2, "the helper's sockets for asking and for listening");
        assert!(readable(&*watch, Duration::from_secs(1)), "the premise: it arrives");
        assert_eq!(settled(&mut *watch), []);
        // The helper does not take it for an answer, either.
        assert_eq!(host.kernel.read_table().unwrap().unwrap().ruleset, wanted);
        assert!(host.kernel.links(&|_| true).is_ok());
    }
    host.net.sh("ip link add br0 type bridge").unwrap();
    assert!(settled(&mut *watch).contains(&Event::Network), "the kernel is still heard");
}
