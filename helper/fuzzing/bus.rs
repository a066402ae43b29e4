//! What holds for any bytes that arrive as a message. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a finding is told")]

use super::header::Fixed;

/// The length that is read has room for what it is the length of, and a message without its unknown fields, or without its
/// body, has the sender that it had.
pub fn envelope(bytes: &[u8]) {
    let Some(fixed) = Fixed::read(bytes) else { return };
    assert!(bytes.len() >= Fixed::LENGTH && fixed.header().is_multiple_of(8));
    assert!((Fixed::LENGTH..=fixed.total()).contains(&fixed.header()));
    let Some(fields) = fixed.fields(bytes) else { return };
    if bytes.len() < fixed.total() {
        return;
    }
    let message = bytes[..fixed.total()].to_vec();
    for (rebuilt, body) in [(fixed.beheaded(&message), 0), (fixed.cleaned(&message, &fields), fixed.body())] {
        let again = Fixed::read(&rebuilt).unwrap();
        assert_eq!((again.total(), again.body()), (rebuilt.len(), body));
        assert!(rebuilt.len() <= message.len());
        assert_eq!(again.fields(&rebuilt).unwrap().sender, fields.sender);
    }
}
