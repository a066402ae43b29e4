//! The header of a message. As the D-Bus specification demands, fields with unknown codes are
//! ignored, whatever they hold.
//!
//! zbus refuses a message with such a field and closes the connection, so the helper reads the
//! header first. It does not use `zbus::wire`, which builds a value for each field and takes 20
//! times as long. In a flood, most calls are refused by their header alone. See the D-Bus
//! specification, "Message Format" and "Header Fields".

use std::num::NonZeroU32;
use std::ops::Range;

use zbus::Signature;
use zbus::message::{EndianSig, Flags};
use zbus::wire::Endian;

/// Codes of the header fields that are used here.
const REPLY_SERIAL: u8 = 5;
const SENDER: u8 = 7;
/// The known codes. 0 is not among them: the specification calls it an error.
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
        let header = message.get(..Self::LENGTH + self.fields as usize)?;
        let walk = Walk { endian: self.endian, bytes: header };
        let mut field = walk.next_field(Self::LENGTH)?;
        while let Some(Field { code, signature, value, range }) = field {
            // A message with two senders is malformed: the helper cannot tell which one the bus
            // set.
            if code == SENDER && signature == b"s" && fields.sender.replace(walk.text(value)?).is_some() {
                return None;
            }
            fields.has_reply_serial |= code == REPLY_SERIAL && signature == b"u";
            fields.has_unknown |= !KNOWN.contains(&code);
            field = walk.next_field(range.end)?;
        }
        Some(fields)
    }

    /// Returns the message without its unknown fields. Each field begins at a multiple of eight, so
    /// the alignment inside it stays right.
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
        // The array only got shorter, so its length still fits.
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
    /// The sender, as the bus set it.
    pub(super) sender: Option<&'m str>,
    pub(super) has_reply_serial: bool,
    has_unknown: bool,
}

/// One field of a header: the offset of its value, and the range of the whole field.
struct Field<'m> {
    code: u8,
    signature: &'m [u8],
    value: usize,
    range: Range<usize>,
}

/// Walks over values by their signature.
struct Walk<'a> {
    endian: Endian,
    bytes: &'a [u8],
}

impl<'a> Walk<'a> {
    /// The field at an offset that is not aligned yet. `Some(None)` at the end, `None` if
    /// malformed.
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

    /// The signature at an offset, and the offset behind it.
    fn signature(&self, at: usize) -> Option<(&'a [u8], usize)> {
        let length = usize::from(*self.bytes.get(at)?);
        let end = at + 1 + length;
        Some((self.bytes.get(at + 1..end)?, end + 1))
    }

    /// The text of a string at an offset that is not aligned yet.
    fn text(&self, at: usize) -> Option<&'a str> {
        let at = at.next_multiple_of(4);
        let length = usize::try_from(number(self.endian, self.bytes, at)?).ok()?;
        std::str::from_utf8(self.bytes.get(at + 4..(at + 4).checked_add(length)?)?).ok()
    }

    /// The end of a value of this type, which begins at an offset that is not aligned yet.
    fn skip(&self, of: &Signature, at: usize, depth: u8) -> Option<usize> {
        if depth > DEEPEST {
            return None;
        }
        let at = at.next_multiple_of(of.alignment_dbus());
        let length = || usize::try_from(number(self.endian, self.bytes, at)?).ok();
        // The length of an array excludes the padding before its first element. An empty array has
        // that padding, too.
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
