//! The ways to the rule that are compared.

use std::fs;

use super::{BenchError, Result};

/// One way to switch a clamp on and off.
#[derive(Debug)]
pub(super) struct Contender {
    /// The names of its commands in the table: on, off.
    pub(super) names: [&'static str; 2],
    /// The user who runs it.
    pub(super) user: &'static str,
    /// The commands: on, off.
    pub(super) commands: [&'static [&'static str]; 2],
    /// A shell line that succeeds while the rule is in the kernel.
    pub(super) proof: &'static str,
}

/// The cost of starting any process, which is the lower bound. Its user is [`ALICE`].
pub(super) const FLOOR: &[&str] = &["true"];

pub(super) const ALICE: &str = "alice";
const ROOT: &str = "root";

/// The contender whose times all others are divided by.
pub(super) const REFERENCE: &str = CONTENDERS[0].names[0];

/// The contenders, in the order of their turns.
pub(super) const CONTENDERS: [Contender; 5] = [
    Contender {
        names: ["airpods net clamp on wg0", "airpods net clamp off wg0"],
        user: ALICE,
        commands: [&["airpods", "net", "clamp", "on", "wg0"], &["airpods", "net", "clamp", "off", "wg0"]],
        proof: "nft list table inet airpods",
    },
    Contender {
        names: ["busctl call … ClampOn", "busctl call … ClampOff"],
        user: ALICE,
        commands: [
            &["busctl", "call", NAME, PATH, NAME, "ClampOn", "sa{sv}", "wg0", "0"],
            &["busctl", "call", NAME, PATH, NAME, "ClampOff", "s", "wg0"],
        ],
        proof: "nft list table inet airpods",
    },
    Contender {
        names: ["nft -f, the same table", "nft delete table"],
        user: ROOT,
        commands: [&["nft", "-f", TABLE], &["nft", "delete", "table", "inet", "airpods_copy"]],
        proof: "nft list table inet airpods_copy",
    },
    Contender {
        names: ["script with iptables and ip6tables, enable", "the same, disable"],
        user: ROOT,
        commands: [&["sh", SCRIPT, "-A"], &["sh", SCRIPT, "-D"]],
        proof: "ip6tables -t mangle -S OUTPUT | grep -q TCPMSS",
    },
    Contender {
        names: ["firewall-cmd --add-rich-rule, tcp-mss-clamp", "firewall-cmd --remove-rich-rule"],
        user: ROOT,
        commands: [&["firewall-cmd", "-q", ADD_RICH_RULE], &["firewall-cmd", "-q", REMOVE_RICH_RULE]],
        proof: "nft list table inet firewalld | grep -q 'maxseg size set rt mtu'",
    },
];

/// The helper's name on the bus, which is that of its interface too.
pub(super) const NAME: &str = "org.airpods.Helper1";
pub(super) const PATH: &str = "/org/airpods/Helper1";
const ADD_RICH_RULE: &str = r#"--add-rich-rule=rule tcp-mss-clamp value="pmtu""#;
const REMOVE_RICH_RULE: &str = r#"--remove-rich-rule=rule tcp-mss-clamp value="pmtu""#;

const TABLE: &str = "/tmp/table.nft";
const SCRIPT: &str = "/tmp/mss-clamping";

/// The script that this project began with: its four rules.
const SCRIPT_TEXT: &str = r#"#!/bin/sh
set -e
for tool in iptables ip6tables; do
    for chain in FORWARD OUTPUT; do
        "$tool" -t mangle "$1" "$chain" -o wg0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
    done
done
"#;

/// Writes the files that the contenders read. `listed` is the helper's own table as nft lists it.
pub(super) fn write_files(listed: &str) -> Result<()> {
    fs::write(SCRIPT, SCRIPT_TEXT)
        .and_then(|()| fs::write(TABLE, copy(listed)))
        .map_err(|source| BenchError::Io { doing: "write the contenders' files", source })
}

/// The same table under another name, which the helper leaves alone.
fn copy(listed: &str) -> String {
    listed.replacen("table inet airpods ", "table inet airpods_copy ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_table_is_not_owned() {
        assert_eq!(
            copy("table inet airpods {\n\tset links {\n\t}\n}"),
            "table inet airpods_copy {\n\tset links {\n\t}\n}"
        );
    }
}
