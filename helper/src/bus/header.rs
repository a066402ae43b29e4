//! The header of a message, read as leniently as D-Bus demands: a field with an unknown code is ignored, whatever it holds.
//!
//! zbus refuses such a message and then closes the connection, so the header is read here first. It is walked and not handed to
//! `zbus::wire`, which makes a value of each field: that takes 20 times as long, and of most calls of a flood nothing but the
//! header is ever read. See the D-Bus specification, "Message Format" and "Header Fields".

use std::num::NonZeroU32;
use std::ops::Range;

use zbus::message::{EndianSig, Flags};
use zbus::wire::Endian;

/// Codes of the header fields that are used here.
const REPLY_SERIAL: u8 = 5;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;
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

    /// How many bytes the body has.
    pub(super) fn body(&self) -> usize {
        self.body as usize
    }

    /// How many bytes the whole message has.
    pub(super) fn total(&self) -> usize {
        self.header() + self.body()
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

    /// A message without its unknown fields.
    pub(super) fn cleaned(&self, message: &[u8], fields: &Fields<'_>) -> Vec<u8> {
        if !fields.has_unknown {
            return message.to_vec();
        }
        let body = message.get(self.header()..).unwrap_or_default();
        self.rebuilt(message, |code| KNOWN.contains(&code), body)
    }

    /// The header of a message alone, as that of a message without a body.
    pub(super) fn beheaded(&self, message: &[u8]) -> Vec<u8> {
        self.rebuilt(message, |code| KNOWN.contains(&code) && code != SIGNATURE, &[])
    }

    /// Copies some fields. Each begins on a multiple of eight, so that what is in it stays aligned.
    fn rebuilt(&self, message: &[u8], keep: impl Fn(u8) -> bool, body: &[u8]) -> Vec<u8> {
        let mut rebuilt = Vec::with_capacity(message.len());
        rebuilt.extend_from_slice(message.get(..Self::LENGTH).unwrap_or_default());
        let header = message.get(..Self::LENGTH + self.fields as usize).unwrap_or_default();
        let walk = Walk { endian: self.endian, bytes: header };
        let mut at = Self::LENGTH;
        while let Some(Some(field)) = walk.next_field(at) {
            at = field.range.end;
            if keep(field.code) {
                rebuilt.resize(rebuilt.len().next_multiple_of(8), 0);
                rebuilt.extend_from_slice(header.get(field.range).unwrap_or_default());
            }
        }
        // Both are shorter than the message was, whose lengths fitted.
        let lengths = [(4, body.len()), (Self::FIELDS, rebuilt.len() - Self::LENGTH)];
        for (at, length) in lengths {
            let length = u32::try_from(length).unwrap_or_default();
            let bytes = match self.endian {
                Endian::Little => length.to_le_bytes(),
                Endian::Big => length.to_be_bytes(),
            };
            rebuilt[at..at + 4].copy_from_slice(&bytes);
        }
        rebuilt.resize(rebuilt.len().next_multiple_of(8), 0);
        rebuilt.extend_from_slice(body);
        rebuilt
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
        let (rest, end) = self.skip(signature, value, 0)?;
        rest.is_empty().then_some(Some(Field { code, signature, value, range: at..end }))
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

    /// Where the value of the first complete type of a signature ends, and the rest of the signature.
    fn skip<'s>(&self, signature: &'s [u8], at: usize, depth: u8) -> Option<(&'s [u8], usize)> {
        if depth > DEEPEST {
            return None;
        }
        let (code, rest) = signature.split_first()?;
        let sized = |size: usize| at.next_multiple_of(size).checked_add(size);
        let (rest, end) = match code {
            b'y' => (rest, sized(1)?),
            b'n' | b'q' => (rest, sized(2)?),
            b'b' | b'i' | b'u' | b'h' => (rest, sized(4)?),
            b'x' | b't' | b'd' => (rest, sized(8)?),
            b's' | b'o' => {
                let at = at.next_multiple_of(4);
                let length = usize::try_from(number(self.endian, self.bytes, at)?).ok()?;
                (rest, at.checked_add(5)?.checked_add(length)?)
            }
            b'g' => (rest, self.signature(at)?.1),
            b'v' => {
                let (inner, value) = self.signature(at)?;
                let (left, end) = self.skip(inner, value, depth + 1)?;
                (left.is_empty().then_some(rest)?, end)
            }
            b'a' => {
                let at = at.next_multiple_of(4);
                let length = usize::try_from(number(self.endian, self.bytes, at)?).ok()?;
                let elements = (at + 4).next_multiple_of(alignment(*rest.first()?)?);
                (after_type(rest, depth + 1)?, elements.checked_add(length)?)
            }
            b'(' => {
                let (mut rest, mut at) = (rest, at.next_multiple_of(8));
                while *rest.first()? != b')' {
                    (rest, at) = self.skip(rest, at, depth + 1)?;
                }
                (&rest[1..], at)
            }
            _ => return None,
        };
        (end <= self.bytes.len()).then_some((rest, end))
    }
}

/// The rest of a signature behind its first complete type.
fn after_type(signature: &[u8], depth: u8) -> Option<&[u8]> {
    if depth > DEEPEST {
        return None;
    }
    let (code, mut rest) = signature.split_first()?;
    match code {
        b'a' => after_type(rest, depth + 1),
        b'(' | b'{' => {
            let end = if *code == b'(' { b')' } else { b'}' };
            while *rest.first()? != end {
                rest = after_type(rest, depth + 1)?;
            }
            Some(&rest[1..])
        }
        _ => alignment(*code).map(|_| rest),
    }
}

/// The alignment of a value of the type.
fn alignment(code: u8) -> Option<usize> {
    match code {
        b'y' | b'g' | b'v' => Some(1),
        b'n' | b'q' => Some(2),
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => Some(4),
        b'x' | b't' | b'd' | b'(' | b'{' => Some(8),
        _ => None,
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
