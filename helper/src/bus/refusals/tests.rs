//! The order, the bounds and the rate of refusals.
#![allow(clippy::unwrap_used)]
use futures_lite::future::poll_once;
use zruntime::block_on;

use super::*;

const ALICE: Option<Person> = Some(Person(1000));
const BOB: Option<Person> = Some(Person(1001));

fn serial(number: usize) -> NonZeroU32 {
    u32::try_from(number + 1).ok().and_then(NonZeroU32::new).unwrap()
}

fn flood(refusals: &mut Waiting, person: Option<Person>, connections: std::ops::Range<usize>, calls: usize) {
    for call in 0..calls {
        for connection in connections.clone() {
            refusals.add(&format!(":1.{connection}"), person, serial(call));
        }
    }
}

fn all(refusals: &mut Waiting) -> Vec<(String, u32)> {
    std::iter::from_fn(|| refusals.next()).map(|(caller, serial)| (caller.to_string(), serial.get())).collect()
}

#[test]
fn callers_take_turns_and_each_is_answered_in_the_order_of_its_calls() {
    let mut refusals = Waiting::default();
    flood(&mut refusals, ALICE, 1..3, 2);
    refusals.add(":1.1", ALICE, serial(2));
    let expected = [(":1.1", 1), (":1.2", 1), (":1.1", 2), (":1.2", 2), (":1.1", 3)];
    assert_eq!(all(&mut refusals), expected.map(|(caller, serial)| (caller.to_owned(), serial)));
}

#[test]
fn a_newcomer_waits_for_one_turn_of_each_person_and_not_for_a_backlog() {
    let mut refusals = Waiting::default();
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
    let mut refusals = Waiting::default();
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
    let mut refusals = Waiting::default();
    flood(&mut refusals, ALICE, 0..256, 128);
    assert_eq!(all(&mut refusals).len(), PER_PERSON);
    assert!(refusals.is_empty() && refusals.backlogs.is_empty() && refusals.turns.is_empty());
    refusals.add("no name", BOB, serial(0));
    assert!(refusals.is_empty() && refusals.next().is_none() && refusals.backlogs.is_empty());
}

#[test]
fn a_caller_who_leaves_gets_no_answer_and_delays_no_other() {
    let mut refusals = Waiting::default();
    flood(&mut refusals, ALICE, 0..256, 100);
    // Calls that arrived before the bus had identified the caller.
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
    let refusals = Refusals::default();
    refusals.add(":1.1", ALICE, serial(1));
    refusals.forget(":1.1");
    assert!(refusals.turn().is_empty());
    assert!(refusals.waiting().backlogs.is_empty() && refusals.waiting().turns.is_empty());
    refusals.add(":1.2", ALICE, serial(1));
    assert_eq!(refusals.turn().len(), 1, "somebody else is answered");
}

#[test]
fn a_turn_sends_a_limited_number_of_messages() {
    let refusals = Refusals::default();
    assert!(block_on(poll_once(refusals.some())).is_none());
    for number in 0..25 {
        refusals.add(":1.1", ALICE, serial(number));
    }
    block_on(refusals.some());
    assert_eq!([(); 4].map(|()| refusals.turn().len()), [10, 10, 5, 0]);
    assert!(block_on(poll_once(refusals.some())).is_none());
}

#[test]
fn a_refusal_names_its_cause() {
    let refusals = Refusals::default();
    refusals.add(":1.1", ALICE, serial(6));
    let refusal = refusals.turn().remove(0);
    assert_eq!(refusal.header().reply_serial(), Some(serial(6)));
    assert!(refusal.header().error_name().unwrap().ends_with("LimitsExceeded"));
}
