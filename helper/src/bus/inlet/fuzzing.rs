//! What holds for the beginning of any message. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a finding is told")]

use super::LONGEST_HEADER;
use super::envelope::Envelope;

/// The length that is read has room for what it is the length of, and a refusal goes to the sender and to nobody else.
pub fn envelope(bytes: &[u8]) {
    let Some(envelope) = Envelope::read(bytes) else { return };
    assert!(bytes.len() >= Envelope::LENGTH && envelope.header().is_multiple_of(8));
    assert!((Envelope::LENGTH..=envelope.total()).contains(&envelope.header()));
    let Some(refused) = envelope.refused(bytes) else { return };
    assert!(envelope.header() <= LONGEST_HEADER && refused.length == envelope.total());
    if let Some(answer) = refused.answer() {
        let answer = answer.unwrap();
        let header = answer.header();
        assert_eq!(header.destination().unwrap().as_str(), refused.sender.as_str());
        assert!(header.reply_serial().is_some());
    }
}
