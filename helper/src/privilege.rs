//! Giving up root for good, or verifying that the service manager has already done so.
//!
//! The helper runs as its own user with `CAP_NET_ADMIN` in its permitted, effective and bounding sets, with nothing
//! in the inheritable and ambient sets, without supplementary groups and with `no_new_privs`. [`steps`] decides from
//! the [`Rights`] observed how to get there, or that it must not be tried; [`confine`] takes the steps, observes again and
//! believes only what it sees then.

use std::collections::HashSet;

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// The helper's user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user's number; never 0.
    pub uid: u32,
    /// The number of the user's own group; never 0.
    pub gid: u32,
}

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

/// Why the helper does not run.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The user does not exist.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// The user is root by another name.
    #[error("the user `{0}` has the user or group number 0")]
    UserIsRoot(String),
    /// The process is neither root nor the helper's user.
    #[error("started as user {0}, which is neither root nor the helper's own user")]
    WrongUser(u32),
    /// Another thread would keep its rights.
    #[error("there are {0} threads already, and each has rights of its own")]
    Threads(u32),
    /// There are rights that the helper must not have.
    #[error("there are more rights than CAP_NET_ADMIN: {0}")]
    TooMany(&'static str),
    /// `CAP_NET_ADMIN` is missing.
    #[error("there is no CAP_NET_ADMIN in the {0} set")]
    TooFew(&'static str),
    /// The rights cannot be read.
    #[error("cannot read `/proc/self/status`: {0}")]
    Unreadable(String),
    /// The system refused a step.
    #[error("cannot {doing}: {cause}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        cause: String,
    },
}

/// One step on the way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Drop everything but `CAP_NET_ADMIN` from the bounding set; needs `CAP_SETPCAP`, so it comes first.
    Bounding,
    /// Keep the permitted set when the user changes.
    KeepCapabilities,
    /// Leave every supplementary group.
    Groups,
    /// Become the helper's group: real, effective and saved.
    Group,
    /// Become the helper's user: real, effective and saved.
    User,
    /// Clear the ambient set.
    Ambient,
    /// Clear the inheritable set, if system calls are not filtered. The unit's filter refuses `capset`; with `no_new_privs` the
    /// set gives nothing to a program executed, whatever the program's file says (capabilities(7)).
    Inheritable,
    /// Make `CAP_NET_ADMIN` all that is effective.
    Effective,
    /// Make `CAP_NET_ADMIN` all that is permitted.
    Permitted,
    /// Let no program that is ever executed gain rights.
    NoNewPrivileges,
}

impl Ids {
    /// Looks the helper's user up.
    ///
    /// The file is read here, and no name service is asked: that would be code of others in a process that may be root.
    ///
    /// # Errors
    /// [`PrivilegeError::NoUser`], or [`PrivilegeError::UserIsRoot`] if its number or its group's is 0.
    pub fn of(name: &str) -> Result<Self, PrivilegeError> {
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        match Self::in_passwd(&String::from_utf8_lossy(&passwd), name) {
            None => Err(PrivilegeError::NoUser(name.to_owned())),
            Some(Self { uid: 0, .. } | Self { gid: 0, .. }) => Err(PrivilegeError::UserIsRoot(name.to_owned())),
            Some(ids) => Ok(ids),
        }
    }

    /// The user of that name in the text of `/etc/passwd`, see passwd(5).
    pub(crate) fn in_passwd(passwd: &str, name: &str) -> Option<Self> {
        let mut entries = passwd.lines().map(|line| line.split(':'));
        let mut entry = entries.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        Some(Self { uid: entry.nth(1)?.parse().ok()?, gid: entry.next()?.parse().ok()? })
    }
}

/// The steps from `rights` down to what the helper may have.
///
/// # Errors
/// [`PrivilegeError`] if there is no way down: the process is somebody else, is not root and has more than it could
/// lay down, or has too little.
pub fn steps(rights: &Rights, helper: Ids) -> Result<Vec<Step>, PrivilegeError> {
    if rights.threads != 1 {
        return Err(PrivilegeError::Threads(rights.threads));
    }
    let [real, effective, ..] = rights.uids;
    if effective == 0 {
        if rights.permitted & NET_ADMIN == 0 {
            return Err(PrivilegeError::TooFew("permitted"));
        }
        return Ok(vec![
            Step::Bounding,
            Step::KeepCapabilities,
            Step::Groups,
            Step::Group,
            Step::User,
            Step::Ambient,
            Step::Inheritable,
            Step::Effective,
            Step::Permitted,
            Step::NoNewPrivileges,
        ]);
    }
    if effective != helper.uid {
        return Err(PrivilegeError::WrongUser(effective));
    }
    if real == 0 {
        return Err(PrivilegeError::TooMany("the real user is root"));
    }
    // The service manager hands CAP_NET_ADMIN over in the ambient set, and the inheritable one with it.
    Ok(vec![Step::Ambient, Step::Inheritable, Step::NoNewPrivileges])
}

