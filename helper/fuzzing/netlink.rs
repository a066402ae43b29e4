//! Properties that must hold for any bytes read as netlink. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a finding is told")]

use airpods_dbus::{ClampOptions, LinkName, PathMtu, names::MAX_CLAMPS};
use nix::libc;

use super::events::{LONGEST_NAME, RuleFilter};
use super::links;
use super::routes::Route;
use crate::clamp::{Desired, accept, plan};
use crate::kernel::table::encode::encode;
use crate::kernel::table::readback::table_of;
use crate::kernel::table::{Change, change};
use crate::kernel::wire::{Attributes, HEADER, Message, NESTED, NFGENMSG, Object, attribute, messages, nft_kind, nfta};
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
    let auto = Desired { auto: Some(ClampOptions::default()), ..Desired::default() };
    assert!(plan(&auto, std::slice::from_ref(&link)).clamps.is_empty(), "no route through it is known");
    if let Err(refusal) = accept(&link.name, ClampOptions::default(), Some(&link)) {
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
    let kinds = [
        libc::NFT_MSG_NEWTABLE,
        libc::NFT_MSG_NEWCHAIN,
        libc::NFT_MSG_NEWSET,
        libc::NFT_MSG_NEWRULE,
        libc::NFT_MSG_NEWSETELEM,
    ];
    let object = |(kind, piece): (u8, &[u8])| Object {
        kind: nft_kind(kinds[usize::from(kind) % kinds.len()]),
        body: piece.to_vec(),
    };
    let table = table_of(&pieces(bytes).into_iter().map(object).collect::<Vec<_>>());
    if !table.is_ours {
        assert!(table.ruleset.is_empty());
        return;
    }
    let kept = change(Some(&table), &table.ruleset);
    assert_eq!(kept, table.ruleset.is_empty().then_some(Change::Delete));
    written_is_read(&table.ruleset);
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
    let read = table_of(&as_dumped(wanted));
    assert!(read.is_ours);
    assert_eq!(read.ruleset, *wanted);
}

/// The kernel's dump of a table, simulated: the messages that create it, plus the values that only
/// the kernel knows. Those are the number of objects in the table and the values of the counters.
pub(in crate::kernel) fn as_dumped(wanted: &Ruleset) -> Vec<Object> {
    let batch = encode(&Change::Replace(wanted.clone()));
    for message in messages(&batch.bytes).map(Result::unwrap).filter(Message::is_of_table) {
        assert!(batch.step(message.sequence).is_some(), "every message has a name for whoever reports its refusal");
    }
    let mut answers = batch.objects();
    let in_table = [libc::NFT_MSG_NEWCHAIN, libc::NFT_MSG_NEWSET].map(nft_kind);
    let objects = answers.iter().filter(|object| in_table.contains(&object.kind)).count();
    let objects = u32::try_from(objects).unwrap().to_be_bytes();
    for answer in &mut answers {
        if answer.kind == nft_kind(libc::NFT_MSG_NEWRULE) {
            answer.body = counted(&answer.body);
        } else if answer.kind == nft_kind(libc::NFT_MSG_NEWTABLE) {
            answer.body.extend(attribute(nfta::TABLE_USE, &objects));
        }
    }
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
