//! The end of the process by a failure: its exit code, the cause, and a hint.

use std::fmt::Display;

use crate::kernel::KernelError;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The system refused something that has no kind of its own.
    Failed,
    /// The arguments are unknown.
    Usage,
    /// The process has rights that the helper must not have.
    TooManyRights,
    /// `CAP_NET_ADMIN` is missing.
    TooFewRights,
    /// `CAP_NET_ADMIN` is there, but does not cover this network namespace.
    ForeignNetwork,
    /// The helper's user does not exist, or another user started the process.
    WrongUser,
    /// There is no system bus, or it does not let the helper in.
    NoBus,
    /// Another helper is running.
    NameTaken,
    /// The bus closed the connection.
    BusLost,
    /// The kernel cannot be watched.
    Kernel,
    /// The bus is another user's, and could pass anybody off as root. A retry would not help.
    ForeignBus,
}

impl Exit {
    /// The exit code, as `--help` documents it, and a hint for the administrator.
    #[must_use]
    pub fn code_and_hint(self) -> (u8, Option<&'static str>) {
        let (code, hint) = match self {
            Self::Failed => return (1, None),
            Self::Usage => (2, "airpods-helper --help"),
            Self::TooManyRights => (10, "the unit needs CapabilityBoundingSet=CAP_NET_ADMIN and NoNewPrivileges=yes"),
            Self::TooFewRights => (11, "the unit, or the container, has to give it CAP_NET_ADMIN"),
            Self::ForeignNetwork => (
                11,
                "CAP_NET_ADMIN is there, but not over this network namespace: a user namespace needs a network namespace of its own",
            ),
            Self::WrongUser => {
                (12, "make the user with `systemd-sysusers`, and let the bus or systemd start the helper")
            }
            Self::NoBus => (13, "is dbus-daemon running, and the bus policy of airpods installed?"),
            Self::NameTaken => (14, "one helper is enough"),
            Self::BusLost => return (15, None),
            Self::Kernel => return (16, None),
            Self::ForeignBus => (17, "unset DBUS_SYSTEM_BUS_ADDRESS, or let it lead to a bus of root"),
        };
        (code, Some(hint))
    }

    /// A failure of this kind.
    #[must_use]
    pub fn because(self, cause: impl Display) -> Failure {
        Failure { exit: self, cause: cause.to_string() }
    }
}

/// Why the helper did not start, or ended with a failure.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// The kind.
    pub exit: Exit,
    /// The cause, as a sentence.
    pub cause: String,
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        let exit = match &error {
            // `privilege::confine` has verified `CAP_NET_ADMIN`, so it does not cover this
            // namespace.
            KernelError::NotPermitted => Exit::ForeignNetwork,
            _ => Exit::Kernel,
        };
        exit.because(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_exit_code_is_documented() {
        let help = include_str!("../help.txt");
        for exit in [
            Exit::Failed,
            Exit::Usage,
            Exit::TooManyRights,
            Exit::TooFewRights,
            Exit::ForeignNetwork,
            Exit::WrongUser,
            Exit::NoBus,
            Exit::NameTaken,
            Exit::BusLost,
            Exit::Kernel,
            Exit::ForeignBus,
        ] {
            let number = format!("{:>4}  ", exit.code_and_hint().0);
            assert!(help.lines().any(|line| line.starts_with(&number)), "{exit:?}");
        }
    }

    #[test]
    fn a_right_that_is_missing_and_one_over_another_network_have_one_exit_code_and_different_hints() {
        let elsewhere = Failure::from(KernelError::NotPermitted).exit.code_and_hint();
        let missing = Exit::TooFewRights.code_and_hint();
        assert_eq!((elsewhere.0, missing.0), (11, 11));
        assert!(missing.1.unwrap().contains("the container, has to give it"));
        assert!(elsewhere.1.unwrap().contains("not over this network namespace"));
        assert_eq!(Failure::from(KernelError::ReadBack).exit, Exit::Kernel);
    }
}
