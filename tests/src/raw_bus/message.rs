//! A bus message as bytes, valid or not (D-Bus specification, "Message Format"). A library would
//! refuse to write most of the invalid ones.

use std::fmt;

/// The kinds of message that the specification knows.
pub mod kind {
    /// A call.
    pub const CALL: u8 = 1;
    /// The answer to a call.
    pub const RETURN: u8 = 2;
    /// An error as the answer to a call.
    pub const ERROR: u8 = 3;
    /// A signal.
    pub const SIGNAL: u8 = 4;
}

/// The header fields that the specification knows. Receivers must ignore every other code.
pub mod field {
    /// The object that is called, or that sends a signal.
    pub const PATH: u8 = 1;
    /// The interface.
    pub const INTERFACE: u8 = 2;
    /// The method or the signal.
    pub const MEMBER: u8 = 3;
    /// The name of an error.
    pub const ERROR_NAME: u8 = 4;
    /// The serial of the call that is answered.
    pub const REPLY_SERIAL: u8 = 5;
    /// The name of the recipient.
    pub const DESTINATION: u8 = 6;
    /// The types of the body.
    pub const SIGNATURE: u8 = 8;
    /// The number of file descriptors that accompany the message.
    pub const UNIX_FDS: u8 = 9;
}

/// The flags of a message.
pub mod flags {
    /// The sender waits for no answer.
    pub const NO_REPLY_EXPECTED: u8 = 1;
    /// The caller allows a password prompt.
    pub const ALLOW_INTERACTIVE_AUTHORIZATION: u8 = 4;
}

/// The value of a header field.
#[derive(Clone, Debug)]
pub enum Value {
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `u`
    Number(u32),
    /// Any type, with bytes that need not match it; they start at a multiple of 8.
    Raw(String, Vec<u8>),
}

/// A message that is yet to be sent; its serial is given by the connection.
#[derive(Clone)]
pub struct RawMessage {
    /// The byte order in the header: `l` is little-endian, `B` big-endian. The bytes are
    /// little-endian in either case.
    pub order: u8,
    /// One of [`kind`], or not.
    pub kind: u8,
    /// Some of [`flags`], or not.
    pub flags: u8,
    /// The protocol's version, which is 1.
    pub version: u8,
    /// The header fields, in this order.
    pub fields: Vec<(u8, Value)>,
    /// The body.
    pub body: Vec<u8>,
}

impl RawMessage {
    /// A call without arguments.
    #[must_use]
    pub fn call(destination: &str, path: &str, interface: &str, member: &str) -> Self {
        let fields = vec![
            (field::PATH, Value::Path(path.to_owned())),
            (field::DESTINATION, Value::Text(destination.to_owned())),
            (field::INTERFACE, Value::Text(interface.to_owned())),
            (field::MEMBER, Value::Text(member.to_owned())),
        ];
        Self { order: b'l', kind: kind::CALL, flags: 0, version: 1, fields, body: Vec::new() }
    }

    /// The same with a body of these types.
    #[must_use]
    pub fn with_body(self, signature: &str, body: Vec<u8>) -> Self {
        Self { body, ..self.with_field(field::SIGNATURE, Value::Signature(signature.to_owned())) }
    }

    /// The same with one more header field.
    #[must_use]
    pub fn with_field(mut self, code: u8, value: Value) -> Self {
        self.fields.push((code, value));
        self
    }

    /// The same without a header field.
    #[must_use]
    pub fn without_field(mut self, code: u8) -> Self {
        self.fields.retain(|(known, _)| *known != code);
        self
    }

    /// The same with these flags.
    #[must_use]
    pub fn with_flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// The same as another kind of message.
    #[must_use]
    pub fn with_kind(self, kind: u8) -> Self {
        Self { kind, ..self }
    }

    /// The message's bytes on the socket.
    #[must_use]
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut bytes = Body(vec![self.order, self.kind, self.flags, self.version]);
        bytes.number(length(&self.body));
        bytes.number(serial);
        bytes.number(0);
        for (code, value) in &self.fields {
            bytes.align(8);
            bytes.0.push(*code);
            bytes.value(value);
        }
        let fields = u32::try_from(bytes.0.len() - 16).unwrap_or(u32::MAX);
        bytes.0[12..16].copy_from_slice(&fields.to_le_bytes());
        bytes.align(8);
        bytes.0.extend_from_slice(&self.body);
        bytes.0
    }
}

/// Shows at most 48 bytes of the body, so that the text fits into a failure message.
impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(48)];
        write!(
            f,
            "kind {} flags {:#x} {:?} body of {}: {shown:02x?}",
            self.kind,
            self.flags,
            self.fields,
            self.body.len()
        )
    }
}

/// The bytes of a body or a header, built value by value.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// Pads with zeros to a multiple of this many bytes.
    pub fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `u`, and the length of an array.
    pub fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// `s` or `o`.
    pub fn text(&mut self, text: &str) {
        self.number(length(text.as_bytes()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// `g`. For a signature of more than 255 bytes only the length byte is wrong: it is 255.
    pub fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.signature("s");
                self.text(text);
            }
            Value::Path(path) => {
                self.signature("o");
                self.text(path);
            }
            Value::Signature(signature) => {
                self.signature("g");
                self.signature(signature);
            }
            Value::Number(number) => {
                self.signature("u");
                self.number(*number);
            }
            Value::Raw(signature, bytes) => {
                self.signature(signature);
                self.align(8);
                self.0.extend_from_slice(bytes);
            }
        }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
