//! Replies to calls of which nothing is left but who waits for an answer.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use airpods_dbus::Error;
use zbus::message::{Flags, Header};
use zbus::names::{BusName, OwnedUniqueName};
use zbus::{DynamicType, Message};

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

/// Who called, and where a reply goes.
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

    /// `None` for a call that has no sender: it did not come over a bus.
    pub(super) fn of(header: &Header<'_>) -> Option<Self> {
        let caller = header.sender()?.to_owned().into();
        let is_awaited = !header.primary().flags().contains(Flags::NO_REPLY_EXPECTED);
        Some(Self { caller, serial: is_awaited.then(|| header.primary().serial_num()) })
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.serial.is_some()
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

/// A call that stands for every other one: zbus makes a reply from a call, of which only its sender and its serial matter.
fn stand_in() -> Option<&'static Message> {
    static CALL: OnceLock<Option<Message>> = OnceLock::new();
    CALL.get_or_init(|| Message::method_call("/", "Call").build(&()).ok()).as_ref()
}
