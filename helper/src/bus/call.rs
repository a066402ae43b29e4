//! Decodes a call: four methods, three properties, and the standard interfaces. Encodes its reply.
//! Nothing is decided or executed here.

use std::collections::HashMap;
use std::num::NonZeroU32;

use airpods_dbus::{ClampOptions, Error, ErrorKind, Target, names};
use zbus::message::Flags;
use zbus::names::{InterfaceName, MemberName, OwnedUniqueName};
use zbus::{DBusError, DynamicType, Message, ObjectPath, OwnedVariant, Variant, fdo};

use crate::authority::Action;
use crate::clamp::Request;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const PEER: &str = "org.freedesktop.DBus.Peer";

/// The properties of our interface.
const OUR_PROPERTIES: [&str; 3] = ["Clamps", "Auto", "Version"];

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
    /// `GetStatus`.
    Status,
    /// A mutating method.
    Change(RequestedChange),
    /// `Introspect`, and its answer.
    Introspect(String),
    Ping,
    MachineId,
    /// `Get` of this property.
    Property(&'static str),
    /// `GetAll` of an interface with these properties.
    Properties(&'static [&'static str]),
}

/// Decodes a call.
///
/// # Errors
/// The standard error that answers the call.
pub(super) fn decode(message: &Message) -> fdo::Result<DecodedCall> {
    let header = message.header();
    let member = header.member().map(MemberName::as_str).unwrap_or_default();
    let path = header.path().map(ObjectPath::as_str).unwrap_or_default();
    match header.interface().map(InterfaceName::as_str) {
        // The interface of a call is optional.
        None | Some(names::INTERFACE) if path == names::OBJECT_PATH => method(member, message),
        Some(PEER) => peer(member),
        Some(INTROSPECTABLE) => introspect(path, member),
        _ if path != names::OBJECT_PATH => Err(unknown_object()),
        Some(PROPERTIES) => properties(member, message),
        _ => Err(unknown_interface()),
    }
}

/// Decodes a call of one of our methods.
fn method(member: &str, message: &Message) -> fdo::Result<DecodedCall> {
    let method = Action::OF_METHODS.into_iter().find(|(name, _)| *name == member);
    let (_, action) = method.ok_or_else(unknown_method)?;
    let Some(action) = action else {
        return if message.body().is_empty() { Ok(DecodedCall::Status) } else { Err(invalid_args(member)) };
    };
    let interaction = message.primary_header().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let invalid = || ErrorKind::InvalidArgs.because(arguments(member));
    let (link, request) = match action {
        Action::Reset if message.body().is_empty() => (String::new(), Ok(Request::Reset)),
        Action::Reset => (String::new(), Err(invalid())),
        Action::ClampOff => match message.body().deserialize::<String>() {
            Ok(link) => (shortened(&link), target(&link).map(Request::ClampOff)),
            Err(_) => (String::new(), Err(invalid())),
        },
        Action::ClampOn | Action::ClampAnyLink => {
            match message.body().deserialize::<(String, HashMap<String, OwnedVariant>)>() {
                Ok((link, options)) => (shortened(&link), clamp_on(&link, &options)),
                Err(_) => (String::new(), Err(invalid())),
            }
        }
    };
    Ok(DecodedCall::Change(RequestedChange { action, link, interaction, request }))
}

fn clamp_on(link: &str, options: &HashMap<String, OwnedVariant>) -> Result<Request, Error> {
    Ok(Request::ClampOn(target(link)?, ClampOptions::from_wire(options)?))
}

fn target(link: &str) -> Result<Target, Error> {
    Target::parse(link).map_err(|broken| ErrorKind::InvalidLinkName.because(broken.to_string()))
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
fn peer(member: &str) -> fdo::Result<DecodedCall> {
    match member {
        "Ping" => Ok(DecodedCall::Ping),
        "GetMachineId" => Ok(DecodedCall::MachineId),
        _ => Err(unknown_method()),
    }
}

fn introspect(path: &str, member: &str) -> fdo::Result<DecodedCall> {
    let child = PARENTS.into_iter().find(|(parent, _)| *parent == path).map(|(_, child)| child);
    let xml = match child {
        Some(child) => format!("<node><node name=\"{child}\"/></node>"),
        None if path == names::OBJECT_PATH => names::INTROSPECTION.to_owned(),
        None => return Err(unknown_object()),
    };
    if member == "Introspect" { Ok(DecodedCall::Introspect(xml)) } else { Err(unknown_method()) }
}

fn properties(member: &str, message: &Message) -> fdo::Result<DecodedCall> {
    let body = message.body();
    let known = |interface: &str, property: &str| {
        let known = OUR_PROPERTIES.iter().find(|known| interface == names::INTERFACE && **known == property);
        known.copied().ok_or_else(|| fdo::Error::UnknownProperty("there is no such property".to_owned()))
    };
    let invalid = |_| invalid_args(member);
    match member {
        "Get" => {
            let (interface, property) = body.deserialize::<(&str, &str)>().map_err(invalid)?;
            known(interface, property).map(DecodedCall::Property)
        }
        "GetAll" => match body.deserialize::<&str>().map_err(invalid)? {
            names::INTERFACE => Ok(DecodedCall::Properties(&OUR_PROPERTIES)),
            INTROSPECTABLE | PROPERTIES | PEER => Ok(DecodedCall::Properties(&[])),
            _ => Err(unknown_interface()),
        },
        "Set" => {
            let (interface, property, _) = body.deserialize::<(&str, &str, Variant<'_>)>().map_err(invalid)?;
            known(interface, property)?;
            Err(fdo::Error::PropertyReadOnly("the property can only be read".to_owned()))
        }
        _ => Err(unknown_method()),
    }
}

fn unknown_method() -> fdo::Error {
    fdo::Error::UnknownMethod("there is no such method".to_owned())
}

fn unknown_object() -> fdo::Error {
    fdo::Error::UnknownObject("there is no such object".to_owned())
}

fn unknown_interface() -> fdo::Error {
    fdo::Error::UnknownInterface("there is no such interface".to_owned())
}

fn invalid_args(member: &str) -> fdo::Error {
    fdo::Error::InvalidArgs(arguments(member))
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
        Message::method_return(&self.stand_in()?.header()).build(body).ok()
    }

    /// An error reply with an error of the contract.
    pub(super) fn error(&self, error: &Error) -> Option<Message> {
        Message::error(&self.stand_in()?.header(), error.kind().name()).build(&error.message()).ok()
    }

    /// An error reply with an error of the standard interfaces.
    pub(super) fn standard(&self, error: &fdo::Error) -> Option<Message> {
        error.create_reply(&self.stand_in()?.header()).ok()
    }

    /// A call with the same sender and serial: zbus makes a reply from the header of its call.
    fn stand_in(&self) -> Option<Message> {
        let call = Message::method_call("/", "Call").sender(&self.caller).serial(self.serial?);
        call.build(&()).ok()
    }
}
