//! Drops root irrevocably, or verifies that the service manager has already done so.
//!
//! The helper runs as its own user with `CAP_NET_ADMIN` in its permitted, effective and bounding
//! sets. The inheritable and ambient sets are empty, there are no supplementary groups, and
//! `no_new_privs` is set. [`confine`] gets there, or refuses. It then reads the [`Rights`] again,
//! and trusts only that.

use std::collections::HashSet;
use std::fmt::Display;

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::failure::{Exit, Failure};

/// The helper's user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user's number; never 0.
    pub uid: u32,
    /// The number of the user's own group; never 0.
    pub gid: u32,
}

impl Ids {
    /// Looks the helper's user up.
    ///
    /// This reads the file itself: the name service switch would load foreign code into a process
    /// that may be root.
    ///
    /// # Errors
    /// [`Exit::WrongUser`] if there is no such user, or its number or its group's is 0.
    pub fn of(name: &str) -> Result<Self, Failure> {
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        match Self::in_passwd(&String::from_utf8_lossy(&passwd), name) {
            None => Err(Exit::WrongUser.because(format!("there is no user `{name}`"))),
            Some(Self { uid: 0, .. } | Self { gid: 0, .. }) => {
                Err(Exit::WrongUser.because(format!("the user `{name}` has the user or group number 0")))
            }
            Some(ids) => Ok(ids),
        }
    }

    /// Finds the user in the text of `/etc/passwd`, see passwd(5).
    pub(crate) fn in_passwd(passwd: &str, name: &str) -> Option<Self> {
        let mut entries = passwd.lines().map(|line| line.split(':'));
        let mut entry = entries.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        Some(Self { uid: entry.nth(1)?.parse().ok()?, gid: entry.next()?.parse().ok()? })
    }
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
    /// [`Exit::Failed`].
    pub fn observe() -> Result<Self, Failure> {
        const PATH: &str = "/proc/thread-self/status";
        let status = std::fs::read_to_string(PATH)
            .map_err(|error| Exit::Failed.because(format!("cannot read `{PATH}`: {error}")))?;
        Self::parse(&status).ok_or_else(|| Exit::Failed.because(format!("a line of `{PATH}` is missing or malformed")))
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

    /// Whether this process has to give up root; if not, it is the helper's user already.
    ///
    /// # Errors
    /// [`Failure`] if the helper's rights cannot be reached: wrong user, other threads, or no
    /// `CAP_NET_ADMIN`.
    pub fn must_give_up_root(&self, helper: Ids) -> Result<bool, Failure> {
        if self.threads != 1 {
            let cause = format!("there are {} threads already, and each has rights of its own", self.threads);
            return Err(Exit::TooManyRights.because(cause));
        }
        match self.uids[1] {
            0 if self.permitted & NET_ADMIN == 0 => Err(too_few("permitted")),
            0 => Ok(true),
            uid if uid == helper.uid => Ok(false),
            uid => Err(Exit::WrongUser
                .because(format!("started as user {uid}, which is neither root nor the helper's own user"))),
        }
    }

    /// Checks that these are the helper's rights, no more and no less.
    ///
    /// # Errors
    /// [`Exit::TooManyRights`] or [`Exit::TooFewRights`] with the first difference.
    pub fn verify(&self, helper: Ids) -> Result<(), Failure> {
        let more = [
            (self.uids != [helper.uid; 4], "another user's"),
            (self.gids != [helper.gid; 4], "another group's"),
            (self.groups.iter().any(|group| *group != helper.gid), "supplementary groups"),
            (self.bounding & !NET_ADMIN != 0, "the bounding set"),
            (self.permitted & !NET_ADMIN != 0, "the permitted set"),
            (self.effective & !NET_ADMIN != 0, "the effective set"),
            (self.inheritable & !NET_ADMIN != 0, "the inheritable set"),
            (self.ambient != 0, "the ambient set"),
            (!self.no_new_privs, "programs executed may gain some"),
        ];
        if let Some((_, what)) = more.into_iter().find(|(is_so, _)| *is_so) {
            return Err(Exit::TooManyRights.because(format!("there are more rights than CAP_NET_ADMIN: {what}")));
        }
        let sets = [(self.permitted, "permitted"), (self.effective, "effective"), (self.bounding, "bounding")];
        let missing = sets.into_iter().find(|(set, _)| set & NET_ADMIN == 0);
        missing.map_or(Ok(()), |(_, set)| Err(too_few(set)))
    }
}

fn too_few(set: &str) -> Failure {
    Exit::TooFewRights.because(format!("there is no CAP_NET_ADMIN in the {set} set"))
}

/// Reduces the process to the helper's rights, and verifies the result.
///
/// # Errors
/// [`Failure`]; the process must not continue then.
pub fn confine(helper: Ids) -> Result<(), Failure> {
    if Rights::observe()?.must_give_up_root(helper)? {
        give_up_root(helper)?;
    }
    // The service manager hands `CAP_NET_ADMIN` over in the ambient set, and therefore in the
    // inheritable one.
    caps::clear(None, CapSet::Ambient).map_err(refused("clear the ambient set"))?;
    // Failure is ignored: the unit's system call filter refuses `capset`, and [`Rights::verify`]
    // judges what is left in the set. With `no_new_privs` the set gives an executed program
    // nothing, whatever its file's capabilities (capabilities(7)).
    let _ = caps::clear(None, CapSet::Inheritable);
    prctl::set_no_new_privs().map_err(refused("set no_new_privs"))?;
    Rights::observe()?.verify(helper)
}

/// Becomes the helper's user for good, with `CAP_NET_ADMIN` alone.
fn give_up_root(helper: Ids) -> Result<(), Failure> {
    let only = HashSet::from([Capability::CAP_NET_ADMIN]);
    // Needs CAP_SETPCAP, so it comes first.
    caps::read(None, CapSet::Bounding)
        .and_then(|held| held.difference(&only).try_for_each(|other| caps::drop(None, CapSet::Bounding, *other)))
        .map_err(refused("drop capabilities from the bounding set"))?;
    // Otherwise the change of the user would clear the permitted set.
    caps::securebits::set_keepcaps(true).map_err(refused("keep capabilities"))?;
    setgroups(&[]).map_err(refused("leave the supplementary groups"))?;
    // Real, effective and saved ids. The group comes first: without root the process could not
    // change it any more.
    let (user, group) = (Uid::from_raw(helper.uid), Gid::from_raw(helper.gid));
    setresgid(group, group, group).map_err(refused("become the helper's group"))?;
    setresuid(user, user, user).map_err(refused("become the helper's user"))?;
    caps::set(None, CapSet::Effective, &only).map_err(refused("set the effective set"))?;
    caps::set(None, CapSet::Permitted, &only).map_err(refused("set the permitted set"))
}

/// The failure of a step that the system refuses.
fn refused<E: Display>(doing: &str) -> impl Fn(E) -> Failure {
    move |cause| Exit::TooFewRights.because(format!("cannot {doing}: {cause}"))
}

#[cfg(test)]
mod tests;
