#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use airpods_dbus::PathMtu;

use super::*;
use crate::kernel::wire::{HEADER, NFGENMSG, attribute, framed, inet, nft_kind, nfta};

/// Like [`encode`], but the last message always fails: it deletes a chain that does not exist.
pub(in crate::kernel) fn encode_with_a_refused_end(change: &Change) -> Batch {
    let mut batch = encode(change);
    let what = "deleting a chain that is not there".to_owned();
    let end = batch.bytes.split_off(batch.bytes.len() - HEADER - NFGENMSG);
    let body = inet(&[(1, NAME), (nfta::CHAIN_NAME, "nowhere")]);
    batch.bytes.extend(framed(nft_kind(libc::NFT_MSG_DELCHAIN), libc::NLM_F_ACK, 4711, &body));
    batch.bytes.extend(end);
    batch.steps.push(Step { what, makes: false });
    batch
}

/// The batch that makes an empty table with flags of the test's choice.
pub(in crate::kernel) fn table_with_flags(flags: u32) -> Batch {
    let mut writer = Writer::default();
    writer.table("table", MsgType::Add);
    let mut batch = writer.finish();
    let (mut bytes, mut rest) = (Vec::new(), &batch.bytes[..]);
    while let Some(length) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length)) {
        let (message, behind) = rest.split_at(usize::try_from(length).unwrap());
        let is_table = i32::from(message[5]) == libc::NFNL_SUBSYS_NFTABLES;
        let flags = if is_table { attribute(nfta::TABLE_FLAGS, &flags.to_be_bytes()) } else { Vec::new() };
        let length = length + u32::try_from(flags.len()).unwrap();
        bytes.extend([&length.to_ne_bytes()[..], &message[4..], &flags].concat());
        rest = behind;
    }
    batch.bytes = bytes;
    batch
}

fn ruleset(route: &[&str], fixed: &[&str]) -> Ruleset {
    let name = |name: &&str| LinkName::parse(name).unwrap();
    let mtu = PathMtu::new(1280).unwrap();
    Ruleset { route: route.iter().map(name).collect(), fixed: fixed.iter().map(name).map(|link| (link, mtu)).collect() }
}

fn steps(change: &Change) -> Vec<String> {
    encode(change).steps.into_iter().map(|step| step.what).collect()
}

#[test]
fn any_table_is_replaced_in_one_batch_from_its_sets_to_its_hook() {
    let steps = steps(&Change::Replace(ruleset(&["wg0"], &[])));
    assert_eq!(steps[..3], ["table", "old table", "table"], "one is added first, so that there is one to delete");
    assert_eq!(steps[3..6], ["set `links`", "new elements of `links`", "chain `clamp`"]);
    assert_eq!(steps[6], "rule `tcp option maxseg size set rt mtu` in chain `clamp`");
    assert_eq!(steps[10..], ["chain `postrouting`", "rule `tcp flags syn / syn,rst jump` in chain `postrouting`"]);
}

#[test]
fn changed_elements_are_taken_out_before_they_are_put_in() {
    let change = Change::Elements { remove: ruleset(&["a"], &["b"]), add: ruleset(&[], &["b", "c"]) };
    let expected = [
        "old elements of `links`",
        "old elements of `mss4`",
        "old elements of `mss6`",
        "new elements of `mss4`",
        "new elements of `mss6`",
    ];
    assert_eq!(steps(&change), expected);
}

#[test]
fn a_batch_has_few_messages_however_many_links() {
    let names: Vec<String> = (0..256).map(|number| format!("longest_name{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // With more acknowledgements than the socket has room for (about 200), some would get lost.
    assert!(steps(&Change::Replace(ruleset(&names, &names))).len() < 30);
}

#[test]
fn every_message_is_known_by_its_sequence_number() {
    let batch = encode(&Change::Replace(ruleset(&["wg0"], &[])));
    let sequences: Vec<u32> = messages(&batch.bytes)
        .map(Result::unwrap)
        .filter(|message| i32::from(message.kind) > libc::NFNL_MSG_BATCH_END)
        .map(|message| message.sequence)
        .collect();
    assert_eq!(sequences.len(), batch.steps.len());
    for (sequence, step) in sequences.iter().zip(&batch.steps) {
        assert_eq!(batch.step(*sequence), Some(step));
    }
    assert_eq!(batch.step(sequences[3]).unwrap().what, "set `links`");
    assert_eq!(batch.step(u32::MAX), None);
}
