//! The reader's handling of each kind of call, and the writer.
#![allow(clippy::unwrap_used)]

use airpods_dbus::names;
use futures_lite::future::{poll_once, zip};
use zbus::message::{Builder, Flags};
use zruntime::block_on;

use super::super::inbox::tests::{ALICE, inbox};
use super::super::quota::{self, PER_PERSON};
use super::*;
use crate::doubles::LinesKept;

const CALLER: &str = ":1.1";

/// One call of each kind, with its name.
fn each_kind() -> Vec<(String, Message)> {
    let properties = "org.freedesktop.DBus.Properties";
    let kinds = [
        (properties, "Get"),
        (properties, "GetAll"),
        (properties, "Set"),
        ("org.freedesktop.DBus.Introspectable", "Introspect"),
        ("org.freedesktop.DBus.Peer", "Ping"),
        ("org.freedesktop.DBus.Peer", "GetMachineId"),
        (names::INTERFACE, "GetStatus"),
        (names::INTERFACE, "ClampOn"),
        (names::INTERFACE, "ClampOff"),
        (names::INTERFACE, "Reset"),
        (names::INTERFACE, "NoSuchMethod"),
        ("no.such.Interface", "NoSuchMethod"),
    ];
    let call = |interface, member| {
        sent(Message::method_call(names::OBJECT_PATH, member)).interface(interface).build(&("wg0",)).unwrap()
    };
    let mut calls: Vec<_> =
        kinds.map(|(interface, member)| (format!("{interface}.{member}"), call(interface, member))).into();
    let elsewhere = sent(Message::method_call("/not/here", "GetStatus")).interface(names::INTERFACE);
    calls.push(("an unknown path".to_owned(), elsewhere.build(&()).unwrap()));
    let nowhere = sent(Message::method_call(names::OBJECT_PATH, "GetStatus"));
    calls.push(("no interface".to_owned(), nowhere.build(&()).unwrap()));
    calls
}