/// Checks that these are the helper's rights, no more and no less.
///
/// # Errors
/// [`PrivilegeError::TooMany`] or [`PrivilegeError::TooFew`] with the first difference.
pub fn verify(rights: &Rights, helper: Ids) -> Result<(), PrivilegeError> {
    let more = [
        (rights.uids != [helper.uid; 4], "another user's"),
        (rights.gids != [helper.gid; 4], "another group's"),
        (rights.groups.iter().any(|group| *group != helper.gid), "supplementary groups"),
        (rights.bounding & !NET_ADMIN != 0, "the bounding set"),
        (rights.permitted & !NET_ADMIN != 0, "the permitted set"),
        (rights.effective & !NET_ADMIN != 0, "the effective set"),
        (rights.inheritable & !NET_ADMIN != 0, "the inheritable set"),
        (rights.ambient != 0, "the ambient set"),
        (!rights.no_new_privs, "programs executed may gain some"),
    ];
    if let Some((_, what)) = more.into_iter().find(|(is_so, _)| *is_so) {
        return Err(PrivilegeError::TooMany(what));
    }
    let sets = [(rights.permitted, "permitted"), (rights.effective, "effective"), (rights.bounding, "bounding")];
    match sets.into_iter().find(|(set, _)| set & NET_ADMIN == 0) {
        Some((_, set)) => Err(PrivilegeError::TooFew(set)),
        None => Ok(()),
    }
}

/// Takes the steps down, and verifies where they have led.
///
/// # Errors
/// [`PrivilegeError`]; the process is then not fit to go on.
pub fn confine(helper: Ids) -> Result<(), PrivilegeError> {
    for step in steps(&Rights::observe()?, helper)? {
        take(step, helper)?;
    }
    verify(&Rights::observe()?, helper)
}

fn take(step: Step, helper: Ids) -> Result<(), PrivilegeError> {
    let (uid, gid) = (Uid::from_raw(helper.uid), Gid::from_raw(helper.gid));
    let only = HashSet::from([Capability::CAP_NET_ADMIN]);
    match step {
        Step::Bounding => drop_bounding(),
        Step::KeepCapabilities => caps::securebits::set_keepcaps(true).map_err(|e| refused("keep capabilities", &e)),
        Step::Groups => setgroups(&[]).map_err(|e| refused("leave the supplementary groups", &e)),
        Step::Group => setresgid(gid, gid, gid).map_err(|e| refused("become the helper's group", &e)),
        Step::User => setresuid(uid, uid, uid).map_err(|e| refused("become the helper's user", &e)),
        Step::Ambient => caps::clear(None, CapSet::Ambient).map_err(|e| refused("clear the ambient set", &e)),
        // What is left in it is for `verify` to judge.
        Step::Inheritable => caps::clear(None, CapSet::Inheritable).or(Ok(())),
        Step::Effective => caps::set(None, CapSet::Effective, &only).map_err(|e| refused("set the effective set", &e)),
        Step::Permitted => caps::set(None, CapSet::Permitted, &only).map_err(|e| refused("set the permitted set", &e)),
        Step::NoNewPrivileges => prctl::set_no_new_privs().map_err(|e| refused("set no_new_privs", &e)),
    }
}

fn drop_bounding() -> Result<(), PrivilegeError> {
    let doing = "drop capabilities from the bounding set";
    let held = caps::read(None, CapSet::Bounding).map_err(|e| refused(doing, &e))?;
    for capability in held.into_iter().filter(|capability| *capability != Capability::CAP_NET_ADMIN) {
        caps::drop(None, CapSet::Bounding, capability).map_err(|e| refused(doing, &e))?;
    }
    Ok(())
}

fn refused(doing: &'static str, cause: &dyn std::error::Error) -> PrivilegeError {
    PrivilegeError::Refused { doing, cause: cause.to_string() }
}

#[cfg(test)]
mod tests;
