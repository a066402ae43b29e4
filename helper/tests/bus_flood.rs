//! Hostile messages and floods: the helper keeps running, and its memory does not grow.
//! `tests/tests/hostile_neighbour` does the same with the program itself, on both bus daemons and
//! at the bus's own limits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use airpods_dbus::{ErrorKind, names};
use airpods_lab::raw_bus::{Body, RawConnection, RawMessage, Value, field, flags, kind as kinds};
use private_bus::*;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

fn connect(helper: &Helper, uid: u32) -> RawConnection {
    RawConnection::open(uid, &helper.bus.socket()).unwrap()
}

fn call(member: &str) -> RawMessage {
    call_of(names::INTERFACE, member)
}

fn call_of(interface: &str, member: &str) -> RawMessage {
    RawMessage::call(names::BUS_NAME, names::OBJECT_PATH, interface, member)
}

fn text(text: &str) -> Vec<u8> {
    let mut body = Body::default();
    body.text(text);
    body.0
}

#[test]
fn a_message_with_an_unknown_header_field_is_read_without_it() {
    let helper = Helper::start();
    let mut client = connect(&helper, 0);
    // Not 10: dbus-daemon reserves it for containers and disconnects a sender that uses it.
    for field in [11, 42, 255] {
        let reply = client.call(&call("GetStatus").with_field(field, Value::Text("what is this".to_owned()))).unwrap();
        assert_eq!(reply.error, None, "field {field}");
    }
    assert!(helper.is_running());
}

#[test]
fn an_unreadable_message_is_answered_or_dropped_and_the_next_call_served() {
    let helper = Helper::start();
    let arrays = format!("{}y", "a".repeat(33));
    let structs = format!("{}y{}", "(".repeat(33), ")".repeat(33));
    for message in [
        call("Reset").with_body(&arrays, Vec::new()),
        call("Reset").with_body(&structs, Vec::new()),
        call("Reset").with_kind(kinds::RETURN),
        call("Reset").with_kind(kinds::SIGNAL),
        call("Reset").with_kind(77),
        call("ClampOn").with_body("sa{sv}", vec![0xff; 64]),
    ] {
        // The bus may refuse the message and disconnect the caller. A message that it passes on
        // must do no harm.
        drop(connect(&helper, NOBODY).send(&message));
        assert_eq!(connect(&helper, NOBODY).call(&call("GetStatus")).unwrap().error, None);
    }
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

/// Sends as many calls as the bus allows one user to have open, from this many connections. The
/// client reads no answers, so the bus has to hold them.
fn flood(helper: &Helper, connections: usize, message: &RawMessage) {
    let mut clients: Vec<_> = (0..connections).map(|_| connect(helper, NOBODY)).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                for _ in 0..128 {
                    client.send(message).unwrap();
                }
            });
        }
    });
    assert_eq!(helper.client().status().clamps.len(), 0);
}

#[test]
fn a_flood_of_each_kind_of_call_leaves_the_helper_small_and_others_served() {
    let helper = Helper::start();
    helper.client().status();
    for (what, message) in [
        ("introspection", call_of("org.freedesktop.DBus.Introspectable", "Introspect")),
        ("a ping", call_of("org.freedesktop.DBus.Peer", "Ping")),
        ("all properties", call_of(PROPERTIES, "GetAll").with_body("s", text(names::INTERFACE))),
        ("an unknown method", call("NoSuchMethod")),
        ("an unknown interface", call_of("no.such.Interface", "NoSuchMethod")),
        ("an unknown path", RawMessage::call(names::BUS_NAME, "/not/here", names::INTERFACE, "GetStatus")),
        ("no reply wanted", call("GetStatus").with_flags(flags::NO_REPLY_EXPECTED)),
        ("a signal", call("Changed").with_kind(kinds::SIGNAL)),
        ("an answer", call("Answer").with_kind(kinds::RETURN).with_field(field::REPLY_SERIAL, Value::Number(1))),
        ("a long body", call("ClampOff").with_body("s", text(&"x".repeat(5000)))),
        ("bad arguments", call("ClampOn").with_body("y", vec![1])),
        ("a status", call("GetStatus")),
        ("a change", call("ClampOff").with_body("s", text("wg0"))),
    ] {
        let before = resident();
        flood(&helper, 40, &message);
        let after = resident();
        assert!(after < before + 8 * 1024, "{what}: {before} KiB before, {after} KiB after");
    }
    assert_eq!(kind(helper.client().on_link("a b")), ErrorKind::InvalidLinkName);
}

/// Sends as many calls as one connection may have open, and waits for all answers.
fn burst(client: &mut RawConnection) {
    let mut unanswered: HashSet<u32> = (0..128).map(|_| client.send(&call("GetStatus")).unwrap()).collect();
    while !unanswered.is_empty() {
        let received = client.receive().unwrap();
        if received.reply_serial.is_some_and(|serial| unanswered.remove(&serial)) {
            let refused = "org.freedesktop.DBus.Error.LimitsExceeded";
            assert!(received.error.is_none_or(|error| error == refused));
        }
    }
}

#[test]
fn every_call_of_a_burst_is_answered() {
    let helper = Helper::start();
    let mut client = connect(&helper, NOBODY);
    burst(&mut client);
    assert_eq!(client.call(&call("GetStatus")).unwrap().error, None);
}

#[test]
fn refusals_for_closed_connections_delay_no_caller() {
    let helper = Helper::start();
    // 12,800 calls: the refusals that wait for them take ten seconds, or two minutes without their
    // bound.
    flood(&helper, 100, &call("GetStatus"));
    let start = Instant::now();
    burst(&mut connect(&helper, NOBODY));
    // This takes about a second, because a person's newest call is refused first.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}

/// The resident memory of this process in KiB; the helper runs in it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
