//! The messages that a hostile user may send to the helper.

use airpods_dbus::names::{BUS_NAME, INTERFACE, OBJECT_PATH};
use airpods_lab::raw_bus::{Body, RawMessage, Value, field, flags, kind};

use crate::host::{clamp_off, clamp_on, helper_call};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const PEER: &str = "org.freedesktop.DBus.Peer";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";

fn call(interface: &str, member: &str) -> RawMessage {
    RawMessage::call(BUS_NAME, OBJECT_PATH, interface, member)
}

/// The message that costs the helper least.
pub(crate) fn ping() -> RawMessage {
    call(PEER, "Ping")
}

fn texts(texts: &[&str]) -> Vec<u8> {
    let mut body = Body::default();
    for text in texts {
        body.text(text);
    }
    body.0
}

/// `ay` of this many bytes.
fn bytes(count: u32) -> Vec<u8> {
    let mut body = Body::default();
    body.number(count);
    body.0.resize(4 + count as usize, b'x');
    body.0
}

/// A byte in variants nested this deep.
fn nested(depth: usize) -> Vec<u8> {
    let mut body = Body::default();
    (1..depth).for_each(|_| body.signature("v"));
    body.signature("y");
    body.0.push(7);
    body.0
}

/// An unsolicited signal or answer.
fn unasked(kind: u8) -> RawMessage {
    helper_call("Changed").with_kind(kind).with_field(field::REPLY_SERIAL, Value::Number(1))
}

/// Valid messages: both buses deliver them, or answer them by themselves, and keep the connection.
pub(crate) fn sound() -> Vec<(&'static str, RawMessage)> {
    let options = |option: &str| {
        let mut body = Body::default();
        body.text("wg0");
        let length_at = body.0.len().next_multiple_of(4);
        body.number(0);
        body.align(8);
        let start = body.0.len();
        body.text(option);
        body.signature("u");
        body.number(1300);
        let length = u32::try_from(body.0.len() - start).unwrap();
        body.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        helper_call("ClampOn").with_body("sa{sv}", body.0)
    };
    vec![
        ("Introspect", call(INTROSPECTABLE, "Introspect")),
        ("Introspect of no such object", RawMessage::call(BUS_NAME, "/", INTROSPECTABLE, "Introspect")),
        ("GetAll", call(PROPERTIES, "GetAll").with_body("s", texts(&[INTERFACE]))),
        ("GetAll of no such interface", call(PROPERTIES, "GetAll").with_body("s", texts(&["a.b"]))),
        ("Get", call(PROPERTIES, "Get").with_body("ss", texts(&[INTERFACE, "Clamps"]))),
        ("Get of no such property", call(PROPERTIES, "Get").with_body("ss", texts(&[INTERFACE, "Nothing"]))),
        ("Set", call(PROPERTIES, "Set").with_body("ssv", [texts(&[INTERFACE, "Version"]), nested(1)].concat())),
        ("Ping", ping()),
        ("GetMachineId", call(PEER, "GetMachineId")),
        ("GetStatus", helper_call("GetStatus")),
        ("GetStatus and no reply wanted", helper_call("GetStatus").with_flags(flags::NO_REPLY_EXPECTED)),
        ("Introspect and no reply wanted", call(INTROSPECTABLE, "Introspect").with_flags(flags::NO_REPLY_EXPECTED)),
        ("an unknown method", helper_call("Explode")),
        ("an unknown interface", call("org.example.Other", "Explode")),
        ("no interface", helper_call("GetStatus").without_field(field::INTERFACE)),
        ("an unknown path", RawMessage::call(BUS_NAME, "/not/here", INTERFACE, "GetStatus")),
        ("no argument", helper_call("ClampOn")),
        ("too many arguments", helper_call("ClampOff").with_body("sssss", texts(&["wg0"; 5]))),
        ("wrong types", helper_call("ClampOn").with_body("v", nested(1))),
        ("a name that is none", clamp_on("wg0\x1b[31m\nroot")),
        ("an unknown option", options("colour")),
        ("an MTU that is too small", options("mtu")),
        ("ClampOn", clamp_on("wg0")),
        ("ClampOn of every link", clamp_on("")),
        ("ClampOn and no reply wanted", clamp_on("").with_flags(flags::NO_REPLY_EXPECTED)),
        ("ClampOff that may ask", clamp_off("").with_flags(flags::ALLOW_INTERACTIVE_AUTHORIZATION)),
        ("Reset", helper_call("Reset")),
        ("a signal", helper_call("Changed").with_kind(kind::SIGNAL)),
        ("an answer to nothing", unasked(kind::RETURN)),
        ("an error about nothing", unasked(kind::ERROR).with_field(field::ERROR_NAME, Value::Text("a.b".to_owned()))),
        ("unknown flags", helper_call("GetStatus").with_flags(0xf8)),
        ("64 KiB", helper_call("ClampOn").with_body("ay", bytes(64 * 1024))),
        ("a signal of 64 KiB", helper_call("Changed").with_kind(kind::SIGNAL).with_body("ay", bytes(64 * 1024))),
        ("a path of 16 KiB", RawMessage::call(BUS_NAME, &"/a".repeat(8192), INTERFACE, "GetStatus")),
        ("a signature of 255 bytes", helper_call("ClampOn").with_body(&"y".repeat(255), vec![0; 255])),
        ("a signature 32 deep", helper_call("ClampOn").with_body(&("a".repeat(32) + "y"), vec![0; 4])),
        ("variants 60 deep", helper_call("ClampOn").with_body("v", nested(60))),
    ]
}

