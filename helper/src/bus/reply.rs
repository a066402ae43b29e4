//! Replies to calls of which only the caller and the serial are kept.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use airpods_dbus::Error;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::{DBusError, DynamicType, Message, fdo};

/// The destination of a reply: the caller and the serial of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) caller: OwnedUniqueName,
    /// `None` if the caller expects no reply.
    serial: Option<NonZeroU32>,
}

impl ReplyTo {
    pub(super) fn new(caller: OwnedUniqueName, serial: Option<NonZeroU32>) -> Self {
        Self { caller, serial }
    }

    /// The serial of the call; `None` if the caller expects no reply.
    pub(super) fn serial(&self) -> Option<NonZeroU32> {
        self.serial
    }

    /// A reply with this body; `None` if the caller expects none.
    pub(super) fn with<B: serde::Serialize + DynamicType>(&self, body: &B) -> Option<Message> {
        let serial = self.serial?;
        let reply = Message::method_return(&stand_in()?.header()).reply_serial(Some(serial));
        reply.destination(BusName::from(self.caller.as_ref())).build(body).ok()
    }

    /// An error reply with an error of the contract.
    pub(super) fn error(&self, error: &Error) -> Option<Message> {
        self.named(&error.kind().name(), error.message())
    }

    /// An error reply with an error of the standard interfaces.
    pub(super) fn standard(&self, error: &fdo::Error) -> Option<Message> {
        self.named(&error.name(), error.description().unwrap_or_default())
    }

    fn named(&self, name: &str, message: &str) -> Option<Message> {
        let serial = self.serial?;
        let reply = Message::error(&stand_in()?.header(), name).reply_serial(Some(serial));
        reply.destination(BusName::from(self.caller.as_ref())).build(&message).ok()
    }
}

/// A placeholder call. zbus builds a reply from the header of a call, but the destination and the
/// serial are set explicitly.
fn stand_in() -> Option<&'static Message> {
    static CALL: OnceLock<Option<Message>> = OnceLock::new();
    CALL.get_or_init(|| Message::method_call("/", "Call").build(&()).ok()).as_ref()
}
