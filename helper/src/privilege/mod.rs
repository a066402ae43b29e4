//! Giving up root for good, or verifying that the service manager has already done so.
//!
//! The helper runs as its own user with `CAP_NET_ADMIN` in its permitted, effective and bounding sets, with nothing
//! in the inheritable and ambient sets, without supplementary groups and with `no_new_privs`. [`steps`] decides from
//! the [`Rights`] observed how to get there, or that it must not be tried; [`confine`] takes the steps, observes again and
//! believes only what it sees then.

mod rights;

use std::collections::HashSet;

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

pub use rights::{NET_ADMIN, Rights};

/// The helper's user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user's number; never 0.
    pub uid: u32,
    /// The number of the user's own group; never 0.
    pub gid: u32,
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
    /// Clear the inheritable set.
    Inheritable,
    /// Clear the inheritable set if system calls are not filtered. The unit's filter refuses `capset`; with
    /// `no_new_privs` the set gives nothing to a program executed, whatever the program's file says (capabilities(7)).
    InheritableUnlessFiltered,
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
    /// # Errors
    /// [`PrivilegeError::NoUser`], or [`PrivilegeError::UserIsRoot`] if its number or its group's is 0.
    pub fn of(name: &str) -> Result<Self, PrivilegeError> {
        let user = User::from_name(name).ok().flatten().ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))?;
        let ids = Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() };
        if ids.uid == 0 || ids.gid == 0 {
            return Err(PrivilegeError::UserIsRoot(name.to_owned()));
        }
        Ok(ids)
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
    Ok(vec![Step::Ambient, Step::InheritableUnlessFiltered, Step::NoNewPrivileges])
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
        Step::Inheritable => {
            caps::clear(None, CapSet::Inheritable).map_err(|e| refused("clear the inheritable set", &e))
        }
        Step::InheritableUnlessFiltered => {
            // What is left in it is for `verify` to judge.
            let _ = caps::clear(None, CapSet::Inheritable);
            Ok(())
        }
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
