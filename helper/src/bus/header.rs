//! The header of a message. As the D-Bus specification demands, fields with unknown codes are
//! ignored, whatever they hold.
//!
//! zbus refuses a message with such a field and closes the connection, so the helper reads the
//! header first. For fields of the usual types it does not use `zbus::wire`, which builds a value
//! for each field and takes 20 times as long. In a flood, most calls are refused by their header
//! alone. See the D-Bus specification, "Message Format" and "Header Fields".

use std::num::NonZeroU32;
use std::ops::Range;

use zbus::Variant;
use zbus::message::{EndianSig, Flags};
use zbus::wire::Endian;
use zbus::wire::serialized::{Context, Data};

/// Codes of the header fields that are used here.
const REPLY_SERIAL: u8 = 5;
const SENDER: u8 = 7;
/// The known codes. 0 is not among them: the specification calls it an error.
const KNOWN: Range<u8> = 1..10;

/// Upper bound on the bytes of all fields of one header whose type no known field has. Only
/// `zbus::wire` can measure those, which takes up to a microsecond for each.
const MOST_UNUSUAL: usize = 128;

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    /// A method return or an error.
    Reply,
    Signal,
    /// A type that the specification does not define and tells receivers to ignore.
    Unknown,
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    endian: Endian,
    pub(super) kind: Kind,
    flags: u8,
    serial: Option<NonZeroU32>,
    fields: u32,
    body: u32,
}

impl Fixed {
    /// The length of the fixed part, in bytes.
    pub(super) const LENGTH: usize = 16;

    /// The offset of the array of header fields, which begins with its length.
    const FIELDS: usize = 12;

    /// Reads the fixed part of a message; `None` if the bytes are none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (fixed, _) = bytes.split_first_chunk::<{ Self::LENGTH }>()?;
        let endian: Endian = EndianSig::try_from(fixed[0]).ok()?.into();
        let kind = match fixed[1] {
            1 => Kind::Call,
            2 | 3 => Kind::Reply,
            4 => Kind::Signal,
            _ => Kind::Unknown,
        };
        let number = |at| number(endian, bytes, at);
        let (serial, fields, body) = (NonZeroU32::new(number(8)?), number(Self::FIELDS)?, number(4)?);
        Some(Self { endian, kind, flags: fixed[2], serial, fields, body })
    }

    /// The length of the header in bytes, padded to a multiple of eight.
    pub(super) fn header(&self) -> usize {
        (Self::LENGTH + self.fields as usize).next_multiple_of(8)
    }

    /// The length of the whole message in bytes.
    pub(super) fn total(&self) -> usize {
        self.header() + self.body as usize
    }

    /// The serial of a call that expects a reply.
    pub(super) fn awaited(&self) -> Option<NonZeroU32> {
        let is_awaited = self.kind == Kind::Call && self.flags & Flags::NO_REPLY_EXPECTED.bits() == 0;
        self.serial.filter(|_| is_awaited)
    }

    /// Reads the fields of a message whose header is complete; `None` if they are malformed.
    pub(super) fn fields<'m>(&self, message: &'m [u8]) -> Option<Fields<'m>> {
        let mut fields = Fields::default();
        for field in self.split(message.get(..Self::LENGTH + self.fields as usize)?) {
            match field? {
                // A message with two senders is malformed: the helper cannot tell which one the bus
                // set.
                [SENDER, 1, b's', ..] if fields.sender.is_some() => return None,
                [SENDER, 1, b's', 0, _, _, _, _, text @ .., 0] => fields.sender = Some(std::str::from_utf8(text).ok()?),
                [REPLY_SERIAL, 1, b'u', ..] => fields.has_reply_serial = true,
                [code, ..] => fields.has_unknown |= !KNOWN.contains(code),
                [] => return None,
            }
        }
        Some(fields)
    }

    /// Returns the message without its unknown fields. Each field begins at a multiple of eight, so
    /// the alignment inside it stays right.
    pub(super) fn cleaned(&self, message: &[u8], fields: &Fields<'_>) -> Vec<u8> {
        if !fields.has_unknown {
            return message.to_vec();
        }
        let header = message.get(..Self::LENGTH + self.fields as usize).unwrap_or_default();
        let mut cleaned = header.get(..Self::LENGTH).unwrap_or_default().to_vec();
        for field in self.split(header).map_while(|field| field) {
            if field.first().is_some_and(|code| KNOWN.contains(code)) {
                cleaned.resize(cleaned.len().next_multiple_of(8), 0);
                cleaned.extend_from_slice(field);
            }
        }
        // The array only got shorter, so its length still fits.
        let length = u32::try_from(cleaned.len() - Self::LENGTH).unwrap_or_default();
        self.endian.write_u32(&mut cleaned[Self::FIELDS..], length);
        cleaned.resize(cleaned.len().next_multiple_of(8), 0);
        cleaned.extend_from_slice(message.get(self.header()..).unwrap_or_default());
        cleaned
    }

    /// The fields of a header, each from its code to the end of its value; `None` without end from
    /// a malformed one on.
    fn split<'m>(&self, header: &'m [u8]) -> impl Iterator<Item = Option<&'m [u8]>> + use<'m> {
        let (endian, mut end, mut unusual) = (self.endian, Self::LENGTH, MOST_UNUSUAL);
        std::iter::from_fn(move || {
            (end < header.len()).then(|| {
                let start = end.next_multiple_of(8);
                let field = header.get(start..)?;
                let length = match field {
                    [_, 1, b's' | b'o', 0, ..] => usize::try_from(number(endian, field, 4)?).ok()?.checked_add(9)?,
                    [_, 1, b'g', 0, length, ..] => usize::from(*length) + 6,
                    [_, 1, b'u' | b'h', 0, ..] => 8,
                    _ => {
                        let field = Data::new(&field[..field.len().min(unusual)], Context::new(endian, 0));
                        let (_, length) = field.deserialize::<(u8, Variant<'_>)>().ok()?;
                        unusual = unusual.checked_sub(length)?;
                        length
                    }
                };
                end = start.checked_add(length)?;
                field.get(..length)
            })
        })
    }
}

/// The fields of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'m> {
    /// The sender, as the bus set it.
    pub(super) sender: Option<&'m str>,
    pub(super) has_reply_serial: bool,
    has_unknown: bool,
}

fn number(endian: Endian, bytes: &[u8], at: usize) -> Option<u32> {
    Some(endian.read_u32(bytes.get(at..at + 4)?))
}

#[cfg(test)]
mod tests;
