//! Reads the memory use of a process.

use std::fs;

use super::{BenchError, Result};

/// The memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// The resident pages, in KiB.
    rss: u64,
    /// The same with each shared page divided by the number of its processes, in KiB.
    pss: u64,
}

impl Memory {
    /// A process's memory, from its `smaps_rollup` (proc(5)).
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .map_err(|source| BenchError::Io { doing: "read a process's memory", source })?;
        let field = |name| kibibytes(&rollup, name).ok_or(BenchError::NoNumber("smaps_rollup"));
        Ok(Self { rss: field("Rss:")?, pss: field("Pss:")? })
    }

    /// The largest RSS that a process has had, in words (`VmHWM` of proc(5)).
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn peak_of(pid: u32) -> Result<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|source| BenchError::Io { doing: "read a process's memory", source })?;
        kibibytes(&status, "VmHWM:").map(mebibytes).ok_or(BenchError::NoNumber("VmHWM"))
    }

    /// In words.
    pub(super) fn describe(self) -> String {
        format!("RSS {}, PSS {}", mebibytes(self.rss), mebibytes(self.pss))
    }
}

fn kibibytes(rollup: &str, name: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{}.{} MiB", kibibytes / 1024, kibibytes % 1024 * 10 / 1024)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_rollup_is_read_by_name() {
        let rollup =
            "55d0-7ffe ---p 00000000 00:00 0   [rollup]\nRss:     4196 kB\nPss:     2560 kB\nPss_Dirty:  1 kB\n";
        let read = |name| kibibytes(rollup, name).expect("it is there");
        assert_eq!(Memory { rss: read("Rss:"), pss: read("Pss:") }.describe(), "RSS 4.0 MiB, PSS 2.5 MiB");
        assert_eq!(kibibytes(rollup, "Swap:"), None);
    }
}
