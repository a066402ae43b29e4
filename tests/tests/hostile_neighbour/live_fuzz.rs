//! Random messages to the running helper: anything may come of them but an end, a change, or memory that stays.

use std::env;
use std::io::Write;

use airpods_lab::raw_bus::{RawConnection, RawMessage, Value, field};
use airpods_lab::{Place, neighbours, on_both_buses};
use fastrand::Rng;

use crate::host::{ALICE, Host, clamp_on};
use crate::messages::{sound, unsound};

/// Messages of one run; `LAB_FUZZ_MESSAGES=100000` sends as many as that.
const MESSAGES: u32 = 4_000;
/// root looks after so many.
const LOOK: u32 = 500;

/// The same messages in every run.
const FIXED: u64 = 0x000a_19f0_d5ee_d000;

fn count() -> u32 {
    env::var("LAB_FUZZ_MESSAGES").map_or(MESSAGES, |count| count.parse().expect("LAB_FUZZ_MESSAGES is a number"))
}

/// A message like one that is known, and different in some ways.
fn made_up(rng: &mut Rng, known: &[RawMessage]) -> RawMessage {
    let mut message = known[rng.usize(..known.len())].clone();
    for _ in 0..rng.usize(..4) {
        match rng.u32(..10) {
            0 => message.flags = rng.u8(..),
            1 => message.kind = rng.u8(..8),
            2 => message.fields.push((rng.u8(..), value(rng))),
            3 if !message.fields.is_empty() => drop(message.fields.swap_remove(rng.usize(..message.fields.len()))),
            4 if !message.fields.is_empty() => {
                let at = rng.usize(..message.fields.len());
                message.fields[at].1 = value(rng);
            }
            5 => message.body = (0..rng.usize(..64)).map(|_| rng.u8(..)).collect(),
            6 if !message.body.is_empty() => {
                let at = rng.usize(..message.body.len());
                message.body[at] = rng.u8(..);
            }
            7 => message.body.truncate(rng.usize(..=message.body.len())),
            8 => {
                message.fields.retain(|(code, _)| *code != field::SIGNATURE);
                message = message.with_field(field::SIGNATURE, Value::Signature(signature(rng)));
            }
            9 => message.body.extend((0..rng.usize(..2000)).map(|_| 0)),
            _ => {}
        }
    }
    message
}

fn value(rng: &mut Rng) -> Value {
    match rng.u32(..5) {
        0 => Value::Text(text(rng)),
        1 => Value::Path(format!("/{}", text(rng))),
        2 => Value::Signature(signature(rng)),
        3 => Value::Number(rng.u32(..)),
        _ => Value::Raw(signature(rng), (0..rng.usize(..32)).map(|_| rng.u8(..)).collect()),
    }
}

fn text(rng: &mut Rng) -> String {
    (0..rng.usize(..24)).map(|_| if rng.bool() { rng.alphanumeric() } else { rng.char(..) }).collect()
}

fn signature(rng: &mut Rng) -> String {
    const TYPES: &[u8] = b"ybnqiuxtdsoghva(){}z";
    (0..rng.usize(..40)).map(|_| char::from(TYPES[rng.usize(..TYPES.len())])).collect()
}

/// Sends one, in part broken on its way; a connection that the bus has ended is replaced.
fn send(host: &Host, connection: &mut RawConnection, rng: &mut Rng, message: &RawMessage) -> bool {
    let mut bytes = message.encode(connection.next_serial());
    if rng.u32(..20) == 0 {
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
    }
    let sent = connection.stream().write_all(&bytes).and_then(|()| connection.settle());
    if sent.is_err() {
        *connection = host.enter(ALICE);
    }
    sent.is_ok()
}

fn run(host: &mut Host, seed: u64) {
    println!("seed {seed:#x}");
    let mut rng = Rng::with_seed(seed);
    let known: Vec<_> = sound().into_iter().chain(unsound()).map(|(_, message)| message).collect();
    let mut alice = host.enter(ALICE);
    let mut taken = 0;
    for number in 1..=count() / 2 {
        let message = made_up(&mut rng, &known);
        taken += u32::from(send(host, &mut alice, &mut rng, &message));
        if number % LOOK == 0 {
            host.assert_same_helper_serves(&format!("message {number} of seed {seed:#x}, {message:?}"));
        }
    }
    println!("{taken} of {} were taken by the bus", count() / 2);
    assert!(taken > count() / 10, "the premise: most of them are for the helper");
}

on_both_buses! {
    fn random_messages_change_nothing_and_leave_nothing(bus: BusDaemon) {
        let mut host = Host::prepared(bus, |sandbox| neighbours::lay(sandbox).unwrap());
        host.sandbox.start_polkit().unwrap();
        host.change(&clamp_on("wg0"));
        let ours = |host: &Host| host.sandbox.sh("nft list table inet airpods").unwrap();
        let before = (host.foreign_rules(), ours(&host));
        for seed in [FIXED, Rng::new().u64(..)] {
            run(&mut host, seed);
        }
        assert_eq!((host.foreign_rules(), ours(&host)), before);
        host.assert_stayed_small("the random messages");
        host.assert_small_again();
    }
}
