//! Each kind of call, as the reader sorts it.
#![allow(clippy::unwrap_used)]
use std::num::NonZeroU32;

use airpods_dbus::names;
use zruntime::block_on;

use super::super::caller::Identity;
use super::super::person::Person;
use super::super::quota::PER_PERSON;
use super::*;

const CALLER: &str = ":1.1";
const ALICE: Identity = Identity { uid: 1000, person: Person(1000) };

/// A call of each kind, of one serial.
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
        let call = Message::method_call(names::OBJECT_PATH, member).sender(OwnedUniqueName::try_from(CALLER).unwrap());
        call.destination(names::BUS_NAME).interface(interface).build(&("wg0",)).unwrap()
    };
    kinds.map(|(interface, member)| (format!("{interface}.{member}"), call(interface, member))).into()
}

/// A reader for an inbox that knows the caller.
fn reader() -> Reader {
    let runtime = SharedRuntime::current().unwrap();
    let stream = AsyncIo::new(&runtime, UnixStream::pair().unwrap().0).unwrap();
    let inbox = Arc::<Inbox>::default();
    inbox.callers.remember(&CALLER.try_into().unwrap(), ALICE);
    Reader { stream: Stream(Arc::new(stream)), inbox, received: Received::new() }
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
            reader.inbox.outbox.take_turn();
            let mut refusal = Vec::new();
            let serial: NonZeroU32 = call.primary_header().serial_num();
            super::super::reply::write_refusal(&mut refusal, CALLER, serial);
            assert_eq!(reader.inbox.outbox.waiting(), refusal.len(), "{what}");
        }
    });
}
