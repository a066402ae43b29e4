//! Drops root irrevocably, or verifies that the service manager has already done so.
//!
//! The helper runs as its own user with `CAP_NET_ADMIN` in its permitted, effective and bounding
//! sets. The inheritable and ambient sets are empty, there are no supplementary groups, and
//! `no_new_privs` is set. [`steps`] decides from the observed [`Rights`] how to get there, or
//! refuses. [`confine`] takes the steps, then observes again and trusts only that.

use std::collections::HashSet;

use caps::errors::CapsError;
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

/// The rights of a thread, as in `/proc/PID/status`, see `proc_pid_status(5)`.
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
    /// Upper bound on the capabilities of an executed program, as bits.
    pub bounding: u64,
    /// Capabilities that an unprivileged executed program keeps, as bits.
    pub ambient: u64,
    /// Whether executed programs can gain no rights (`no_new_privs`).
    pub no_new_privs: bool,
    /// The number of threads in the process. Each thread has its own rights.
    pub threads: u32,
}

impl Rights {
    /// Reads the rights of this thread.
    ///
    /// # Errors
    /// [`PrivilegeError::Unreadable`].
    pub fn observe() -> Result<Self, PrivilegeError> {
        let status = std::fs::read_to_string("/proc/thread-self/status")
            .map_err(|error| PrivilegeError::Unreadable(error.to_string()))?;
        Self::parse(&status).ok_or_else(|| PrivilegeError::Unreadable("a line is missing or malformed".to_owned()))
    }

