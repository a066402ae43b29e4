//! Decodes a call: four methods, three properties, and the standard interfaces. Encodes its reply.
//! Nothing is decided or executed here.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::OnceLock;

use airpods_dbus::{ClampOptions, Error, ErrorKind, Target, names};
use zbus::message::Header;
use zbus::names::{BusName, InterfaceName, MemberName, OwnedUniqueName};
use zbus::{DBusError, DynamicType, Message, ObjectPath, OwnedVariant, Variant, fdo};

use crate::authority::Action;
use crate::clamp::Request;
use crate::log::Line;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const PEER: &str = "org.freedesktop.DBus.Peer";

/// The parents of our object, and the child that leads to it: `busctl tree` and the like walk down
/// from the root.
const PARENTS: [(&str, &str); 3] = [("/", "org"), ("/org", "airpods"), ("/org/airpods", "Helper1")];

/// A requested change.
#[derive(Debug)]
pub(super) struct RequestedChange {
    pub(super) action: Action,
    /// The link as the caller wrote it, cut to 32 characters for the log.
    pub(super) link: String,
    /// Whether the message allows a password prompt.
    pub(super) interaction: bool,
    pub(super) request: Result<Request, Error>,
}

/// A decoded call.
#[derive(Debug)]
pub(super) enum DecodedCall {
    /// The answer is constant or in memory, and costs less than finding out who calls.
    Answer(Answer),
    /// `GetStatus`.
    Status,
    /// A mutating method.
    Change(RequestedChange),
    /// The call is refused before it is decoded, with a log line.
    Refused(Line, Error),
}

/// An answer that does not need the kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// A constant text.
    Introspection(String),
    /// An empty reply, for `Ping`.
    Nothing,
    MachineId,
    Property(Property),
    /// All properties of an interface.
    Properties(&'static [Property]),
    Error(fdo::Error),
}

/// The properties of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    Clamps,
    Auto,
    Version,
}

impl Property {
    pub(super) const ALL: [Self; 3] = [Self::Clamps, Self::Auto, Self::Version];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clamps => "Clamps",
            Self::Auto => "Auto",
            Self::Version => "Version",
        }
    }
}

/// Decodes a call.
pub(super) fn decode(message: &Message) -> DecodedCall {
    let header = message.header();
    let member = header.member().map(MemberName::as_str).unwrap_or_default();
    let interface = header.interface().map(InterfaceName::as_str);
    let path = header.path().map(ObjectPath::as_str).unwrap_or_default();
    let answer = match interface {
        // The interface of a call is optional.
        None | Some(names::INTERFACE) if path == names::OBJECT_PATH => match method(member, message) {
            Some(decoded) => return decoded,
            None => unknown_method(),
        },
        Some(PEER) => peer(member),
        Some(INTROSPECTABLE) => introspect(path, member),
        _ if path != names::OBJECT_PATH => unknown_object(),
        Some(PROPERTIES) => properties(member, message),
        _ => unknown_interface(),
    };
    DecodedCall::Answer(answer)
}

/// Decodes a call of one of our methods; `None` if there is no such method.
fn method(member: &str, message: &Message) -> Option<DecodedCall> {
    let (_, action) = Action::OF_METHODS.into_iter().find(|(name, _)| *name == member)?;
    let Some(action) = action else {
        return Some(if message.body().is_empty() {
            DecodedCall::Status
        } else {
            DecodedCall::Answer(invalid_args(member))
        });
    };
    let interaction = interaction(&message.header());
    let (link, request) = match action {
        Action::Reset => (String::new(), empty(message, member).map(|()| Request::Reset)),
        Action::ClampOff => match message.body().deserialize::<String>() {
            Ok(link) => (shortened(&link), target(&link).map(Request::ClampOff)),
            Err(_) => (String::new(), Err(invalid(member))),
        },
        Action::ClampOn | Action::ClampAnyLink => {
            match message.body().deserialize::<(String, HashMap<String, OwnedVariant>)>() {
                Ok((link, options)) => (shortened(&link), clamp_on(&link, &options)),
                Err(_) => (String::new(), Err(invalid(member))),
            }
        }
    };
    Some(DecodedCall::Change(RequestedChange { action, link, interaction, request }))
}

