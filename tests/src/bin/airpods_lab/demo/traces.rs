//! A check that the demo leaves nothing behind on the machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use airpods_lab::{Sandbox, run};

use super::{DemoError, Result, ensure};

/// The machine's firewall tables and links, or a sandbox's namespaces.
#[derive(Debug, Default)]
pub(super) struct Traces {
    tables: BTreeSet<String>,
    links: BTreeSet<String>,
    namespaces: BTreeSet<PathBuf>,
}

/// Tables and links that a sandbox has. A new one on the machine would be the demo's.
const TABLES: [&str; 2] = ["table inet airpods", "table inet lab"];
const LINKS: [&str; 4] = ["wg0", "wire", "peer0", "far"];

impl Traces {
    /// The traces that are on the machine now.
    pub(super) fn on_host() -> Result<Self> {
        let listed = run(Command::new("nft").args(["list", "tables"]))?;
        let tables = String::from_utf8_lossy(&listed.stdout).lines().map(ToOwned::to_owned).collect();
        let links = fs::read_dir("/sys/class/net")
            .map_err(|source| DemoError::Io { doing: "list the links", source })?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        Ok(Self { tables, links, ..Self::default() })
    }

    /// The namespaces that a sandbox's processes live in.
    pub(super) fn of_sandbox(sandbox: &Sandbox) -> Result<Self> {
        let namespaces = ["pid", "net", "mnt"].iter().map(|kind| {
            fs::read_link(format!("/proc/{}/ns/{kind}", sandbox.init()))
                .map_err(|source| DemoError::Io { doing: "look at the sandbox's namespaces", source })
        });
        Ok(Self { namespaces: namespaces.collect::<Result<_>>()?, ..Self::default() })
    }

    /// Fails if a process is still in one of the namespaces. Without any, the kernel has freed
    /// them.
    pub(super) fn ensure_gone(&self) -> Result<()> {
        let processes =
            fs::read_dir("/proc").map_err(|source| DemoError::Io { doing: "list the processes", source })?;
        for process in processes.flatten() {
            let lives_on = ["pid", "net", "mnt"].iter().any(|kind| {
                fs::read_link(process.path().join("ns").join(kind)).is_ok_and(|found| self.namespaces.contains(&found))
            });
            ensure(!lives_on, || format!("process {} should be gone", process.file_name().display()))?;
        }
        Ok(())
    }

    /// Fails if one of [`TABLES`] or [`LINKS`] is new since `before`.
    pub(super) fn ensure_nothing_new_since(&self, before: &Self) -> Result<()> {
        let tables = self.tables.difference(&before.tables).filter(|table| TABLES.contains(&table.as_str()));
        let links = self.links.difference(&before.links).filter(|link| LINKS.contains(&link.as_str()));
        let new: Vec<&String> = tables.chain(links).collect();
        ensure(new.is_empty(), || format!("nothing should be left, but there is {new:?}"))
    }
}
