//! Messages go out in their order, and refusals in their turn.
#![allow(clippy::unwrap_used)]
use std::io::Read;

use futures_lite::future::{or, poll_once, zip};
use zruntime::{SharedRuntime, block_on};

use super::*;

/// A connection, and the bus's end of it.
fn connection() -> (AsyncIo<UnixStream, Shared>, UnixStream) {
    let (ours, bus) = UnixStream::pair().unwrap();
    let runtime = SharedRuntime::current().unwrap();
    (AsyncIo::new(&runtime, ours).unwrap(), bus)
}

/// The next bytes that the bus reads.
fn read(mut bus: &UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    bus.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn messages_go_out_whole_and_in_their_order_to_a_bus_that_reads_late() {
    block_on(async {
        let ((stream, bus), outbox) = (connection(), Outbox::default());
        let messages: Vec<Vec<u8>> = (0..100).map(|number| vec![number; 10_000]).collect();
        let end = outbox.add(messages.iter().map(Vec::as_slice));
        let mut flush = Box::pin(outbox.flush(&stream, end));
        assert!(poll_once(&mut flush).await.is_none(), "more than a socket holds");
        let late = zruntime::unblock(move || read(&bus, 1_000_000));
        let (flushed, arrived) = zip(flush, late).await;
        flushed.unwrap();
        assert_eq!(arrived, messages.concat());
        assert_eq!(outbox.waiting(), 0);
    });
}

#[test]
fn a_refusal_has_room_or_is_left_out_and_a_message_is_never() {
    let (outbox, serial) = (Outbox::default(), NonZeroU32::MIN);
    let caller = OwnedUniqueName::try_from(":1.1").unwrap();
    while outbox.waiting() < ROOM {
        outbox.add_refusal(caller.clone(), serial);
    }
    let full = outbox.waiting();
    outbox.add_refusal(caller, serial);
    assert_eq!(outbox.waiting(), full);
    outbox.add([&b"answer"[..]].into_iter());
    assert_eq!(outbox.waiting(), full + 6);
}

#[test]
fn what_nobody_waits_for_goes_out_too() {
    block_on(async {
        let ((stream, bus), outbox) = (connection(), Outbox::default());
        let refuse = async {
            // The flushing has begun, and found nothing.
            futures_lite::future::yield_now().await;
            outbox.refuse(":1.1", Some(Person::ROOT), NonZeroU32::MIN);
            let length = outbox.waiting();
            zruntime::unblock(move || read(&bus, length)).await
        };
        let flush = async { Err(outbox.keep_flushing(&stream).await.map(|never| match never {})) };
        let arrived = or(flush, async { Ok(refuse.await) }).await.unwrap();
        assert!(String::from_utf8_lossy(&arrived).contains("LimitsExceeded"));
    });
}

#[test]
fn a_new_connection_begins_with_nothing() {
    let outbox = Outbox::default();
    outbox.add([&b"half"[..]].into_iter());
    outbox.reset();
    assert_eq!((outbox.waiting(), outbox.add(std::iter::empty())), (0, 0));
}

#[test]
fn refusals_go_out_turn_by_turn_and_roots_at_once() {
    let outbox = Outbox::default();
    for number in 0..25 {
        outbox.refuse(":1.1", ALICE, serial(number));
    }
    assert_eq!(outbox.waiting(), 0, "nothing goes out before a turn");
    outbox.refuse(":1.2", Some(Person::ROOT), serial(1));
    let of_one = outbox.waiting();
    assert!(of_one > 0);
    block_on(outbox.has_refusals());
    let sent = [(); 4].map(|()| {
        let before = outbox.waiting();
        outbox.take_turn();
        (outbox.waiting() - before) / of_one
    });
    assert_eq!(sent, [10, 10, 5, 0]);
}

#[test]
fn a_turn_sends_nothing_to_a_bus_that_takes_nothing() {
    let outbox = Outbox::default();
    outbox.add(std::iter::once(vec![0; 64 * 1024].as_slice()));
    outbox.refuse(":1.1", ALICE, serial(1));
    outbox.take_turn();
    assert_eq!(outbox.waiting(), 64 * 1024);
    block_on(outbox.has_refusals());
}

const ALICE: Option<Person> = Some(Person(1000));
const BOB: Option<Person> = Some(Person(1001));

fn serial(number: usize) -> NonZeroU32 {
    u32::try_from(number + 1).ok().and_then(NonZeroU32::new).unwrap()
}

fn flood(refusals: &mut Refusals, person: Option<Person>, connections: std::ops::Range<usize>, calls: usize) {
    for call in 0..calls {
        for connection in connections.clone() {
            refusals.add(&format!(":1.{connection}"), person, serial(call));
        }
    }
}

fn all(refusals: &mut Refusals) -> Vec<(String, u32)> {
    std::iter::from_fn(|| refusals.next()).map(|(caller, serial)| (caller.to_string(), serial.get())).collect()
}

#[test]
fn callers_take_turns_and_each_is_answered_in_the_order_of_its_calls() {
    let mut refusals = Refusals::default();
    flood(&mut refusals, ALICE, 1..3, 2);
    refusals.add(":1.1", ALICE, serial(2));
    let expected = [(":1.1", 1), (":1.2", 1), (":1.1", 2), (":1.2", 2), (":1.1", 3)];
    assert_eq!(all(&mut refusals), expected.map(|(caller, serial)| (caller.to_owned(), serial)));
}

#[test]
fn a_newcomer_waits_for_one_turn_of_each_person_and_not_for_a_backlog() {
    let mut refusals = Refusals::default();
    flood(&mut refusals, ALICE, 0..256, 128);
    flood(&mut refusals, None, 256..300, 128);
    refusals.add(":1.999", BOB, serial(0));
    let before = std::iter::from_fn(|| refusals.next()).position(|(caller, _)| caller == ":1.999");
    assert_eq!(before, Some(2));
    refusals.add(":1.998", ALICE, serial(0));
    let before = std::iter::from_fn(|| refusals.next()).position(|(caller, _)| caller == ":1.998");
    assert!(before.is_some_and(|before| before <= 2 * 256), "one turn of each of her connections: {before:?}");
}

#[test]
fn one_person_takes_no_room_from_another_and_all_have_so_much() {
    let mut refusals = Refusals::default();
    flood(&mut refusals, ALICE, 0..CALLERS + 10, 128);
    assert_eq!(refusals.count, PER_PERSON);
    refusals.add(":1.9999", BOB, serial(0));
    assert_eq!(refusals.count, PER_PERSON + 1);
    for person in 0..8 {
        flood(&mut refusals, Some(Person(2000 + person)), 0..CALLERS + 10, 128);
    }
    assert_eq!(refusals.count, IN_ALL);
    assert!(refusals.backlogs.values().all(|backlog| backlog.count <= PER_PERSON && backlog.callers.len() <= CALLERS));
    assert_eq!(all(&mut refusals).len(), IN_ALL);
}

#[test]
fn nothing_is_kept_when_all_have_their_answer() {
    let mut refusals = Refusals::default();
    flood(&mut refusals, ALICE, 0..256, 128);
    assert_eq!(all(&mut refusals).len(), PER_PERSON);
    assert!(refusals.is_empty() && refusals.backlogs.is_empty() && refusals.turns.is_empty());
    refusals.add("no name", BOB, serial(0));
    assert!(refusals.is_empty() && refusals.next().is_none() && refusals.backlogs.is_empty());
}

#[test]
fn who_leaves_is_answered_no_more_and_nobody_waits_for_their_turns() {
    let mut refusals = Refusals::default();
    flood(&mut refusals, ALICE, 0..256, 100);
    // Calls of hers that came before the bus had identified the caller.
    refusals.add(":1.7", None, serial(0));
    flood(&mut refusals, BOB, 300..301, 2);
    (1..256).for_each(|connection| refusals.forget(&format!(":1.{connection}")));
    refusals.forget(":1.9999");
    assert_eq!(refusals.count, 102);
    let order: Vec<_> = all(&mut refusals).into_iter().map(|(caller, _)| caller).collect();
    assert_eq!(order[..4], [":1.0", ":1.300", ":1.0", ":1.300"]);
    assert!(order.len() == 102 && refusals.is_empty());
}

#[test]
fn nothing_is_kept_when_all_have_left() {
    let outbox = Outbox::default();
    outbox.refuse(":1.1", ALICE, serial(1));
    outbox.forget(":1.1");
    outbox.take_turn();
    assert_eq!(outbox.waiting(), 0);
    assert!(outbox.refusals().backlogs.is_empty() && outbox.refusals().turns.is_empty());
    outbox.refuse(":1.2", ALICE, serial(1));
    outbox.take_turn();
    assert!(outbox.waiting() > 0, "somebody else is answered");
}
