//! A caller that writes its messages byte for byte, so that it can send what no library would.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use airpods_dbus::names;

use super::{PATIENCE, PrivateBus};

/// A message as it is to be sent.
#[derive(Clone)]
pub struct Call {
    /// 1 is a call.
    pub kind: u8,
    pub interface: &'static str,
    pub member: &'static str,
    pub signature: Option<String>,
    pub body: Vec<u8>,
    /// A header field of this code, with a string in it.
    pub unknown_field: Option<u8>,
}

impl Call {
    pub fn to(member: &'static str) -> Self {
        let (signature, body, unknown_field) = (None, Vec::new(), None);
        Self { kind: 1, interface: names::INTERFACE, member, signature, body, unknown_field }
    }

    fn bytes(&self, serial: u32, destination: &str) -> Vec<u8> {
        let mut fields = Vec::new();
        let mut field = |code: u8, kind: u8, text: &str| {
            fields.resize(usize::next_multiple_of(fields.len(), 8), 0);
            fields.extend_from_slice(&[code, 1, kind, 0]);
            if kind == b'g' {
                fields.push(u8::try_from(text.len()).unwrap());
            } else {
                fields.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            }
            fields.extend_from_slice(text.as_bytes());
            fields.push(0);
        };
        if let Some(code) = self.unknown_field {
            field(code, b's', "what is this");
        }
        field(1, b'o', if destination == names::BUS_NAME { names::OBJECT_PATH } else { "/org/freedesktop/DBus" });
        field(2, b's', self.interface);
        field(3, b's', self.member);
        field(6, b's', destination);
        if let Some(signature) = &self.signature {
            field(8, b'g', signature);
        }
        let mut bytes = vec![b'l', self.kind, 0, 1];
        for number in [self.body.len(), serial as usize, fields.len()] {
            bytes.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        }
        bytes.extend(fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub error: Option<String>,
}

/// See the module.
pub struct RawClient {
    stream: BufReader<UnixStream>,
    serial: u32,
}

impl RawClient {
    pub fn connect(bus: &PrivateBus) -> Self {
        Self::connect_as(bus, 0)
    }

    pub fn connect_as(bus: &PrivateBus, uid: u32) -> Self {
        let stream = airpods_lab::connect_as(uid, &bus.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        // The digits' ASCII codes in hexadecimal, as EXTERNAL wants them.
        let hex: String = uid.to_string().chars().flat_map(|digit| ['3', digit]).collect();
        stream.get_mut().write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        assert!(answer.starts_with("OK"), "{answer}");
        stream.get_mut().write_all(b"BEGIN\r\n").unwrap();
        let mut client = Self { stream, serial: 0 };
        let hello = Call { interface: "org.freedesktop.DBus", ..Call::to("Hello") };
        client.send_to(&hello, "org.freedesktop.DBus");
        assert_eq!(client.reply().error, None);
        client
    }

    /// Sends, and waits for nothing. The bus may have thrown this caller out.
    pub fn send(&mut self, call: &Call) {
        self.send_to(call, names::BUS_NAME);
    }

    pub fn call(&mut self, call: &Call) -> Reply {
        self.send(call);
        self.reply()
    }

    fn send_to(&mut self, call: &Call, destination: &str) {
        self.serial += 1;
        drop(self.stream.get_mut().write_all(&call.bytes(self.serial, destination)));
    }

    /// The reply to the last call.
    fn reply(&mut self) -> Reply {
        loop {
            let mut fixed = [0; 16];
            self.stream.read_exact(&mut fixed).expect("the bus has thrown the caller out");
            let number = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().unwrap()) as usize;
            let mut rest = vec![0; (16 + number(12)).next_multiple_of(8) - 16 + number(4)];
            self.stream.read_exact(&mut rest).unwrap();
            let text = String::from_utf8_lossy(&rest).into_owned();
            match fixed[1] {
                2 => return Reply { error: None },
                3 => {
                    let begin = text.find("org.").unwrap();
                    let name: String = text[begin..].chars().take_while(|letter| *letter != '\0').collect();
                    return Reply { error: Some(name) };
                }
                _ => {}
            }
        }
    }
}
