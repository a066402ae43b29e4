//! What holds for any bytes in the place of a file of the host's that doctor reads. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]

use super::network::listeners;
use super::rootless::{FIRST_ID, free_id, ids};
use crate::gpu;

/// Any text is read for what is in it: no more sockets than lines, only paths that are written there, and numbers that do not
/// overflow.
pub fn host_files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count();
    assert!([0, 22, 8080, u16::MAX].iter().all(|port| listeners(text, *port).len() <= lines));
    for path in gpu::needs(text) {
        assert!(path.is_absolute() && text.contains(path.to_str().unwrap()), "{}", path.display());
    }
    let once = ids(text, "alice", 1000);
    assert!(ids(&format!("{text}\nalice:100000:65536\n"), "alice", 1000) >= once.max(65536));
    assert!(free_id(&[text]) >= FIRST_ID && free_id(&[text, "bob:100000:65536"]) >= FIRST_ID.max(165_536));
}