fn sent(message: Builder<'_>) -> Builder<'_> {
    message.sender(OwnedUniqueName::try_from(CALLER).unwrap()).destination(names::BUS_NAME)
}

/// A reader for an inbox that knows the caller, and the lines that it logs.
fn reader() -> (Reader, LinesKept) {
    let (reader, lines, _) = reader_and_bus();
    (reader, lines)
}

/// The same, and the bus's end of its socket.
fn reader_and_bus() -> (Reader, LinesKept, UnixStream) {
    let (ours, bus) = UnixStream::pair().unwrap();
    let (inbox, lines) = inbox(&[(CALLER, ALICE)]);
    (Reader::new(stream(ours), Arc::new(inbox)), lines, bus)
}

fn stream(socket: UnixStream) -> Stream {
    Arc::new(AsyncIo::new(&SharedRuntime::current().unwrap(), socket).unwrap())
}

/// The senders and causes of the messages that are logged as dropped.
fn dropped(lines: &LinesKept) -> Vec<(String, String)> {
    let lines = lines.all().into_iter().filter(|line| line.event() == "message-dropped");
    lines
        .map(|line| [line.field("sender"), line.field("cause")].map(|field| field.unwrap().to_owned()).into())
        .collect()
}

fn arrive(reader: &Reader, message: &Message) {
    let bytes = message.data().bytes();
    assert_eq!(reader.sort(&Fixed::read(bytes).unwrap(), bytes), None);
}

#[test]
fn a_call_of_each_kind_takes_a_place_of_its_sender() {
    block_on(async {
        for (what, call) in each_kind() {
            let (reader, _) = reader();
            arrive(&reader, &call);
            assert_eq!(reader.inbox.in_flight(), 1, "{what}");
            let calls = reader.inbox.take().await.calls;
            assert!(calls.len() == 1 && calls[0].1.from == ALICE, "{what}");
            drop(calls);
            assert_eq!(reader.inbox.in_flight(), 0, "{what}");
        }
    });
}

#[test]
fn without_a_place_a_call_of_each_kind_is_refused_unread() {
    block_on(async {
        for (what, call) in each_kind() {
            let (reader, _) = reader();
            (0..PER_PERSON).for_each(|_| arrive(&reader, &call));
            assert_eq!(reader.inbox.in_flight(), PER_PERSON);
            arrive(&reader, &call);
            assert_eq!(reader.inbox.in_flight(), PER_PERSON, "{what}");
            let to = ReplyTo { caller: CALLER.try_into().unwrap(), serial: Some(call.primary_header().serial_num()) };
            let refusal = to.error(&quota::too_many()).unwrap();
            let sent: Vec<_> = reader.inbox.refusals.turn().iter().map(|sent| sent.data().bytes().len()).collect();
            assert_eq!(sent, [refusal.data().bytes().len()], "{what}");
        }
    });
}

#[test]
fn a_call_of_each_kind_that_wants_no_reply_takes_a_place_or_leaves_nothing() {
    block_on(async {
        for (what, call) in each_kind() {
            let mut bytes = call.data().bytes().to_vec();
            bytes[2] |= Flags::NO_REPLY_EXPECTED.bits();
            let (reader, lines) = reader();
            for count in 1..=PER_PERSON + 10 {
                assert_eq!(reader.sort(&Fixed::read(&bytes).unwrap(), &bytes), None);
                assert_eq!(reader.inbox.in_flight(), count.min(PER_PERSON), "{what}");
            }
            assert!(reader.inbox.refusals.turn().is_empty(), "{what}: nobody waits for a refusal");
            // One for all of them, or some more on a machine that takes very long for the calls.
            assert!((1..10).contains(&lines.all().len()), "{what}");
        }
    });
}

#[test]
fn unsolicited_messages_take_no_slot_and_are_logged_up_to_a_limit() {
    let call = sent(Message::method_call("/a", "B")).build(&()).unwrap();
    let signal = sent(Message::signal("/a", "a.b", "C")).build(&()).unwrap();
    let unanswerable = |kind: u8| {
        let mut bytes = call.data().bytes().to_vec();
        bytes[1] = kind;
        bytes
    };
    let (answer, error, unknown) = (unanswerable(2), unanswerable(3), unanswerable(77));
    block_on(async {
        for bytes in [signal.data().bytes().to_vec(), answer, error, unknown] {
            let (reader, lines) = reader();
            for _ in 0..1000 {
                assert_eq!(reader.sort(&Fixed::read(&bytes).unwrap(), &bytes), None);
            }
            assert_eq!((reader.inbox.in_flight(), reader.inbox.refusals.turn().len()), (0, 0));
            let dropped = dropped(&lines);
            assert!(dropped.len() == 100 && dropped.iter().all(|(sender, _)| sender == CALLER));
        }
    });
}

#[test]
fn a_call_without_a_sender_is_dropped_and_takes_no_place_and_the_next_message_is_read() {
    let from_nobody = |member: &str, body: &str| {
        let call = Message::method_call(names::OBJECT_PATH, member).interface(names::INTERFACE);
        call.destination(names::BUS_NAME).build(&(body,)).unwrap().data().bytes().to_vec()
    };
    // The bus gives no connection such a name.
    let named = |sender: &[u8; 4]| {
        let call = sent(Message::method_call(names::OBJECT_PATH, "Reset")).build(&()).unwrap();
        let mut bytes = call.data().bytes().to_vec();
        let at = bytes.windows(4).position(|text| text == CALLER.as_bytes()).unwrap();
        bytes[at..at + 4].copy_from_slice(sender);
        bytes
    };
    let long = "x".repeat(LONGEST_CALL);
    let calls =
        [from_nobody("ClampOff", "wg0"), from_nobody("Reset", ""), from_nobody("ClampOn", &long), named(b"root")];
    let last = Message::signal("/a", BUS, "NameLost").sender(BUS).build(&("a.b",)).unwrap();
    block_on(async {
        let (mut reader, lines, mut bus) = reader_and_bus();
        for bytes in &calls {
            bus.write_all(bytes).unwrap();
        }
        bus.write_all(last.data().bytes()).unwrap();
        let read = reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.unwrap();
        assert_eq!(read.data().bytes(), last.data().bytes());
        assert_eq!((reader.inbox.in_flight(), reader.inbox.refusals.turn().len()), (0, 0));
        assert!(poll_once(reader.inbox.take()).await.is_none(), "nothing is queued, and the bus is not asked");
        let expected = ("unknown".to_owned(), "the call has no sender".to_owned());
        assert_eq!(dropped(&lines), vec![expected; calls.len()]);
    });
}

#[test]
fn a_call_that_is_too_long_is_not_stored_even_if_all_of_it_is_header() {
    let call = |path: &str, body: &str| {
        sent(Message::method_call(path.to_owned(), "GetStatus")).build(&(body,)).unwrap().data().bytes().to_vec()
    };
    let without_body = sent(Message::method_call("/a".repeat(LONGEST_CALL / 2), "GetStatus")).build(&()).unwrap();
    let calls = [
        without_body.data().bytes().to_vec(),
        call(&"/a".repeat(LONGEST_CALL), ""),
        call("/a", &"x".repeat(LONGEST_CALL)),
    ];
    let last = Message::signal("/a", BUS, "NameLost").sender(BUS).build(&("a.b",)).unwrap();
    block_on(async {
        let (mut reader, _, mut bus) = reader_and_bus();
        for bytes in &calls {
            bus.write_all(bytes).unwrap();
        }
        bus.write_all(last.data().bytes()).unwrap();
        reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.unwrap();
        let stored: Vec<_> = reader.inbox.take().await.calls.into_iter().map(|(arrival, _)| arrival.message).collect();
        assert_eq!(stored, calls.map(|bytes| Err(bytes.len())));
    });
}

/// A writer, and the bus's end of its socket.
fn writer() -> (Writer, UnixStream) {
    let (ours, bus) = UnixStream::pair().unwrap();
    (Writer { stream: stream(ours), unsent: Vec::new() }, bus)
}

/// Messages of more bytes than a socket holds, and those bytes.
fn many() -> (Vec<Message>, Vec<u8>) {
    let message = |number: u8| Message::signal("/a", "a.b", "C").build(&vec![number; 10_000]).unwrap();
    let messages: Vec<_> = (0..100).map(message).collect();
    let bytes = messages.iter().flat_map(|message| message.data().bytes().to_vec()).collect();
    (messages, bytes)
}

/// The next bytes that the bus reads, on a thread of its own.
async fn read(mut bus: UnixStream, count: usize) -> Vec<u8> {
    let read = move || {
        let mut bytes = vec![0; count];
        bus.read_exact(&mut bytes).map(|()| bytes)
    };
    zruntime::unblock(read).await.unwrap()
}

#[test]
fn messages_go_out_whole_and_in_their_order_to_a_bus_that_reads_late() {
    block_on(async {
        let ((mut writer, bus), (messages, bytes)) = (writer(), many());
        let mut sent = Box::pin(writer.send_messages(&messages));
        assert!(poll_once(&mut sent).await.is_none(), "more than a socket holds");
        let (sent, arrived) = zip(sent, read(bus, bytes.len())).await;
        sent.unwrap();
        assert!(arrived == bytes);
        assert!(writer.unsent.is_empty() && writer.unsent.capacity() <= CHUNK);
    });
}

#[test]
fn a_cancelled_send_leaves_no_partial_message() {
    block_on(async {
        let ((mut writer, bus), (messages, bytes)) = (writer(), many());
        assert!(poll_once(writer.send_messages(&messages)).await.is_none());
        let (next, expected) = (&messages[7], [bytes, messages[7].data().bytes().to_vec()].concat());
        let (sent, arrived) = zip(writer.send_message(next), read(bus, expected.len())).await;
        sent.unwrap();
        assert!(arrived == expected);
    });
}
