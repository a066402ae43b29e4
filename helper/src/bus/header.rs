//! The header of a message, read as leniently as D-Bus demands: a field with an unknown code is ignored, whatever it holds.
//!
//! zbus refuses such a message and then closes the connection, so the header is read here first. It is walked and not handed to
//! `zbus::wire`, which makes a value of each field: that takes 20 times as long, and of most calls of a flood nothing but the
//! header is ever read. See the D-Bus specification, "Message Format" and "Header Fields".

use std::num::NonZeroU32;
use std::ops::Range;

use zbus::Signature;
use zbus::message::{EndianSig, Flags};
use zbus::wire::Endian;

/// Codes of the header fields that are used here.
const REPLY_SERIAL: u8 = 5;
const SENDER: u8 = 7;
/// The known codes. 0 is not one: the specification calls it an error.
const KNOWN: Range<u8> = 1..10;

/// The deepest nesting of containers that the specification allows.
const DEEPEST: u8 = 64;

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    /// A method return or an error.
    Reply,
    Signal,
    /// A type that the specification does not define; it says to ignore such a message.
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
    /// Its length in bytes.
    pub(super) const LENGTH: usize = 16;

    /// Where the array of header fields begins, with its length.
    const FIELDS: usize = 12;

    /// Reads it from the beginning of a message; `None` if this is none.
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

    /// How many bytes the header has, which ends on a multiple of eight.
    pub(super) fn header(&self) -> usize {
        (Self::LENGTH + self.fields as usize).next_multiple_of(8)
    }

    /// How many bytes the whole message has.
    pub(super) fn total(&self) -> usize {
        self.header() + self.body as usize
    }

    /// The serial of a call to which a reply is wanted.
    pub(super) fn awaited(&self) -> Option<NonZeroU32> {
        let is_awaited = self.kind == Kind::Call && self.flags & Flags::NO_REPLY_EXPECTED.bits() == 0;
        self.serial.filter(|_| is_awaited)
    }

    /// Reads the fields from the beginning of a message that has the whole header; `None` if they are malformed.
    pub(super) fn fields<'m>(&self, message: &'m [u8]) -> Option<Fields<'m>> {
        let mut fields = Fields::default();
        let header = message.get(..Self::LENGTH + self.fields as usize)?;
        let walk = Walk { endian: self.endian, bytes: header };
        let mut field = walk.next_field(Self::LENGTH)?;
        while let Some(Field { code, signature, value, range }) = field {
            // Two senders are none: which one the bus vouches for cannot be told.
            if code == SENDER && signature == b"s" && fields.sender.replace(walk.text(value)?).is_some() {
                return None;
            }
            fields.has_reply_serial |= code == REPLY_SERIAL && signature == b"u";
            fields.has_unknown |= !KNOWN.contains(&code);
            field = walk.next_field(range.end)?;
        }
        Some(fields)
    }

    /// A message without its unknown fields. Each field begins on a multiple of eight, so that what is in it stays aligned.
    pub(super) fn cleaned(&self, message: &[u8], fields: &Fields<'_>) -> Vec<u8> {
        if !fields.has_unknown {
            return message.to_vec();
        }
        let mut cleaned = message.get(..Self::LENGTH).unwrap_or_default().to_vec();
        let header = message.get(..Self::LENGTH + self.fields as usize).unwrap_or_default();
        let walk = Walk { endian: self.endian, bytes: header };
        let mut at = Self::LENGTH;
        while let Some(Some(field)) = walk.next_field(at) {
            at = field.range.end;
            if KNOWN.contains(&field.code) {
                cleaned.resize(cleaned.len().next_multiple_of(8), 0);
                cleaned.extend_from_slice(header.get(field.range).unwrap_or_default());
            }
        }
        // It is shorter than it was, and that fitted.
        let length = u32::try_from(cleaned.len() - Self::LENGTH).unwrap_or_default();
        cleaned[Self::FIELDS..Self::LENGTH].copy_from_slice(&match self.endian {
            Endian::Little => length.to_le_bytes(),
            Endian::Big => length.to_be_bytes(),
        });
        cleaned.resize(cleaned.len().next_multiple_of(8), 0);
        cleaned.extend_from_slice(message.get(self.header()..).unwrap_or_default());
        cleaned
    }
}

