//! Descriptors that are handed over and are not what they should be.

use std::os::fd::{AsFd, OwnedFd};

use airpods_helper::kernel::netlink::Netlink;
use airpods_lab::{Place, Sandbox};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::machine::Machine;

const ONE: &str = "export LISTEN_FDS=1 LISTEN_FDNAMES=table LISTEN_PID=$$";

/// A netlink socket that is no netfilter one.
fn route_socket() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).unwrap()
}

/// A netfilter socket that nobody has bound.
fn unbound_socket() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter).unwrap()
}

/// What a shell can hand over, beside one descriptor of ours.
fn strays() -> Vec<(&'static str, String, Option<OwnedFd>)> {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    vec![
        ("a file", format!("exec 3</dev/null; {ONE}"), None),
        ("a pipe", format!("exec 3< <(:); {ONE}"), None),
        ("a TCP socket", format!("exec 3<&0; {ONE}"), Some(tcp.into())),
        ("a netlink socket for routes", format!("exec 3<&0; {ONE}"), Some(route_socket())),
        ("a netfilter socket that is not bound", format!("exec 3<&0; {ONE}"), Some(unbound_socket())),
        (
            "three of them",
            "exec 3<&0 4<&0 5</dev/null; export LISTEN_FDS=3 LISTEN_PID=$$".to_owned(),
            Some(route_socket()),
        ),
        (
            "one without a name",
            "exec 3</dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES=a:b LISTEN_PID=$$".to_owned(),
            None,
        ),
    ]
}

/// The descriptors that a process has open, as the kernel describes them.
fn open_files(sandbox: &Sandbox) -> String {
    sandbox.sh("ls -l /proc/$(pidof airpods-helper)/fd").unwrap()
}

#[test]
fn what_is_no_socket_of_the_table_is_closed_and_said_and_the_helper_works() {
    let mut machine = Machine::new(true);
    machine.unit.start(&machine.sandbox);
    // It is ready before it is on the bus, and has everything open once it has answered.
    assert_eq!(machine.client().on_link("wg0"), Ok(true));
    let usual = open_files(&machine.sandbox).lines().count();
    machine.unit.stop(&machine.sandbox);
    for (what, listen, input) in strays() {
        machine.unit.spawn_with(&machine.sandbox, &listen, input);
        machine.unit.ready();
        assert!(machine.log().contains("event=descriptor-closed"), "{what}: {}", machine.log());
        assert!(machine.unit.has_said("FDSTOREREMOVE=1"), "{what}: it makes room for its own");
        assert!(machine.unit.keeps_something(), "{what}");
        assert_eq!(machine.client().on_link("wg0"), Ok(true), "{what}");
        assert_eq!(open_files(&machine.sandbox).lines().count(), usual, "{what}: {}", open_files(&machine.sandbox));
        assert!(machine.sandbox.sh("nft list table inet airpods").unwrap().contains("flags owner"), "{what}");
        machine.unit.stop(&machine.sandbox);
        std::fs::write(machine.sandbox.log_path("helper"), "").unwrap();
    }
}

#[test]
fn numbers_that_nothing_stands_behind_are_ignored() {
    let mut machine = Machine::new(true);
    for count in ["1", "4000000000", "99999999999999999999", "-1", "x", ""] {
        let listen = format!("export LISTEN_FDS={count} LISTEN_FDNAMES=table LISTEN_PID=$$");
        machine.unit.spawn_with(&machine.sandbox, &listen, None);
        machine.unit.ready();
        assert!(machine.log().contains("event=descriptors-ignored"), "{count}: {}", machine.log());
        assert_eq!(machine.client().on_link("wg0"), Ok(true), "{count}");
        machine.unit.stop(&machine.sandbox);
        std::fs::write(machine.sandbox.log_path("helper"), "").unwrap();
    }
}

#[test]
fn what_was_meant_for_another_process_is_not_touched() {
    let mut machine = Machine::new(true);
    machine.unit.spawn_with(&machine.sandbox, "exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=1", None);
    machine.unit.ready();
    assert!(open_files(&machine.sandbox).contains(" 3 -> /dev/null"), "{}", open_files(&machine.sandbox));
}

#[test]
fn a_kept_socket_that_owns_no_table_any_more_serves_as_well_as_a_new_one() {
    let mut machine = Machine::clamping(true);
    assert_eq!(machine.client().reset(), Ok(true));
    machine.unit.kill();
    machine.unit.start(&machine.sandbox);
    assert!(machine.log().contains("event=socket-taken-back"), "{}", machine.log());
    assert_eq!(machine.client().on_link("wg0"), Ok(true));
    assert_eq!(machine.held(), Some(vec!["wg0".to_owned()]));
}

#[test]
fn the_sockets_that_the_kernel_side_adopts_are_checked_by_the_kernels_word() {
    let net = airpods_lab::Netns::new().unwrap();
    let refused = net.run(|| {
        let cases = [route_socket(), unbound_socket(), std::os::unix::net::UnixDatagram::unbound().unwrap().into()];
        cases.map(|socket| Netlink::adopt(socket).map(drop).unwrap_err().to_string())
    });
    for (refusal, why) in refused.iter().zip(["no netfilter", "not bound", "no netfilter"]) {
        assert!(refusal.contains(why), "{refusal}");
    }
    let adopted =
        net.run(|| Netlink::adopt(Netlink::open().unwrap().owning_socket().as_fd().try_clone_to_owned().unwrap()));
    assert!(adopted.is_ok());
}
