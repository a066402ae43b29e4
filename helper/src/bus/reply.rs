//! Replies to calls of which nothing is left but who waits for an answer.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use airpods_dbus::Error;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::{DynamicType, Message};

use super::quota;

/// The errors of the standard interfaces, beside those of the contract; see the D-Bus specification and
/// `dbus-protocol.h` of libdbus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    UnknownMethod,
    UnknownObject,
    UnknownInterface,
    UnknownProperty,
    PropertyReadOnly,
    Failed,
}

impl Standard {
    fn name(self) -> &'static str {
        match self {
            Self::UnknownMethod => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::UnknownObject => "org.freedesktop.DBus.Error.UnknownObject",
            Self::UnknownInterface => "org.freedesktop.DBus.Error.UnknownInterface",
            Self::UnknownProperty => "org.freedesktop.DBus.Error.UnknownProperty",
            Self::PropertyReadOnly => "org.freedesktop.DBus.Error.PropertyReadOnly",
            Self::Failed => "org.freedesktop.DBus.Error.Failed",
        }
    }
}

/// The caller, and the destination of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) caller: OwnedUniqueName,
    /// `None` if no reply is wanted.
    serial: Option<NonZeroU32>,
}

impl ReplyTo {
    pub(super) fn new(caller: OwnedUniqueName, serial: Option<NonZeroU32>) -> Self {
        Self { caller, serial }
    }

    /// The serial of the call; `None` if no reply is wanted.
    pub(super) fn serial(&self) -> Option<NonZeroU32> {
        self.serial
    }

    /// A reply with this body; `None` if none is wanted.
    pub(super) fn with<B: serde::Serialize + DynamicType>(&self, body: &B) -> Option<Message> {
        let serial = self.serial?;
        let reply = Message::method_return(&stand_in()?.header()).reply_serial(Some(serial));
        reply.destination(BusName::from(self.caller.as_ref())).build(body).ok()
    }

    /// An error of the contract.
    pub(super) fn error(&self, error: &Error) -> Option<Message> {
        self.named(&error.kind().name(), error.message())
    }

    /// An error of the standard interfaces.
    pub(super) fn standard(&self, error: Standard, message: &str) -> Option<Message> {
        self.named(error.name(), message)
    }

    fn named(&self, name: &str, message: &str) -> Option<Message> {
        let serial = self.serial?;
        let reply = Message::error(&stand_in()?.header(), name).reply_serial(Some(serial));
        reply.destination(BusName::from(self.caller.as_ref())).build(&message).ok()
    }
}

/// Writes what a caller is told whose call has no place, as zbus would, at a hundredth of the cost.
///
/// See the D-Bus specification, "Message Format". Its own serial is 1: nobody answers an error.
pub(super) fn write_refusal(into: &mut Vec<u8>, caller: &str, serial: NonZeroU32) {
    /// The part that is the same for every call: the error's name, the signature, and the body.
    struct Constant {
        bytes: Vec<u8>,
        fields: usize,
        body: usize,
    }
    static CONSTANT: OnceLock<Constant> = OnceLock::new();
    let constant = CONSTANT.get_or_init(|| {
        let error = quota::too_many();
        let mut bytes = Vec::new();
        write_text(&mut bytes, b"\x04\x01s\0", &error.kind().name());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(b"\x08\x01g\0\x01s\0");
        let fields = bytes.len();
        bytes.resize(fields.next_multiple_of(8), 0);
        let begin = bytes.len();
        write_text(&mut bytes, &[], error.message());
        Constant { body: bytes.len() - begin, bytes, fields }
    });
    let mut own = Vec::with_capacity(64);
    own.extend_from_slice(b"\x05\x01u\0");
    own.extend_from_slice(&serial.get().to_le_bytes());
    write_text(&mut own, b"\x06\x01s\0", caller);
    own.resize(own.len().next_multiple_of(8), 0);
    // Little-endian, an error that wants no reply, of version 1.
    into.extend_from_slice(b"l\x03\x01\x01");
    for number in [constant.body, 1, own.len() + constant.fields] {
        into.extend_from_slice(&length(number));
    }
    into.extend_from_slice(&own);
    into.extend_from_slice(&constant.bytes);
}

/// Writes a string behind what says that it is one.
fn write_text(into: &mut Vec<u8>, prefix: &[u8], text: &str) {
    into.extend_from_slice(prefix);
    into.extend_from_slice(&length(text.len()));
    into.extend_from_slice(text.as_bytes());
    into.push(0);
}

/// A length of a name or a sentence of ours.
fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or_default().to_le_bytes()
}

/// A call that stands for every other one: zbus makes a reply from a call, of which only its sender and its serial matter.
fn stand_in() -> Option<&'static Message> {
    static CALL: OnceLock<Option<Message>> = OnceLock::new();
    CALL.get_or_init(|| Message::method_call("/", "Call").build(&()).ok()).as_ref()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::bounded_socket::decoded;
    use super::*;

    #[test]
    fn a_refusal_says_what_zbus_would_for_names_of_every_length() {
        for name in [":1.1", ":1.42", ":1.4294967295", ":1.18446744073709551615"] {
            let serial = NonZeroU32::new(77);
            let to = ReplyTo::new(name.try_into().unwrap(), serial);
            let mut bytes = Vec::new();
            write_refusal(&mut bytes, name, serial.unwrap());
            let written = zruntime::block_on(decoded(0, bytes)).unwrap();
            let expected = to.error(&quota::too_many()).unwrap();
            let parts = |message: &Message| {
                let header = message.header();
                let text: String = message.body().deserialize().unwrap();
                let names = (header.error_name().unwrap().to_string(), header.destination().unwrap().to_string());
                (message.message_type(), header.reply_serial(), names, text, message.header().signature().to_string())
            };
            assert_eq!(parts(&written), parts(&expected));
        }
    }
}