/// The fields of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'m> {
    /// The sender of the message, by the bus's word.
    pub(super) sender: Option<&'m str>,
    pub(super) has_reply_serial: bool,
    has_unknown: bool,
}

/// One field of a header: where its value begins, and where all of it is.
struct Field<'m> {
    code: u8,
    signature: &'m [u8],
    value: usize,
    range: Range<usize>,
}

/// A walk over values by their signature.
struct Walk<'a> {
    endian: Endian,
    bytes: &'a [u8],
}

impl<'a> Walk<'a> {
    /// The field that begins at a place, before it is aligned; `Some(None)` at the end, `None` if it is malformed.
    #[allow(clippy::option_option, reason = "`?` makes the walks short")]
    fn next_field(&self, at: usize) -> Option<Option<Field<'a>>> {
        if at >= self.bytes.len() {
            return Some(None);
        }
        let at = at.next_multiple_of(8);
        let code = *self.bytes.get(at)?;
        let (signature, value) = self.signature(at + 1)?;
        let end = self.skip(&Signature::from_bytes(signature).ok()?, value, 0)?;
        Some(Some(Field { code, signature, value, range: at..end }))
    }

    /// The signature at a place, and where it ends.
    fn signature(&self, at: usize) -> Option<(&'a [u8], usize)> {
        let length = usize::from(*self.bytes.get(at)?);
        let end = at + 1 + length;
        Some((self.bytes.get(at + 1..end)?, end + 1))
    }

    /// The text of a string that begins at a place, before it is aligned.
    fn text(&self, at: usize) -> Option<&'a str> {
        let at = at.next_multiple_of(4);
        let length = usize::try_from(number(self.endian, self.bytes, at)?).ok()?;
        std::str::from_utf8(self.bytes.get(at + 4..(at + 4).checked_add(length)?)?).ok()
    }

    /// Where a value of the type ends, which begins at a place, before it is aligned.
    fn skip(&self, of: &Signature, at: usize, depth: u8) -> Option<usize> {
        if depth > DEEPEST {
            return None;
        }
        let at = at.next_multiple_of(of.alignment_dbus());
        let length = || usize::try_from(number(self.endian, self.bytes, at)?).ok();
        // The padding before the first element does not count, and is there even if there is none.
        let array = |element: usize| (at + 4).next_multiple_of(element).checked_add(length()?);
        let end = match of {
            Signature::U8
            | Signature::I16
            | Signature::U16
            | Signature::Bool
            | Signature::I32
            | Signature::U32
            | Signature::Fd
            | Signature::I64
            | Signature::U64
            | Signature::F64 => at + of.alignment_dbus(),
            Signature::Str | Signature::ObjectPath => at.checked_add(5)?.checked_add(length()?)?,
            Signature::Signature => self.signature(at)?.1,
            Signature::Variant => {
                let (inner, value) = self.signature(at)?;
                self.skip(&Signature::from_bytes(inner).ok()?, value, depth + 1)?
            }
            Signature::Array(element) => array(element.alignment_dbus())?,
            Signature::Dict { .. } => array(8)?,
            Signature::Structure(members) => {
                members.iter().try_fold(at, |at, member| self.skip(member, at, depth + 1))?
            }
            Signature::Unit => return None,
        };
        (end <= self.bytes.len()).then_some(end)
    }
}

fn number(endian: Endian, bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = *bytes.get(at..)?.first_chunk::<4>()?;
    Some(match endian {
        Endian::Little => u32::from_le_bytes(bytes),
        Endian::Big => u32::from_be_bytes(bytes),
    })
}

#[cfg(test)]
mod tests;
