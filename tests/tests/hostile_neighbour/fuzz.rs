//! 100,000 messages of an ordinary user, each changed at random.

use airpods_lab::raw_bus::{Body, RawConnection, RawMessage, Value, field};
use airpods_lab::{Place, on_both_buses};
use fastrand::Rng;

use crate::host::{ALICE, Host, clamp_on};
use crate::messages::{ping, sound, unsound};

const MESSAGES: usize = 100_000;
/// Messages in flight. It is below a person's quota in the helper, because messages beyond that are
/// refused unread.
const AT_ONCE: usize = 25;
/// The number of messages on one connection. If the bus closes a connection, its sent messages are
/// lost, so a new one begins after this many in any case.
const OF_ONE_CONNECTION: usize = 500;
/// The longest message that is changed. Longer ones cost the bus's time and have tests of their
/// own.
const LONGEST: usize = 4096;

/// The type codes of D-Bus, and invalid bytes.
const TYPES: &[u8] = b"ybnqiuxtdsogavh(){}z\0";

/// One message in this many is wild: a bus may answer it by closing the connection, which loses the
/// messages behind it.
const WILD: usize = 50;

/// The texts to choose from. Some are link names or almost valid ones.
const TEXTS: &[&str] = &[
    "",
    "wg0",
    "wg9",
    "lo",
    "*",
    "a b",
    "wg0\n\u{1b}[31m",
    "b\u{fc}ro",
    "org.airpods.Helper1",
    "Clamps",
    "mtu",
    "persist",
];

/// Usually a valid message, changed so that the bus still accepts it; one in [`WILD`] is a wild
/// one.
fn message(random: &mut Rng, sound: &[RawMessage], all: &[RawMessage]) -> RawMessage {
    if random.usize(..WILD) == 0 {
        return wild(random, all);
    }
    let mut message = pick(random, sound);
    for code in [field::PATH, field::INTERFACE, field::MEMBER] {
        let other = pick(random, sound).fields.into_iter().find(|(known, _)| *known == code);
        if let Some((_, value)) = other.filter(|_| random.u8(0..4) == 0) {
            message = message.without_field(code).with_field(code, value);
        }
    }
    if random.bool() {
        message.flags = random.u8(..);
    }
    if random.bool() {
        let (mut signature, mut body) = (String::new(), Body::default());
        (0..random.usize(0..5)).for_each(|_| argument(random, &mut signature, &mut body));
        message = message.without_field(field::SIGNATURE).with_body(&signature, body.0);
    }
    message
}

/// Appends an argument, of a type that the methods have or of another.
fn argument(random: &mut Rng, signature: &mut String, body: &mut Body) {
    let text = TEXTS[random.usize(..TEXTS.len())];
    match random.u8(0..6) {
        0 | 1 => {
            signature.push('s');
            body.text(text);
        }
        2 => {
            signature.push('u');
            body.number(random.u32(..));
        }
        3 => {
            signature.push('y');
            body.0.push(random.u8(..));
        }
        4 => {
            signature.push('v');
            body.signature("s");
            body.text(text);
        }
        _ => {
            signature.push_str("a{sv}");
            let mut entries = Body::default();
            for _ in 0..random.usize(0..3) {
                entries.align(8);
                entries.text(text);
                entries.signature("u");
                entries.number(random.u32(..20_000));
            }
            body.number(u32::try_from(entries.0.len()).unwrap());
            // The entries of a dictionary are aligned to 8 bytes, even if there are none.
            body.align(8);
            body.0.extend(entries.0);
        }
    }
}

/// Any message, with up to three changes that a library would not make.
fn wild(random: &mut Rng, all: &[RawMessage]) -> RawMessage {
    let mut message = pick(random, all);
    for _ in 0..random.usize(0..=3) {
        match random.u8(0..6) {
            0 => message.kind = random.u8(0..6),
            1 => message.body.truncate(random.usize(0..=message.body.len())),
            2 => message.body.extend((0..random.usize(0..64)).map(|_| random.u8(..))),
            3 => message.fields.truncate(random.usize(0..=message.fields.len())),
            4 => message.fields.extend(pick(random, all).fields.pop().map(|(_, value)| (random.u8(..), value))),
            _ => {
                let types: Vec<u8> = (0..random.usize(0..12)).map(|_| TYPES[random.usize(..TYPES.len())]).collect();
                let signature = Value::Signature(String::from_utf8_lossy(&types).into_owned());
                message = message.without_field(field::SIGNATURE).with_field(field::SIGNATURE, signature);
            }
        }
    }
    message
}

fn pick(random: &mut Rng, messages: &[RawMessage]) -> RawMessage {
    messages[random.usize(..messages.len())].clone()
}

/// Sends some messages and waits until the helper has seen them. Counts the answers of the helper
/// itself.
fn send(alice: &mut RawConnection, messages: &[RawMessage], answered: &mut usize) -> std::io::Result<()> {
    for message in messages {
        alice.send(message)?;
    }
    let last = alice.send(&ping())?;
    loop {
        let received = alice.receive()?;
        // The bus's own refusals have this name, and no answer of the helper to these calls has it.
        let is_of_helper = received.error.is_none_or(|name| name != "org.freedesktop.DBus.Error.AccessDenied");
        *answered += usize::from(received.reply_serial.is_some() && is_of_helper);
        if received.reply_serial == Some(last) {
            return Ok(());
        }
    }
}

on_both_buses! {
    fn a_hundred_thousand_messages_changed_at_random_end_nothing_and_change_no_rule(bus: BusDaemon) {
        let mut host = Host::new(bus);
        host.change(&clamp_on("wg0"));
        let before = host.sandbox.sh("nft list ruleset").unwrap();
        let short = |message: &RawMessage| message.encode(1).len() <= LONGEST;
        let sound: Vec<_> = sound().into_iter().map(|(_, message)| message).filter(short).collect();
        let all: Vec<_> = sound.iter().cloned().chain(unsound().into_iter().map(|(_, message)| message)).collect();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let (mut random, mut closed, mut answered) = (Rng::with_seed(seed), 0, 0);
        for _ in 0..MESSAGES / OF_ONE_CONNECTION {
            let mut alice = host.enter(ALICE);
            for _ in 0..OF_ONE_CONNECTION / AT_ONCE {
                let messages: Vec<_> = (0..AT_ONCE).map(|_| message(&mut random, &sound, &all)).collect();
                if send(&mut alice, &messages, &mut answered).is_err() {
                    // The bus has closed the connection.
                    closed += 1;
                    alice = host.enter(ALICE);
                }
            }
            host.assert_same_helper_serves("messages changed at random");
        }
        println!("the helper has answered {answered} of {MESSAGES}, and the bus has closed {closed} connections");
        assert!(answered >= MESSAGES / 5, "{answered}");
        assert_eq!(host.sandbox.sh("nft list ruleset").unwrap(), before);
        host.assert_stayed_small("messages changed at random");
        host.assert_small_again();
    }
}