    /// Parses the text of `/proc/PID/status`; `None` if a line is missing or malformed.
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
    /// The user or its group has the number 0.
    #[error("the user `{0}` has the user or group number 0")]
    UserIsRoot(String),
    /// The process is neither root nor the helper's user.
    #[error("started as user {0}, which is neither root nor the helper's own user")]
    WrongUser(u32),
    /// There are other threads, and they would keep their rights.
    #[error("there are {0} threads already, and each has rights of its own")]
    Threads(u32),
    /// The process has rights that the helper must not have.
    #[error("there are more rights than CAP_NET_ADMIN: {0}")]
    TooMany(&'static str),
    /// `CAP_NET_ADMIN` is missing.
    #[error("there is no CAP_NET_ADMIN in the {0} set")]
    TooFew(&'static str),
    /// The rights cannot be read.
    #[error("cannot read `/proc/thread-self/status`: {0}")]
    Unreadable(String),
    /// The system refused a step.
    #[error("cannot {doing}: {cause}")]
    Refused {
        /// The failed operation.
        doing: &'static str,
        /// The system's error.
        cause: String,
    },
}

/// One step of dropping rights. `doing` describes it in the error if the system refuses it.
#[derive(Clone, Copy)]
pub struct Step {
    doing: &'static str,
    apply: fn(Ids) -> Result<(), String>,
}

/// Executed programs inherit nothing.
const AMBIENT: Step =
    Step { doing: "clear the ambient set", apply: |_| with_error_text(caps::clear(None, CapSet::Ambient)) };

/// Failure is ignored: the unit's system call filter refuses `capset`, and [`verify`] judges what
/// is left in the set. With `no_new_privs` the set gives an executed program nothing, whatever its
/// file's capabilities (capabilities(7)).
const INHERITABLE: Step =
    Step { doing: "clear the inheritable set", apply: |_| caps::clear(None, CapSet::Inheritable).or(Ok(())) };

/// Executed programs can never gain rights.
const NO_NEW_PRIVILEGES: Step =
    Step { doing: "set no_new_privs", apply: |_| with_error_text(prctl::set_no_new_privs()) };

/// The steps from root.
const FROM_ROOT: &[Step] = &[
    // Needs CAP_SETPCAP, so it comes first.
    Step { doing: "drop capabilities from the bounding set", apply: |_| with_error_text(drop_bounding()) },
    // Otherwise the change of the user would clear the permitted set.
    Step { doing: "keep capabilities", apply: |_| with_error_text(caps::securebits::set_keepcaps(true)) },
    Step { doing: "leave the supplementary groups", apply: |_| with_error_text(setgroups(&[])) },
    // Real, effective and saved ids. The group comes first: without root the process could not
    // change it any more.
    Step {
        doing: "become the helper's group",
        apply: |helper| with_error_text(setresgid(helper.group(), helper.group(), helper.group())),
    },
    Step {
        doing: "become the helper's user",
        apply: |helper| with_error_text(setresuid(helper.user(), helper.user(), helper.user())),
    },
    AMBIENT,
    INHERITABLE,
    Step { doing: "set the effective set", apply: |_| with_error_text(caps::set(None, CapSet::Effective, &only())) },
    Step { doing: "set the permitted set", apply: |_| with_error_text(caps::set(None, CapSet::Permitted, &only())) },
    NO_NEW_PRIVILEGES,
];

/// The steps from the service manager's hand-over: `CAP_NET_ADMIN` in the ambient set, and
/// therefore in the inheritable one.
const HANDED_OVER: &[Step] = &[AMBIENT, INHERITABLE, NO_NEW_PRIVILEGES];

impl Ids {
    /// Looks the helper's user up.
    ///
    /// This reads the file itself: the name service switch would load foreign code into a process
    /// that may be root.
    ///
    /// # Errors
    /// [`PrivilegeError::NoUser`], or [`PrivilegeError::UserIsRoot`] if its number or its group's
    /// is 0.
    pub fn of(name: &str) -> Result<Self, PrivilegeError> {
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        match Self::in_passwd(&String::from_utf8_lossy(&passwd), name) {
            None => Err(PrivilegeError::NoUser(name.to_owned())),
            Some(Self { uid: 0, .. } | Self { gid: 0, .. }) => Err(PrivilegeError::UserIsRoot(name.to_owned())),
            Some(ids) => Ok(ids),
        }
    }

    fn user(self) -> Uid {
        Uid::from_raw(self.uid)
    }

    fn group(self) -> Gid {
        Gid::from_raw(self.gid)
    }

    /// Finds the user in the text of `/etc/passwd`, see passwd(5).
    pub(crate) fn in_passwd(passwd: &str, name: &str) -> Option<Self> {
        let mut entries = passwd.lines().map(|line| line.split(':'));
        let mut entry = entries.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        Some(Self { uid: entry.nth(1)?.parse().ok()?, gid: entry.next()?.parse().ok()? })
    }
}

/// The steps from `rights` to the helper's rights.
///
/// # Errors
/// [`PrivilegeError`] if no steps lead there: wrong user, rights that cannot be dropped, other
/// threads, or no `CAP_NET_ADMIN`.
pub fn steps(rights: &Rights, helper: Ids) -> Result<&'static [Step], PrivilegeError> {
    if rights.threads != 1 {
        return Err(PrivilegeError::Threads(rights.threads));
    }
    let [real, effective, ..] = rights.uids;
    if effective == 0 {
        if rights.permitted & NET_ADMIN == 0 {
            return Err(PrivilegeError::TooFew("permitted"));
        }
        return Ok(FROM_ROOT);
    }
    if effective != helper.uid {
        return Err(PrivilegeError::WrongUser(effective));
    }
    if real == 0 {
        return Err(PrivilegeError::TooMany("the real user is root"));
    }
    Ok(HANDED_OVER)
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

/// Takes the steps, and verifies the result.
///
/// # Errors
/// [`PrivilegeError`]; the process must not continue then.
pub fn confine(helper: Ids) -> Result<(), PrivilegeError> {
    for step in steps(&Rights::observe()?, helper)? {
        (step.apply)(helper).map_err(|cause| PrivilegeError::Refused { doing: step.doing, cause })?;
    }
    verify(&Rights::observe()?, helper)
}

fn only() -> HashSet<Capability> {
    HashSet::from([Capability::CAP_NET_ADMIN])
}

fn drop_bounding() -> Result<(), CapsError> {
    let held = caps::read(None, CapSet::Bounding)?;
    held.difference(&only()).try_for_each(|capability| caps::drop(None, CapSet::Bounding, *capability))
}

fn with_error_text(result: Result<(), impl std::error::Error>) -> Result<(), String> {
    result.map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests;
