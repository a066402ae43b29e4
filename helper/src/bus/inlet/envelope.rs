//! The beginning of a message, as far as it says how long the message is and who sent it.

use std::num::NonZeroU32;

use airpods_dbus::ErrorKind;
use zbus::message::{EndianSig, Flags, Message, Type};
use zbus::names::OwnedUniqueName;
use zbus::wire::Endian;
use zbus::wire::serialized::{Context, Data};
use zbus::{DBusError, Variant};

use super::{LONGEST_HEADER, LONGEST_MESSAGE};

/// The field of a header that has the sender's name, which the bus daemon writes (D-Bus specification, "Header Fields").
const SENDER: u8 = 7;

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    endian: Endian,
    is_call: bool,
    wants_reply: bool,
    serial: Option<NonZeroU32>,
    fields: u32,
    body: u32,
}

impl Envelope {
    /// Its length in bytes.
    pub(super) const LENGTH: usize = 16;

    /// Where the array of header fields begins, with its length.
    const FIELDS: usize = 12;

    /// Reads it from the beginning of a message; `None` if this is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (fixed, _) = bytes.split_first_chunk::<{ Self::LENGTH }>()?;
        let endian: Endian = EndianSig::try_from(fixed[0]).ok()?.into();
        let number = |at: usize| {
            let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
            match endian {
                Endian::Little => u32::from_le_bytes(bytes),
                Endian::Big => u32::from_be_bytes(bytes),
            }
        };
        Some(Self {
            endian,
            is_call: fixed[1] == Type::MethodCall as u8,
            wants_reply: fixed[2] & Flags::NO_REPLY_EXPECTED.bits() == 0,
            serial: NonZeroU32::new(number(8)),
            fields: number(Self::FIELDS),
            body: number(4),
        })
    }

    /// How many bytes the header has, which ends on a multiple of eight.
    pub(super) fn header(&self) -> usize {
        (Self::LENGTH + self.fields as usize).next_multiple_of(8)
    }

    /// How many bytes the whole message has.
    pub(super) fn total(&self) -> usize {
        self.header() + self.body as usize
    }

    /// What an answer and a line in the log need to know. `None` if nobody waits for an answer: it is no call, or its header is
    /// one that no honest caller sends.
    pub(super) fn refused(&self, beginning: &[u8]) -> Option<Refused> {
        if !self.is_call || self.header() > LONGEST_HEADER {
            return None;
        }
        let fields = beginning.get(Self::FIELDS..Self::LENGTH + self.fields as usize)?;
        let data = Data::new(fields, Context::new(self.endian, Self::FIELDS));
        let (fields, _) = data.deserialize::<Vec<(u8, Variant<'_>)>>().ok()?;
        let sender = fields.iter().find_map(|(code, value)| match value {
            Variant::Str(name) if *code == SENDER => OwnedUniqueName::try_from(name.as_str()).ok(),
            _ => None,
        })?;
        Some(Refused { sender, serial: self.serial?, length: self.total(), wants_reply: self.wants_reply })
    }
}

/// A call that was too long to be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bus) struct Refused {
    /// Who sent it.
    pub(in crate::bus) sender: OwnedUniqueName,
    /// How many bytes it had.
    pub(in crate::bus) length: usize,
    serial: NonZeroU32,
    wants_reply: bool,
}

impl Refused {
    /// The answer, if one is wanted.
    pub(in crate::bus) fn answer(&self) -> Option<zbus::Result<Message>> {
        self.wants_reply.then(|| {
            // A call that stands for the real one: only its sender and its number matter to an answer.
            let call =
                Message::method_call("/", "TooLong").sender(self.sender.clone()).serial(self.serial).build(&())?;
            let length = self.length;
            let error = format!("the message has {length} bytes, and more than {LONGEST_MESSAGE} are not read");
            ErrorKind::LimitsExceeded.because(error).create_reply(&call.header())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn call(endian: Endian, flags: Flags) -> Message {
        let call = Message::method_call("/org/airpods/Helper1", "ClampOn").interface("org.airpods.Helper1");
        call.sender(":1.42").endian(endian).with_flags(flags).build(&("wg0", vec![0_u8; LONGEST_MESSAGE])).unwrap()
    }

    #[test]
    fn the_length_sender_and_serial_of_a_call_are_read_from_its_beginning_in_either_byte_order() {
        for endian in [Endian::Little, Endian::Big] {
            let call = call(endian, Flags::empty());
            let bytes = call.data().bytes();
            let envelope = Envelope::read(bytes).unwrap();
            assert_eq!(envelope.total(), bytes.len());
            assert!(envelope.total() > LONGEST_MESSAGE);
            let refused = envelope.refused(&bytes[..envelope.header()]).unwrap();
            assert_eq!((refused.sender.as_str(), refused.length), (":1.42", bytes.len()));
            let answer = refused.answer().unwrap().unwrap();
            let header = answer.header();
            assert_eq!(header.reply_serial(), Some(call.primary_header().serial_num()));
            assert_eq!(header.destination().unwrap().as_str(), ":1.42");
            assert_eq!(header.error_name().unwrap().as_str(), ErrorKind::LimitsExceeded.name());
        }
    }

    #[test]
    fn who_wants_no_reply_gets_none() {
        let call = call(Endian::Little, Flags::NO_REPLY_EXPECTED);
        let bytes = call.data().bytes();
        let refused = Envelope::read(bytes).unwrap().refused(bytes).unwrap();
        assert!(refused.answer().is_none());
    }

    #[test]
    fn what_is_no_call_has_no_sender_or_an_absurd_header_is_answered_by_nobody() {
        let refused = |message: &Message| {
            let bytes = message.data().bytes();
            Envelope::read(bytes).unwrap().refused(bytes)
        };
        let signal = Message::signal("/a", "a.b", "C").sender(":1.42").build(&()).unwrap();
        assert_eq!(refused(&signal), None);
        let anonymous = Message::method_call("/a", "C").build(&()).unwrap();
        assert_eq!(refused(&anonymous), None);
        let path = format!("/{}", "a".repeat(LONGEST_HEADER));
        let long = Message::method_call(path, "C").sender(":1.42").build(&()).unwrap();
        assert_eq!(refused(&long), None);
    }

    #[test]
    fn a_beginning_cut_or_changed_anywhere_is_read_without_a_panic() {
        let call = call(Endian::Little, Flags::empty());
        let bytes = &call.data().bytes()[..400];
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] = value;
                if let Some(envelope) = Envelope::read(&changed) {
                    assert!(envelope.total() >= Envelope::LENGTH);
                    drop(envelope.refused(&changed));
                }
            }
            if let Some(envelope) = Envelope::read(&bytes[..at]) {
                drop(envelope.refused(&bytes[..at]));
            }
        }
        assert_eq!(Envelope::read(b"what is this...."), None);
    }
}
