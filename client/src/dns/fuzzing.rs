//! What holds for any bytes that tell of name servers. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]

use std::net::IpAddr;

use super::servers;

/// The servers of a resolv.conf(5) are in it, in their order, and nothing between them matters; an address of systemd-resolved's is
/// one exactly if it has four bytes or sixteen.
pub fn name_servers(bytes: &[u8]) {
    let octets = servers::address(bytes).map(|address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    });
    assert_eq!(octets.as_deref(), matches!(bytes.len(), 4 | 16).then_some(bytes));

    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let servers = servers::parse_resolv_conf(text);
    let rest = servers.iter().try_fold(text, |rest, server| {
        let mut words = rest.split_whitespace();
        let word = words.find(|word| word.parse() == Ok(*server))?;
        Some(&rest[word.as_ptr().addr() - rest.as_ptr().addr() + word.len()..])
    });
    assert!(rest.is_some(), "{servers:?}");
    let plain: Vec<String> = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    assert_eq!(servers::parse_resolv_conf(&plain.concat()), servers);
}
