//! The order, the bounds and the rate of refusals.
#![allow(clippy::unwrap_used)]
use std::num::NonZeroU32;

use futures_lite::future::poll_once;
use zruntime::block_on;

use super::*;

const ALICE: Option<Person> = Some(Person(1000));
const BOB: Option<Person> = Some(Person(1001));

/// The destination of the reply to a call, from 1.
fn call(connection: usize, number: u32) -> ReplyTo {
    ReplyTo { caller: format!(":1.{connection}").try_into().unwrap(), serial: NonZeroU32::new(number) }
}

fn flood(refusals: &Refusals, person: Option<Person>, connections: std::ops::Range<usize>, calls: u32) {
    for number in 1..=calls {
        for connection in connections.clone() {
            refusals.add(person, call(connection, number));
        }
    }
}

/// The calls that the next refusals are for, in their order.
fn sent(refusals: &Refusals) -> Vec<(String, u32)> {
    let sent = refusals.turn();
    let call = |refusal: &Message| {
        let header = refusal.header();
        (header.destination().unwrap().to_string(), header.reply_serial().unwrap().get())
    };
    sent.iter().map(call).collect()
}

fn all(refusals: &Refusals) -> Vec<(String, u32)> {
    let turns = std::iter::from_fn(|| Some(sent(refusals)).filter(|turn| !turn.is_empty()));
    turns.flatten().collect()
}

#[test]
fn persons_take_turns_and_the_newest_call_of_each_is_refused_first() {
    let refusals = Refusals::default();
    flood(&refusals, ALICE, 1..3, 2);
    flood(&refusals, BOB, 3..4, 1);
    flood(&refusals, None, 4..5, 2);
    let expected = [(":1.2", 2), (":1.3", 1), (":1.4", 2), (":1.1", 2), (":1.4", 1), (":1.2", 1), (":1.1", 1)];
    assert_eq!(all(&refusals), expected.map(|(caller, serial)| (caller.to_owned(), serial)));
}

#[test]
fn a_newcomer_waits_for_one_turn_of_each_person_and_not_for_a_backlog() {
    let refusals = Refusals::default();
    flood(&refusals, ALICE, 0..256, 128);
    flood(&refusals, None, 256..300, 128);
    refusals.add(BOB, call(999, 1));
    refusals.add(ALICE, call(998, 1));
    let order: Vec<_> = sent(&refusals).into_iter().map(|(caller, _)| caller).collect();
    assert_eq!((order[0].as_str(), order[2].as_str()), (":1.998", ":1.999"));
}

#[test]
fn one_person_takes_no_room_from_another_and_all_have_so_much() {
    let refusals = Refusals::default();
    flood(&refusals, ALICE, 0..10, 128);
    for person in 0..2 * PERSONS {
        flood(&refusals, Some(Person(u32::try_from(2000 + person).unwrap())), 10..11, 1);
    }
    let backlogs = locked(&refusals.backlogs);
    assert_eq!((backlogs.len(), backlogs[0].1.len(), backlogs[1].1.len()), (PERSONS, PER_PERSON, 1));
    assert_eq!(backlogs[0].1.back(), Some(&call(9, 128)), "the oldest ones are dropped");
}

#[test]
fn nothing_is_kept_when_all_have_their_answer() {
    let refusals = Refusals::default();
    flood(&refusals, ALICE, 0..256, 128);
    assert_eq!(all(&refusals).len(), PER_PERSON);
    assert!(locked(&refusals.backlogs).is_empty());
}

#[test]
fn a_turn_sends_a_limited_number_of_messages() {
    let refusals = Refusals::default();
    assert!(block_on(poll_once(refusals.some())).is_none());
    flood(&refusals, ALICE, 0..1, 25);
    block_on(refusals.some());
    assert_eq!([(); 4].map(|()| refusals.turn().len()), [10, 10, 5, 0]);
    assert!(block_on(poll_once(refusals.some())).is_none());
}

#[test]
fn a_refusal_names_its_cause() {
    let refusals = Refusals::default();
    refusals.add(ALICE, call(1, 7));
    let refusal = refusals.turn().remove(0);
    assert!(refusal.header().error_name().unwrap().ends_with("LimitsExceeded"));
}
