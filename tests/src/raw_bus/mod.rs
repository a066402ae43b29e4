//! A bus connection that sends any bytes, even those that a library refuses to send.

mod message;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub use message::{Body, RawMessage, Value, field, flags, kind};

use crate::caller::connect_as;
use crate::error::{Doing, Result};

/// Time limit for an answer of the bus. A flooded bus on a busy machine is slow.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The longest message that the specification allows.
const LONGEST: usize = 128 * 1024 * 1024;

/// A connection to a bus.
#[derive(Debug)]
pub struct RawConnection {
    stream: UnixStream,
    serial: u32,
}

/// A message from the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// One of [`kind`].
    pub kind: u8,
    /// The serial of the call that it answers.
    pub reply_serial: Option<u32>,
    /// The name, if it is an error.
    pub error: Option<String>,
    /// Its body as it came.
    pub body: Vec<u8>,
}

impl RawConnection {
    /// Connects as a user and says hello.
    ///
    /// # Errors
    /// If the bus turns the user away.
    pub fn open(user: u32, socket: &Path) -> Result<Self> {
        let stream = connect_as(user, socket)?;
        Self::greet(stream, user).doing(|| format!("enter the bus as user {user}"))
    }

    fn greet(stream: UnixStream, user: u32) -> io::Result<Self> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        // The bytes of the uid's digits in hexadecimal: `0` is 30, `9` is 39.
        let identity: String = user.to_string().chars().flat_map(|digit| ['3', digit]).collect();
        (&stream).write_all(format!("\0AUTH EXTERNAL {identity}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            (&stream).read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::other(String::from_utf8_lossy(&line).into_owned()));
        }
        (&stream).write_all(b"BEGIN\r\n")?;
        let mut connection = Self { stream, serial: 0 };
        let answer = connection.call(&bus_call("Hello"))?;
        if answer.kind == kind::RETURN { Ok(connection) } else { Err(io::Error::other(format!("{answer:?}"))) }
    }

    /// The socket, to be written to and read from directly.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// A serial that this connection has not used.
    pub fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Sends a message and returns its serial.
    ///
    /// # Errors
    /// If the bus has closed the connection.
    pub fn send(&mut self, message: &RawMessage) -> io::Result<u32> {
        let serial = self.next_serial();
        self.stream.write_all(&message.encode(serial))?;
        Ok(serial)
    }

    /// Sends a call and waits for its answer. Other messages that arrive meanwhile are dropped.
    ///
    /// # Errors
    /// If the bus closes the connection, or nothing comes for five minutes.
    pub fn call(&mut self, message: &RawMessage) -> io::Result<Received> {
        let serial = self.send(message)?;
        loop {
            let received = self.receive()?;
            if received.reply_serial == Some(serial) {
                return Ok(received);
            }
        }
    }

    /// Waits until the bus has taken all that was sent before.
    ///
    /// # Errors
    /// If the bus has closed the connection, because of what was sent.
    pub fn settle(&mut self) -> io::Result<()> {
        self.call(&bus_call("GetId")).map(drop)
    }

    /// The next message.
    ///
    /// # Errors
    /// If the bus closes the connection, or nothing comes for five minutes.
    pub fn receive(&mut self) -> io::Result<Received> {
        let mut bytes = vec![0; FIXED];
        self.stream.read_exact(&mut bytes)?;
        let length = length(&bytes).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("no message of this machine: {bytes:?}"))
        })?;
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes[FIXED..])?;
        Ok(Received::of(&bytes))
    }
}

impl Received {
    /// Takes the first message from the received bytes, if it is complete.
    pub fn take(heard: &mut Vec<u8>) -> Option<Self> {
        let length = length(heard).filter(|length| *length <= heard.len())?;
        let received = Self::of(&heard[..length]);
        heard.drain(..length);
        Some(received)
    }

    /// Reads a whole message.
    fn of(message: &[u8]) -> Self {
        let fields_end = FIXED + number(message, FIELDS_LENGTH);
        let body = message[fields_end.next_multiple_of(8)..].to_vec();
        let mut received = Self { kind: message[1], reply_serial: None, error: None, body };
        let mut fields = Fields { bytes: &message[FIXED..fields_end], at: 0 };
        while let Some((code, value)) = fields.next_field() {
            match (code, value) {
                (field::REPLY_SERIAL, Value::Number(serial)) => received.reply_serial = Some(serial),
                (field::ERROR_NAME, Value::Text(name)) => received.error = Some(name),
                _ => {}
            }
        }
        received
    }
}

/// Bytes of the fixed part of a header, and where in it the lengths of the body and of the fields
/// are.
const FIXED: usize = 16;
const BODY_LENGTH: usize = 4;
const FIELDS_LENGTH: usize = 12;

/// The length of the little-endian message that these bytes begin with. `None` if they are no such
/// message, or too few to tell.
fn length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < FIXED {
        return None;
    }
    let (body, fields) = (number(bytes, BODY_LENGTH), number(bytes, FIELDS_LENGTH));
    let is_message = bytes[0] == b'l' && body <= LONGEST && fields <= LONGEST;
    is_message.then(|| FIXED + fields.next_multiple_of(8) + body)
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A call of the bus itself.
#[must_use]
pub fn bus_call(member: &str) -> RawMessage {
    RawMessage::call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member)
}

/// The header fields of a message from the bus. Reading stops at the first value of a type other
/// than `s`, `o`, `g` and `u`.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn next_field(&mut self) -> Option<(u8, Value)> {
        self.at = self.at.next_multiple_of(8);
        let code = self.byte()?;
        let value = match self.signature()?.as_str() {
            "s" => Value::Text(self.text()?),
            "o" => Value::Path(self.text()?),
            "g" => Value::Signature(self.signature()?),
            "u" => Value::Number(self.number()?),
            _ => return None,
        };
        Some((code, value))
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at + count)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.at = self.at.next_multiple_of(4);
        self.take(4)?.try_into().map(u32::from_le_bytes).ok()
    }

    /// A text and the zero byte behind it.
    fn terminated(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte().map(|_| text)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }
}
