//! Messages that no honest caller sends, and very many of them: the helper goes on, and stays as small as it was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::thread;

use airpods_dbus::{ErrorKind, names};
use private_bus::raw::{Call, RawClient};
use private_bus::*;

#[test]
fn a_message_with_an_unknown_header_field_is_read_without_it() {
    let helper = Helper::start();
    let mut client = RawClient::connect(&helper.bus);
    // dbus-daemon itself throws out whoever sends 10, which it keeps for containers.
    for field in [11, 42, 255] {
        let reply = client.call(&Call { unknown_field: Some(field), ..Call::to("GetStatus") });
        assert_eq!(reply.error, None, "field {field}");
    }
    assert!(helper.is_running());
}

#[test]
fn what_cannot_be_read_is_answered_or_dropped_and_the_next_call_is_served() {
    let helper = Helper::start();
    let mut client = RawClient::connect(&helper.bus);
    let deep = format!("{}y", "a".repeat(33));
    for signature in [deep.as_str(), "(((((((((((((((((((((((((((((((((y)))))))))))))))))))))))))))))))))"] {
        // The bus may refuse these itself; what it lets through must do no harm.
        client.send(&Call { signature: Some(signature.to_owned()), ..Call::to("Reset") });
    }
    client.send(&Call { kind: 2, ..Call::to("Reset") });
    client.send(&Call { kind: 4, ..Call::to("Reset") });
    drop(client);
    let mut client = RawClient::connect(&helper.bus);
    assert_eq!(client.call(&Call::to("GetStatus")).error, None);
    let garbage = Call { signature: Some("sa{sv}".to_owned()), body: vec![0xff; 64], ..Call::to("ClampOn") };
    client.send(&garbage);
    let mut other = RawClient::connect(&helper.bus);
    assert_eq!(other.call(&Call::to("GetStatus")).error, None);
    assert!(helper.is_running(), "{}", helper.log_text());
}

#[test]
fn an_unwanted_signal_is_dropped_and_noted_with_its_sender() {
    let helper = Helper::start();
    let client = helper.client();
    let signal = zbus::Message::signal("/a", "a.b", "C").destination(names::BUS_NAME).build(&()).unwrap();
    zruntime::block_on(client.connection.send(&signal)).unwrap();
    helper.wait_until("it is noted", || helper.log_text().contains("event=message-dropped"));
    assert!(helper.log_text().contains(&format!("sender={}", client.name())), "{}", helper.log_text());
}

/// Fills the bus's own limit with one kind of call from one user, from so many connections.
fn flood(helper: &Helper, connections: usize, call: &Call) {
    let mut clients: Vec<_> = (0..connections).map(|_| RawClient::connect_as(&helper.bus, NOBODY)).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                for _ in 0..128 {
                    client.send(call);
                }
                // Nobody reads the answers: they are the bus's to hold.
            });
        }
    });
    let alone = helper.client();
    assert_eq!(alone.status().clamps.len(), 0);
}

#[test]
fn a_flood_of_each_kind_of_call_leaves_the_helper_small_and_others_served() {
    let helper = Helper::start();
    helper.client().status();
    for call in [
        Call { interface: "org.freedesktop.DBus.Introspectable", ..Call::to("Introspect") },
        Call { interface: "org.freedesktop.DBus.Peer", ..Call::to("Ping") },
        Call::to("NoSuchMethod"),
        Call::to("GetStatus"),
        Call { signature: Some("s".to_owned()), body: b"\x03\0\0\0wg0\0".to_vec(), ..Call::to("ClampOff") },
    ] {
        let before = heap();
        flood(&helper, 40, &call);
        let after = heap();
        assert!(after < before + 8 * 1024, "{}: {before} KiB before, {after} KiB after", call.member);
    }
    assert_eq!(kind(helper.client().on_link("a b")), ErrorKind::InvalidLinkName);
}

/// The resident memory of this process, in KiB; the helper is in it.
fn heap() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
