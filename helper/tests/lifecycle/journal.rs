//! The bytes that reach journald, which stores them unchanged. The test binds its own socket in
//! place of journald's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use airpods_lab::Sandbox;

use crate::machine::Machine;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Sets what systemd sets for a service with stderr connected to the journal.
const CONNECTED: &str = "export JOURNAL_STREAM=$(stat --dereference --format %d:%i /proc/$$/fd/2)";

/// One entry: its fields by name.
type Entry = Vec<(String, Vec<u8>)>;

/// Starts receiving entries.
fn journal(sandbox: &Sandbox) -> mpsc::Receiver<Entry> {
    let path = sandbox.path(SOCKET);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let (entries, received) = mpsc::channel();
    thread::spawn(move || {
        let mut datagram = vec![0; 64 * 1024];
        while let Ok(length) = socket.recv(&mut datagram) {
            // The send fails once the test is over.
            drop(entries.send(entry(&datagram[..length])));
        }
    });
    received
}

/// Parses journald's native protocol: `NAME=value`, or the name alone, then the length of the value
/// in 8 bytes and the value.
fn entry(mut datagram: &[u8]) -> Entry {
    let mut fields = Vec::new();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&datagram[..end], &datagram[end + 1..]);
        let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            fields.push((name(&line[..equals]), line[equals + 1..].to_vec()));
            datagram = rest;
        } else {
            let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
            fields.push((name(line), rest[8..8 + length].to_vec()));
            datagram = &rest[8 + length + 1..];
        }
    }
    fields
}

fn text(entry: &Entry, name: &str) -> String {
    let found = entry.iter().find(|(field, _)| field == name);
    found.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn no_field_of_an_entry_in_the_journal_has_a_byte_that_is_not_printable() {
    let mut machine = Machine::new();
    let journal = journal(&machine.sandbox);
    machine.unit.spawn_with(&machine.sandbox, CONNECTED);
    machine.unit.ready();
    let client = machine.client();
    for hostile in ["\u{1b}]0;x\u{7}", "a\nMESSAGE=forged", "\u{202e}gpj"] {
        client.on_link(hostile).unwrap_err();
    }
    client.on_link("wg0").unwrap();
    // The receiving thread may lag behind the replies.
    let mut entries: Vec<Entry> = Vec::new();
    while entries.last().is_none_or(|entry| text(entry, "LINK") != "wg0") {
        entries.push(journal.recv_timeout(Duration::from_secs(10)).unwrap());
    }
    let calls: Vec<&Entry> = entries.iter().filter(|entry| text(entry, "EVENT") == "clamp-on").collect();
    let links: Vec<String> = calls.iter().map(|entry| text(entry, "LINK")).collect();
    assert_eq!(links, ["\\u{1b}]0;x\\u{7}", "a\\nMESSAGE=forged", "\\u{202e}gpj", "wg0"]);
    for (name, value) in entries.iter().flatten() {
        let is_printable = value.iter().all(|byte| (0x20..0x7f).contains(byte));
        assert!(is_printable, "{name}={}", value.escape_ascii());
    }
    assert_eq!((text(calls[3], "MTU"), text(calls[3], "PERSIST")), ("route".to_owned(), "no".to_owned()));
    assert_eq!(text(calls[3], "RESULT"), "changed");
}