/// Messages that a bus may deliver unchanged, or answer by closing the connection.
pub(crate) fn unsound() -> Vec<(&'static str, RawMessage)> {
    let status = || helper_call("GetStatus");
    let deep = "a".repeat(33) + "y";
    let unknown = |code, value| status().with_field(code, value);
    let text = || Value::Text("x".to_owned());
    let mut swapped = status();
    swapped.order = b'B';
    let mut version = status();
    version.version = 2;
    vec![
        ("an unknown header field", unknown(10, text())),
        ("an unknown header field with the last code", unknown(255, Value::Number(7))),
        ("an unknown header field with a type of its own", unknown(64, Value::Raw("(uay)".to_owned(), vec![0; 8]))),
        ("a header field of code 0", unknown(0, text())),
        ("an unknown header field in a signal", unknown(99, text()).with_kind(kind::SIGNAL)),
        ("an unknown header field in a call that changes", clamp_on("").with_field(200, text())),
        ("a header field of the wrong type", unknown(field::REPLY_SERIAL, text())),
        ("a member twice", unknown(field::MEMBER, Value::Text("Reset".to_owned()))),
        ("a sender of another's", unknown(7, Value::Text(":1.0".to_owned()))),
        ("descriptors that do not come", unknown(field::UNIX_FDS, Value::Number(3))),
        (
            "a serial of 0 that is answered",
            unasked(kind::RETURN).without_field(field::REPLY_SERIAL).with_field(field::REPLY_SERIAL, Value::Number(0)),
        ),
        ("message type 0", status().with_kind(0)),
        ("an unknown message type", status().with_kind(5)),
        ("the last message type", status().with_kind(255)),
        ("a call without a member", status().without_field(field::MEMBER)),
        ("a call without a path", status().without_field(field::PATH)),
        ("an error without a name", unasked(kind::ERROR)),
        ("an answer without a serial", helper_call("x").with_kind(kind::RETURN)),
        ("a signal without an interface", status().with_kind(kind::SIGNAL).without_field(field::INTERFACE)),
        ("a member that is no name", call(INTERFACE, "Get Status\n")),
        ("an interface that is no name", call("..", "GetStatus")),
        ("a signature 33 deep", helper_call("ClampOn").with_body(&deep, vec![0; 4])),
        ("a signature 33 deep in a variant", helper_call("ClampOn").with_body("v", variant_of(&deep))),
        ("a signature without an end", helper_call("ClampOn").with_body("a{s", vec![0; 8])),
        ("a signature of unknown types", helper_call("ClampOn").with_body("sa{sv}z!", vec![0; 64])),
        ("variants 65 deep", helper_call("ClampOn").with_body("v", nested(65))),
        ("variants 1000 deep", helper_call("ClampOn").with_body("v", nested(1000))),
        ("a body that does not parse", helper_call("ClampOn").with_body("sa{sv}", vec![0xff; 64])),
        ("a body that ends too early", helper_call("ClampOn").with_body("sa{sv}", vec![3, 0, 0, 0, b'w'])),
        ("a body that goes on", helper_call("ClampOff").with_body("s", [texts(&["wg0"]), vec![7; 100]].concat())),
        ("a text that is no UTF-8", helper_call("ClampOff").with_body("s", vec![2, 0, 0, 0, 0xff, 0xfe, 0])),
        ("a text with a zero inside", helper_call("ClampOff").with_body("s", vec![3, 0, 0, 0, b'w', 0, b'0', 0])),
        ("a text of 4 GiB", helper_call("ClampOff").with_body("s", vec![0xff, 0xff, 0xff, 0xff, b'w'])),
        ("a body without a signature", RawMessage { body: vec![1; 100], ..status() }),
        ("a signature without a body", helper_call("ClampOn").with_body("sa{sv}", Vec::new())),
        ("big-endian by its word alone", swapped),
        ("protocol version 2", version),
    ]
}

fn variant_of(signature: &str) -> Vec<u8> {
    let mut body = Body::default();
    body.signature(signature);
    body.align(8);
    body.0.extend([0; 8]);
    body.0
}
