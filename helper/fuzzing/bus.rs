//! Properties that must hold for any bytes read as a D-Bus message. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a finding is told")]

use super::header::Fixed;

/// The lengths that are read are consistent. A message without its unknown fields keeps its sender
/// and its body.
pub fn message_header(bytes: &[u8]) {
    let Some(fixed) = Fixed::read(bytes) else { return };
    assert!(bytes.len() >= Fixed::LENGTH && fixed.header().is_multiple_of(8));
    assert!((Fixed::LENGTH..=fixed.total()).contains(&fixed.header()));
    let Some(fields) = fixed.fields(bytes) else { return };
    if bytes.len() < fixed.total() {
        return;
    }
    let message = bytes[..fixed.total()].to_vec();
    let cleaned = fixed.cleaned(&message, &fields);
    let again = Fixed::read(&cleaned).unwrap();
    assert_eq!(again.total(), cleaned.len());
    assert_eq!(cleaned[again.header()..], message[fixed.header()..]);
    assert!(cleaned.len() <= message.len());
    assert_eq!(again.fields(&cleaned).unwrap().sender, fields.sender);
}