fn interaction(header: &Header<'_>) -> bool {
    header.primary().flags().contains(zbus::message::Flags::ALLOW_INTERACTIVE_AUTH)
}

fn clamp_on(link: &str, options: &HashMap<String, OwnedVariant>) -> Result<Request, Error> {
    Ok(Request::ClampOn(target(link)?, ClampOptions::from_wire(options)?))
}

fn target(link: &str) -> Result<Target, Error> {
    Target::parse(link).map_err(|broken| ErrorKind::InvalidLinkName.because(broken.to_string()))
}

fn empty(message: &Message, member: &str) -> Result<(), Error> {
    if message.body().is_empty() { Ok(()) } else { Err(invalid(member)) }
}

fn invalid(member: &str) -> Error {
    ErrorKind::InvalidArgs.because(arguments(member))
}

/// The error text with the types of a method's arguments.
fn arguments(member: &str) -> String {
    let types = match member {
        "ClampOn" => "`s` and `a{sv}`",
        "ClampOff" | "GetAll" => "`s`",
        "Get" => "`s` and `s`",
        "Set" => "`s`, `s` and `v`",
        _ => "none",
    };
    format!("the arguments of {member} must be of these D-Bus types: {types}")
}

/// Every object path answers these.
fn peer(member: &str) -> Answer {
    match member {
        "Ping" => Answer::Nothing,
        "GetMachineId" => Answer::MachineId,
        _ => unknown_method(),
    }
}

fn introspect(path: &str, member: &str) -> Answer {
    let child = PARENTS.into_iter().find(|(parent, _)| *parent == path).map(|(_, child)| child);
    match (member, child) {
        ("Introspect", _) if path == names::OBJECT_PATH => Answer::Introspection(names::INTROSPECTION.to_owned()),
        ("Introspect", Some(child)) => Answer::Introspection(format!("<node><node name=\"{child}\"/></node>")),
        (_, None) if path != names::OBJECT_PATH => unknown_object(),
        _ => unknown_method(),
    }
}

fn properties(member: &str, message: &Message) -> Answer {
    let body = message.body();
    let of = |interface: &str, property: &str| match interface {
        names::INTERFACE => Property::ALL.into_iter().find(|known| known.name() == property),
        _ => None,
    };
    let unknown = Answer::Error(fdo::Error::UnknownProperty("there is no such property".to_owned()));
    match member {
        "Get" => match body.deserialize::<(&str, &str)>() {
            Ok((interface, property)) => of(interface, property).map_or(unknown, Answer::Property),
            Err(_) => invalid_args(member),
        },
        "GetAll" => match body.deserialize::<&str>() {
            Ok(names::INTERFACE) => Answer::Properties(&Property::ALL),
            Ok(INTROSPECTABLE | PROPERTIES | PEER) => Answer::Properties(&[]),
            Ok(_) => unknown_interface(),
            Err(_) => invalid_args(member),
        },
        "Set" => match body.deserialize::<(&str, &str, Variant<'_>)>() {
            Ok((interface, property, _)) if of(interface, property).is_some() => {
                Answer::Error(fdo::Error::PropertyReadOnly("the property can only be read".to_owned()))
            }
            Ok(_) => unknown,
            Err(_) => invalid_args(member),
        },
        _ => unknown_method(),
    }
}

fn unknown_method() -> Answer {
    Answer::Error(fdo::Error::UnknownMethod("there is no such method".to_owned()))
}

fn unknown_object() -> Answer {
    Answer::Error(fdo::Error::UnknownObject("there is no such object".to_owned()))
}

fn unknown_interface() -> Answer {
    Answer::Error(fdo::Error::UnknownInterface("there is no such interface".to_owned()))
}

fn invalid_args(member: &str) -> Answer {
    Answer::Error(fdo::Error::InvalidArgs(arguments(member)))
}

/// A caller's text, cut for a log line; the line itself escapes it.
fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}

/// The destination of a reply: the caller and the serial of the call, which is all that is kept of
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) caller: OwnedUniqueName,
    /// The serial of the call; `None` if the caller expects no reply.
    pub(super) serial: Option<NonZeroU32>,
}

impl ReplyTo {
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
