//! Properties that must hold for any bytes read as netlink. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a finding is told")]

use airpods_dbus::{LinkName, PathMtu, names::MAX_CLAMPS};

use super::events::{LONGEST_NAME, RuleFilter};
use super::links;
use super::routes::Route;
use crate::clamp::{accept, in_use};
use crate::kernel::table::encode::encode;
use crate::kernel::table::readback::{Answers, FoundTable, found};
use crate::kernel::table::{Change, change};
use crate::kernel::wire::{Attributes, HEADER, Message, NESTED, NFGENMSG, attribute, messages, nfta};
use crate::kernel::{Event, Routes, Ruleset};

/// A datagram is split into whole messages without overlap, and the event filter takes each of
/// them.
pub fn datagram(bytes: &[u8]) {
    let mut filter = RuleFilter::new(7);
    let mut read = 0;
    let mut has_failed = false;
    for message in messages(bytes) {
        assert!(!has_failed, "nothing comes after what could not be read");
        let Ok(message) = message else {
            has_failed = true;
            continue;
        };
        read += HEADER + message.body.len();
        assert!(message.errno().is_none_or(|errno| errno >= 0));
        assert!(!message.is_done() || message.errno().is_some());
        if let Some(event) = filter.event(&message) {
            let Event::Rules { program, .. } = event else { panic!("{event:?}") };
            assert!(message.port != 7 && program.chars().count() <= LONGEST_NAME && !program.contains('\0'));
        }
    }
    assert!(read <= bytes.len(), "no byte is read twice");
}

/// A link that is read has a name that nft reads back. Messages about its name or kind are
/// printable.
pub fn link(body: &[u8]) {
    let link = match links::link(body) {
        Some((_, Ok(link))) => link,
        Some((_, Err(unclampable))) => {
            return assert!(is_harmless(&unclampable.link) && is_harmless(&unclampable.reason), "{unclampable:?}");
        }
        None => return,
    };
    assert_eq!(LinkName::of_kernel(link.name.as_str().as_bytes()).as_ref(), Ok(&link.name));
    assert_eq!(link.routes, Routes::default(), "that is not in the message");
    assert!(!in_use(&link));
    if let Err(refusal) = accept(&link.name, airpods_dbus::ClampOptions::default(), Some(&link)) {
        assert!(!link.kind.is_vpn());
        assert!(is_harmless(refusal.message()), "{refusal:?}");
    }
}

/// A route names no more links than its bytes have room for. A multicast destination leads nowhere
/// else.
pub fn route(body: &[u8]) {
    let Some(route) = Route::read(body) else { return };
    assert!(route.links().len() <= body.len() / 8 + 1);
    assert!(route.destination().is_none_or(|to| to.len() < body.len()));
    if route.leads_elsewhere() {
        assert!(!matches!(route.destination(), Some([224..=239, _, _, _] | [0xff, _, _, _, _, ..])));
    }
}

/// A table that is recognised as ours needs no change, and equals one that the helper writes.
pub fn table(bytes: &[u8]) {
    let mut answers = Answers::default();
    for (kind, piece) in pieces(bytes) {
        let list = match kind % 5 {
            0 => {
                answers.table = piece.to_vec();
                continue;
            }
            1 => &mut answers.chains,
            2 => &mut answers.sets,
            3 => &mut answers.rules,
            _ => &mut answers.elements,
        };
        list.push(piece.to_vec());
    }
    let found = found(&answers);
    let state = found.state();
    let Some(ours) = &found.ours else {
        assert!(state.ruleset.is_empty());
        return;
    };
    let as_made = FoundTable { flags: 0, owner: None, ..found.clone() };
    let kept = change(Some(&as_made), &ours.ruleset);
    assert_eq!(kept, if ours.ruleset.is_empty() { Change::Delete } else { Change::Nothing });
    written_is_read(&ours.ruleset);
}

/// A ruleset that is encoded reads back as the same ruleset.
pub fn batch(bytes: &[u8]) {
    let mut wanted = Ruleset::default();
    for (kind, piece) in pieces(bytes).into_iter().take(MAX_CLAMPS) {
        let Some(link) = std::str::from_utf8(piece).ok().and_then(|text| LinkName::of_kernel(text.as_bytes()).ok())
        else {
            continue;
        };
        match PathMtu::new(u32::from(kind) * 40) {
            Ok(mtu) => drop(wanted.fixed.insert(link, mtu)),
            Err(_) => drop(wanted.route.insert(link)),
        }
    }
    written_is_read(&wanted);
}

fn written_is_read(wanted: &Ruleset) {
    assert_eq!(found(&as_dumped(wanted)).ours.map(|ours| ours.ruleset).as_ref(), Some(wanted));
}

/// The kernel's dump of a table, simulated: the messages that create it, plus the values that only
/// the kernel knows. Those are the number of objects in the table and the values of the counters.
pub(in crate::kernel) fn as_dumped(wanted: &Ruleset) -> Answers {
    let batch = encode(&Change::Replace(wanted.clone())).unwrap();
    let inside = messages(batch.bytes()).map(Result::unwrap).filter(Message::is_of_table);
    for message in inside {
        assert!(batch.step(message.sequence).is_some(), "every message has a name for whoever reports its refusal");
    }
    let mut answers = batch.contents();
    answers.rules = answers.rules.iter().map(|rule| counted(rule)).collect();
    let objects = u32::try_from(answers.chains.len() + answers.sets.len()).unwrap();
    answers.table.extend(attribute(nfta::TABLE_USE, &objects.to_be_bytes()));
    answers
}

/// The rule with zero counts added to its counter, as the kernel dumps it.
fn counted(rule: &[u8]) -> Vec<u8> {
    let (header, body) = rule.split_at(NFGENMSG);
    let expression = |element: &[u8]| {
        let counts = [attribute(1, &[0; 8]), attribute(2, &[0; 8])].concat();
        match Attributes::new(element).get(nfta::EXPR_NAME) {
            Some(name) if name == b"counter\0" => {
                [attribute(nfta::EXPR_NAME, name), attribute(nfta::EXPR_DATA | NESTED, &counts)].concat()
            }
            _ => element.to_vec(),
        }
    };
    let rebuilt = Attributes::new(body).walk().flat_map(|(kind, value)| {
        if kind & !NESTED != nfta::RULE_EXPRESSIONS {
            return attribute(kind, value);
        }
        let list = Attributes::new(value).walk();
        attribute(kind, &list.flat_map(|(kind, element)| attribute(kind, &expression(element))).collect::<Vec<_>>())
    });
    header.iter().copied().chain(rebuilt).collect()
}

/// Cuts bytes into numbered pieces: one byte for the number, two for the length (little-endian),
/// then that many bytes or the rest.
fn pieces(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut pieces = Vec::new();
    while let [kind, low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (piece, behind) = rest.split_at(length);
        pieces.push((*kind, piece));
        bytes = behind;
    }
    pieces
}

fn is_harmless(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}
