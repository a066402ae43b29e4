//! The reader's handling of each kind of call, and the writer.
#![allow(clippy::unwrap_used)]

use airpods_dbus::names;
use futures_lite::future::{poll_once, zip};
use zbus::message::{Builder, Flags};
use zruntime::block_on;

use super::super::caller::Identity;
use super::super::person::Person;
use super::super::quota::{self, PER_PERSON};
use super::*;

const CALLER: &str = ":1.1";
const ALICE: Identity = Identity { uid: 1000, person: Person(1000) };

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

/// A reader for an inbox that knows the caller.
fn reader() -> Reader {
    reader_and_bus().0
}

/// The same, and the bus's end of its socket.
fn reader_and_bus() -> (Reader, UnixStream) {
    let runtime = SharedRuntime::current().unwrap();
    let (ours, bus) = UnixStream::pair().unwrap();
    let stream = AsyncIo::new(&runtime, ours).unwrap();
    let inbox = Arc::<Inbox>::default();
    inbox.callers.remember(&CALLER.try_into().unwrap(), ALICE);
    (Reader { stream: Stream(Arc::new(stream)), inbox, received: Received::new() }, bus)
}

fn arrive(reader: &Reader, message: &Message) {
    let bytes = message.data().bytes();
    assert_eq!(reader.sort(&Fixed::read(bytes).unwrap(), bytes), None);
}

#[test]
fn a_call_of_each_kind_takes_a_place_of_its_sender() {
    block_on(async {
        for (what, call) in each_kind() {
            let reader = reader();
            arrive(&reader, &call);
            assert_eq!(reader.inbox.in_flight(), 1, "{what}");
            let admitted = reader.inbox.take().await.arrivals;
            assert!(admitted.len() == 1 && admitted[0].from == ALICE, "{what}");
            drop(admitted);
            assert_eq!(reader.inbox.in_flight(), 0, "{what}");
        }
    });
}

#[test]
fn without_a_place_a_call_of_each_kind_is_refused_unread() {
    block_on(async {
        for (what, call) in each_kind() {
            let reader = reader();
            let place = || match reader.inbox.admission(CALLER, Instant::now()) {
                Admission::Place(_, slot) => Some(slot),
                _ => None,
            };
            let places: Vec<_> = std::iter::from_fn(place).collect();
            assert_eq!(places.len(), PER_PERSON);
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
            let reader = reader();
            for count in 1..=PER_PERSON + 10 {
                assert_eq!(reader.sort(&Fixed::read(&bytes).unwrap(), &bytes), None);
                assert_eq!(reader.inbox.in_flight(), count.min(PER_PERSON), "{what}");
            }
            assert!(reader.inbox.refusals.turn().is_empty(), "{what}: nobody waits for a refusal");
            assert_eq!(reader.inbox.take().await.ignored.len(), 1, "{what}: one line for all of them");
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
            let reader = reader();
            for _ in 0..1000 {
                assert_eq!(reader.sort(&Fixed::read(&bytes).unwrap(), &bytes), None);
            }
            assert_eq!((reader.inbox.in_flight(), reader.inbox.refusals.turn().len()), (0, 0));
            let ignored = reader.inbox.take().await.ignored;
            assert!(
                ignored.len() < 100
                    && ignored.iter().all(|note| note.sender.as_ref().is_some_and(|name| *name == CALLER))
            );
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
    let calls = [
        (from_nobody("ClampOff", "wg0"), "the call has no sender"),
        (from_nobody("Reset", ""), "the call has no sender"),
        (from_nobody("ClampOn", &"x".repeat(LONGEST_CALL)), "the call has no sender"),
        (named(b"root"), "its sender is no name"),
    ];
    let last = Message::signal("/a", BUS, "NameLost").sender(BUS).build(&("a.b",)).unwrap();
    block_on(async {
        let (mut reader, mut bus) = reader_and_bus();
        for (bytes, _) in &calls {
            bus.write_all(bytes).unwrap();
        }
        bus.write_all(last.data().bytes()).unwrap();
        let read = reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.unwrap();
        assert_eq!(read.data().bytes(), last.data().bytes());
        assert_eq!((reader.inbox.in_flight(), reader.inbox.refusals.turn().len()), (0, 0));
        let waiting = reader.inbox.take().await;
        assert!(waiting.arrivals.is_empty() && waiting.to_identify.is_empty());
        let causes: Vec<_> = waiting.ignored.iter().map(|message| (message.sender.as_ref(), message.cause)).collect();
        assert_eq!(causes, calls.map(|(_, cause)| (None, cause)));
    });
}

/// A writer, and the bus's end of its socket.
fn writer() -> (Writer, UnixStream) {
    let runtime = SharedRuntime::current().unwrap();
    let (ours, bus) = UnixStream::pair().unwrap();
    (Writer { stream: Stream(Arc::new(AsyncIo::new(&runtime, ours).unwrap())), unsent: Vec::new() }, bus)
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
