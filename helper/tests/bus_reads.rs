//! Read-only calls, also in large numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::time::Duration;

use airpods_dbus::{ErrorKind, Status, names};
use airpods_helper::bus::quota::PER_PERSON;
use futures_lite::StreamExt;
use private_bus::*;
use zbus::message::{Flags, Type};
use zbus::{Message, MessageStream};

/// The time that a read takes: long enough for hundreds of calls to arrive.
const READING: Duration = Duration::from_millis(200);

fn get_status() -> Message {
    let call = Message::method_call(names::OBJECT_PATH, "GetStatus").destination(names::BUS_NAME);
    call.interface(names::INTERFACE).build(&()).unwrap()
}

/// Sends this many calls at once. Returns how many were served and how many were refused.
fn read_at_once(client: &Client, calls: usize) -> (usize, usize) {
    let mut answers = MessageStream::from(&client.connection);
    zruntime::block_on(async {
        for _ in 0..calls {
            client.connection.send(&get_status()).await.unwrap();
        }
        let (mut served, mut refused) = (0, 0);
        while served + refused < calls {
            let answer = answers.next().await.unwrap().unwrap();
            match answer.message_type() {
                Type::MethodReturn => served += usize::from(answer.body().deserialize::<Status>().is_ok()),
                Type::Error => {
                    let name = answer.header().error_name().unwrap().to_string();
                    assert_eq!(name, ErrorKind::LimitsExceeded.name());
                    refused += 1;
                }
                Type::MethodCall | Type::Signal => {}
            }
        }
        (served, refused)
    })
}

#[test]
fn reads_that_wait_at_the_same_time_share_one_reading_and_those_beyond_a_users_share_are_refused() {
    let helper = Helper::start();
    let client = helper.client();
    client.status();
    helper.kernel.set_reading_time(READING);
    let before = helper.kernel.times_read();
    let (served, refused) = read_at_once(&client, 120);
    let readings = helper.kernel.times_read() - before;
    assert!((PER_PERSON..=2 * PER_PERSON).contains(&served), "{served} served, {refused} refused");
    assert!(readings <= 3, "{readings} readings for {served} answers");
    assert_eq!(helper.audit(), []);
}

#[test]
fn reads_take_the_places_of_no_changes() {
    let helper = Helper::start();
    let (reader, other) = (helper.client(), helper.client());
    helper.kernel.set_reading_time(READING);
    let before = helper.kernel.times_read();
    zruntime::block_on(async {
        for _ in 0..120 {
            reader.connection.send(&get_status()).await.unwrap();
        }
    });
    // On arrival all calls share the places of their person.
    helper.wait_until("the reads have their own places", || helper.kernel.times_read() > before);
    assert_eq!(other.on_link("wg0"), Ok(true));
}

#[test]
fn a_status_is_what_is_so_after_the_call_however_many_others_are_asked_for() {
    let helper = Helper::start();
    let (reader, writer) = (helper.client(), helper.client());
    helper.kernel.set_reading_time(Duration::from_millis(5));
    for round in 0..30 {
        zruntime::block_on(async {
            for _ in 0..10 {
                reader.connection.send(&get_status()).await.unwrap();
            }
        });
        let is_on = round % 2 == 0;
        if is_on { writer.on_link("wg0") } else { writer.off("wg0") }.unwrap();
        let told = writer.status();
        assert_eq!(told.clamps.len(), usize::from(is_on), "round {round}");
        let links = if is_on { vec![wireguard("wg0")] } else { vec![] };
        helper.kernel.set_links(links.clone());
        assert_eq!(writer.status().clamps.iter().filter(|clamp| clamp.link_mtu.is_some()).count(), links.len());
        helper.kernel.set_links(vec![wireguard("wg0")]);
    }
}

#[test]
fn a_read_that_wants_no_answer_reads_nothing() {
    let helper = Helper::start();
    let client = helper.client();
    let call = Message::method_call(names::OBJECT_PATH, "GetStatus").destination(names::BUS_NAME);
    let call = call.interface(names::INTERFACE).with_flags(Flags::NO_REPLY_EXPECTED).build(&()).unwrap();
    let before = helper.kernel.times_read();
    zruntime::block_on(client.connection.send(&call)).unwrap();
    client.status();
    assert_eq!(helper.kernel.times_read() - before, 1);
}
