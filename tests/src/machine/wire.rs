//! The protocol of a port between a machine and the laboratory: one request, then frames both ways
//! until the command ends.
//!
//! A port carries one command at a time. The request is a line of JSON. The answer begins with a
//! line that repeats the request's word, so that nothing left over from an earlier command is taken
//! for it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde_json::{Value, json};

/// The name of a machine's port in `/dev/virtio-ports`, without its number.
pub const PORT: &str = "lab.";

/// The number of commands that can run in a machine at once.
pub const PORTS: usize = 16;

/// A command to run in the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The word that begins the answer; no earlier request has used it.
    pub word: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// The user who runs it; root when `None`.
    pub user: Option<String>,
}

impl Request {
    /// The line that asks for it.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { word, words, environment, user } = self;
        format!("{}\n", json!({ "word": word, "words": words, "environment": environment, "user": user }))
    }

    /// Reads such a line. `None` for anything else, such as the rest of an earlier caller's data.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line.trim()).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            word: text(&value["word"])?,
            words: value["words"].as_array()?.iter().map(text).collect::<Option<_>>()?,
            environment: value["environment"]
                .as_object()?
                .iter()
                .map(|(name, value)| Some((name.clone(), text(value)?)))
                .collect::<Option<_>>()?,
            user: text(&value["user"]),
        })
    }
}

/// One message of a command's session, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// For the command's standard input; empty at its end.
    Input(Vec<u8>),
    /// A signal for the command, by number.
    Signal(i32),
    /// From its standard output.
    Output(Vec<u8>),
    /// From its standard error.
    Error(Vec<u8>),
    /// How it ended: its code, 128 + the number of the signal that ended it.
    Exit(i32),
}

/// Upper bound on the payload of a frame, in bytes. A larger length is refused.
const LARGEST: usize = 1 << 16;

impl Frame {
    /// Its bytes: a letter, the length of the rest in four bytes (little endian), the rest.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let number = |number: &i32| number.to_le_bytes().to_vec();
        let (letter, rest) = match self {
            Self::Input(data) => (b'i', data.clone()),
            Self::Signal(signal) => (b's', number(signal)),
            Self::Output(data) => (b'o', data.clone()),
            Self::Error(data) => (b'e', data.clone()),
            Self::Exit(code) => (b'x', number(code)),
        };
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        [&[letter][..], &length.to_le_bytes(), &rest].concat()
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the connection ends, or the bytes are no frame.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        let [letter, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "this is no frame");
        if length > LARGEST {
            return Err(strange());
        }
        let mut rest = vec![0; length];
        from.read_exact(&mut rest)?;
        let number = |rest: &[u8]| rest.try_into().map(i32::from_le_bytes).map_err(|_| strange());
        match letter {
            b'i' => Ok(Self::Input(rest)),
            b's' => number(&rest).map(Self::Signal),
            b'o' => Ok(Self::Output(rest)),
            b'e' => Ok(Self::Error(rest)),
            b'x' => number(&rest).map(Self::Exit),
            _ => Err(strange()),
        }
    }
}

/// Copies a stream into frames until its end.
///
/// # Errors
/// When either side fails.
pub fn copy(
    mut from: impl Read,
    as_frame: impl Fn(Vec<u8>) -> Frame,
    to: impl Fn(&Frame) -> io::Result<()>,
) -> io::Result<()> {
    let mut part = vec![0; LARGEST];
    loop {
        match from.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(count) => to(&as_frame(part[..count].to_vec()))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a frame at once.
///
/// # Errors
/// When the other side is gone.
pub fn send(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    to.write_all(&frame.bytes())?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_asked() {
        let request = Request {
            word: "7".into(),
            words: vec!["echo".into(), "two words\n".into()],
            environment: BTreeMap::from([("A".into(), "b c".into())]),
            user: Some("alice".into()),
        };
        assert_eq!(Request::parse(&request.line()), Some(request.clone()));
        assert_eq!(request.line().matches('\n').count(), 1);
        assert_eq!(Request::parse("o\u{1}\u{0}rest of something"), None);
    }

    #[test]
    fn only_well_formed_frames_are_read() {
        let frames = [
            Frame::Input(Vec::new()),
            Frame::Output(b"x\n".to_vec()),
            Frame::Error(vec![0; LARGEST]),
            Frame::Signal(15),
            Frame::Exit(-1),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let mut stream = bytes.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut stream).ok().as_ref(), Some(frame));
        }
        assert!(Frame::read(&mut stream).is_err());
        for strange in [&b"q\0\0\0\0"[..], b"x\x01\0\0\0a", b"o\xff\xff\xff\xff", b"o\x02\0\0\0a"] {
            assert!(Frame::read(&mut &*strange).is_err(), "{strange:?}");
        }
    }
}
