//! The rights of a process, as the kernel reports them.

use super::PrivilegeError;

/// The bit of `CAP_NET_ADMIN` (12 in `linux/capability.h`).
pub const NET_ADMIN: u64 = 1 << 12;

/// What a process may do: the lines of `/proc/PID/status` that say so, see `proc_pid_status(5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Real, effective, saved and file system user.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities kept when a program is executed, as bits.
    pub inheritable: u64,
    /// Capabilities that may be made effective, as bits.
    pub permitted: u64,
    /// Capabilities in force, as bits.
    pub effective: u64,
    /// Capabilities that a program executed could gain at most, as bits.
    pub bounding: u64,
    /// Capabilities that a program executed gains without being privileged, as bits.
    pub ambient: u64,
    /// Whether no program executed can gain anything.
    pub no_new_privs: bool,
    /// How many threads there are; rights belong to each of them.
    pub threads: u32,
}

impl Rights {
    /// The rights of this thread.
    ///
    /// # Errors
    /// [`PrivilegeError::Unreadable`].
    pub fn observe() -> Result<Self, PrivilegeError> {
        let status = std::fs::read_to_string("/proc/thread-self/status")
            .map_err(|error| PrivilegeError::Unreadable(error.to_string()))?;
        Self::parse(&status).ok_or_else(|| PrivilegeError::Unreadable("a line is missing or malformed".to_owned()))
    }

    /// Reads the text of `/proc/PID/status`; `None` if a line is missing or is not what it should be.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        let line =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let numbers = |name: &str| -> Option<Vec<u32>> {
            line(name)?.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
        };
        let set = |name: &str| u64::from_str_radix(line(name)?, 16).ok();
        Some(Self {
            uids: numbers("Uid")?.try_into().ok()?,
            gids: numbers("Gid")?.try_into().ok()?,
            groups: numbers("Groups")?,
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            ambient: set("CapAmb")?,
            no_new_privs: line("NoNewPrivs")? == "1",
            threads: line("Threads")?.parse().ok()?,
        })
    }
}
