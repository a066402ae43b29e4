//! Properties that must hold for any bytes. There is one function for each reader of bytes from
//! outside; it panics if a property does not hold.
//!
//! `make fuzz` calls them with inputs that try to reach as much code as possible (`tests/fuzz`).
//! The tests below replay the inputs that were kept (`tests/fuzz/seeds`). This module is behind the
//! feature `fuzzing`, which no released program has.
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a finding is told")]

use std::collections::HashMap;

use airpods_dbus::{ClampOptions, LinkName, PathMtu, Target, names::MAX_CLAMPS};
use zbus::OwnedVariant;
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{BE, LE};

pub use crate::bus::fuzzing::message_header;
pub use crate::kernel::netlink::fuzzing::{batch, datagram, link, route, table};
use crate::log::Line;
use crate::privilege::{Ids, Rights};
use crate::state;

/// An accepted name equals its text, and is plain in a prompt, a log line and a rule. A refusal is
/// printable ASCII.
pub fn link_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let target = Target::parse(text);
    let name = match LinkName::parse(text) {
        Ok(name) => name,
        Err(refusal) => {
            assert!(target.is_err() != text.is_empty(), "only the empty name stands for something else");
            assert!(is_harmless(&refusal.to_string()), "{refusal}");
            return;
        }
    };
    assert_eq!(name.as_str(), text);
    assert_eq!(target.unwrap().as_wire(), text);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    assert!(text.len() <= 15 && text.bytes().all(is_plain) && !text.starts_with('-'));
    assert!(!["lo", "all", "default", ".", ".."].contains(&text));
    let padded = name.padded();
    assert!(padded.starts_with(bytes) && padded[bytes.len()..].iter().all(|byte| *byte == 0));
    let shown = if text.contains('=') { format!("\"{text}\"") } else { text.to_owned() };
    assert_eq!(Line::info("x").with("link", &name).to_string(), format!("level=info event=x link={shown}"));
}

/// The body of a `ClampOn` call: a link and options. Accepted options read the same after they are
/// sent again. A refusal is short and printable.
pub fn options(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let context = Context::new(if first & 1 == 0 { LE } else { BE }, 0);
    let body_read = Data::new(body, context);
    let Ok(((link, options), read)) = body_read.deserialize::<(&str, HashMap<String, OwnedVariant>)>() else { return };
    assert!(read <= body.len() && link.len() <= body.len() && options.len() <= body.len());
    match ClampOptions::from_wire(&options) {
        Ok(read) => {
            assert!(options.keys().all(|name| ["mtu", "persist", "any-link"].contains(&name.as_str())));
            assert!(read.mtu.is_none_or(|mtu| PathMtu::new(u32::from(mtu.bytes())) == Ok(mtu)));
            let again = read.to_wire().into_iter().map(|(name, value)| (name.to_owned(), value.try_into().unwrap()));
            assert_eq!(ClampOptions::from_wire(&again.collect()), Ok(read));
        }
        Err(refusal) => assert!(is_harmless(refusal.message()) && refusal.message().len() < 500, "{refusal:?}"),
    }
}

/// An accepted state file reads the same after it is rendered and parsed again. Rendering is stable
/// to the byte and stays within the size limit.
pub fn state_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(saved) = state::parse(text) else { return };
    assert!(saved.named.len() <= MAX_CLAMPS && saved.known.len() <= MAX_CLAMPS);
    let written = state::render(&saved);
    assert!(u64::try_from(written.len()).unwrap() <= state::MAX_SIZE);
    let read = state::parse(&written).unwrap();
    assert_eq!(read, saved);
    assert_eq!(state::render(&read), written);
    // `persisted` selects a subset, and applying it twice changes nothing.
    let kept = saved.persisted();
    assert_eq!(kept.persisted(), kept);
    assert!(kept.named.keys().all(|link| saved.named.contains_key(link)));
}

/// A log line stays one line of printable ASCII, and no value leaves its field.
pub fn log_line(bytes: &[u8]) {
    let value = String::from_utf8_lossy(bytes);
    let line = Line::warning("x").with("first", &value).with("second", "plain");
    for (field, sent) in line.journal_fields() {
        assert!(is_harmless(&sent), "{field}={sent:?}");
    }
    let line = line.to_string();
    assert!(is_harmless(&line), "{line:?}");
    let quoted = line.strip_prefix("level=warning event=x first=").and_then(|rest| rest.strip_suffix(" second=plain"));
    let shown = quoted.unwrap_or_else(|| panic!("{line:?}"));
    match shown.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => assert!(shown == value && !shown.contains([' ', '"', '=', '\\'])),
        Some(inside) => {
            // Only the last quotation mark ends the value.
            let mut is_escaped = false;
            for character in inside.chars() {
                assert!(character != '"' || is_escaped, "{line:?}");
                is_escaped = character == '\\' && !is_escaped;
            }
            assert!(!is_escaped, "{line:?}");
        }
    }
}

/// For any rights: only root and the helper's own user may go on, and only exactly the helper's
/// rights pass [`Rights::verify`].
pub fn rights(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(rights) = Rights::parse(text) else { return };
    let helper = Ids { uid: 990, gid: 990 };
    if rights.must_give_up_root(helper).is_ok() {
        assert!([0, helper.uid].contains(&rights.uids[1]) && rights.threads == 1);
    }
    if rights.verify(helper).is_ok() {
        assert_eq!((rights.uids, rights.gids), ([990; 4], [990; 4]));
        assert_eq!((rights.permitted, rights.effective, rights.bounding, rights.ambient), (4096, 4096, 4096, 0));
        assert!(rights.no_new_privs && rights.inheritable & !4096 == 0);
    }
}

fn is_harmless(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use airpods_lab::fuzz::{Target, replay};

    #[test]
    fn the_fuzz_properties_hold_for_the_kept_inputs() {
        let targets: [(&str, Target); 11] = [
            ("message_header", super::message_header),
            ("link_name", super::link_name),
            ("options", super::options),
            ("state_file", super::state_file),
            ("log_line", super::log_line),
            ("rights", super::rights),
            ("datagram", super::datagram),
            ("link", super::link),
            ("route", super::route),
            ("table", super::table),
            ("batch", super::batch),
        ];
        for (name, target) in targets {
            assert!(replay(name, target).unwrap() > 0, "{name}");
        }
    }
}
