//! Replies to calls of which nothing is left but who waits for an answer.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use airpods_dbus::Error;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::{DBusError, DynamicType, Message, fdo};

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
    pub(super) fn standard(&self, error: &fdo::Error) -> Option<Message> {
        self.named(&error.name(), error.description().unwrap_or_default())
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
