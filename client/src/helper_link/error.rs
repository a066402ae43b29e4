//! Errors between the client and the helper: a sentence, a hint and an exit code for each.

use std::borrow::Cow;
use std::time::Duration;

use airpods_dbus::{Error, ErrorKind};
use zbus::DBusError;

use crate::error::{Exit, Report};
use crate::system_bus::BusError;

/// Why a request to the helper failed.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The system bus is not used.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus knows no service of the helper's name.
    #[error("the helper `airpods-helper` is not installed")]
    NotInstalled,
    /// The bus knows the helper but could not start it; carries the bus's text.
    #[error("the helper `airpods-helper` could not be started: {0}")]
    NotStarted(String),
    /// Another program owns the helper's name; carries its uid. No call is made to it.
    #[error(
        "the name `org.airpods.Helper1` on the bus belongs to a program of uid {0}, and not to the helper's user `airpods-helper`"
    )]
    WrongOwner(u32),
    /// The helper runs but does not answer.
    #[error("the helper does not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The helper, or the bus, went away before the answer.
    #[error("the helper went away before it answered")]
    WentAway,
    /// The helper's own error, with its name as `busctl` shows it.
    #[error("{} ({})", .0.message(), .0.kind().short_name())]
    Refused(Error),
    /// Ctrl-C while waiting for the password.
    #[error("interrupted before the helper answered")]
    Interrupted,
    /// Anything else, such as an answer of the wrong type.
    #[error("the helper's answer is not understood")]
    Strange(#[source] zbus::Error),
}

impl HelperError {
    /// Sorts the error of a call.
    pub(super) fn from_call(error: zbus::Error) -> Self {
        if let Some(refusal) = Error::from_bus(&error) {
            return Self::Refused(refusal);
        }
        match &error {
            zbus::Error::MethodError(name, text, _) => from_name(name.as_str(), text.as_deref()),
            zbus::Error::FDO(standard) => from_name(standard.name().as_str(), standard.description()),
            zbus::Error::InputOutput(_) => Some(Self::WentAway),
            _ => None,
        }
        .unwrap_or(Self::Strange(error))
    }
}

/// The errors by which the bus, or systemd through the bus, reports that the helper is not
/// available.
fn from_name(name: &str, text: Option<&str>) -> Option<HelperError> {
    let text = || text.unwrap_or(name).to_owned();
    let (prefix, last) = name.rsplit_once('.')?;
    Some(match (prefix, last) {
        ("org.freedesktop.DBus.Error", "ServiceUnknown" | "NameHasNoOwner") => HelperError::NotInstalled,
        ("org.freedesktop.DBus.Error", "NoReply" | "Disconnected") => HelperError::WentAway,
        ("org.freedesktop.DBus.Error", "TimedOut" | "Timeout")
        | ("org.freedesktop.DBus.Error.Spawn" | "org.freedesktop.systemd1", _) => HelperError::NotStarted(text()),
        _ => return None,
    })
}

impl Report for HelperError {
    fn exit(&self) -> Exit {
        match self {
            Self::Bus(_)
            | Self::NotInstalled
            | Self::NotStarted(_)
            | Self::WrongOwner(_)
            | Self::Silent(_)
            | Self::WentAway => Exit::HelperAbsent,
            Self::Refused(refusal) => exit_for(refusal.kind()),
            Self::Interrupted => Exit::Interrupted,
            Self::Strange(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Bus(BusError::Unreachable(_) | BusError::Silent(_)) => {
                "the clamp needs the D-Bus system bus; start it (`systemctl start dbus`), or run this on the host \
                 and not in a container"
            }
            Self::Bus(BusError::Foreign(_)) => {
                "unset `DBUS_SYSTEM_BUS_ADDRESS`, which may be another user's after `su` or `sudo -E`"
            }
            Self::NotInstalled => "install the package `airpods-helper`: see `Install` in the README",
            Self::NotStarted(_) | Self::WentAway => {
                "its log has the reason: `journalctl -u airpods-helper`, or without systemd the log of the bus"
            }
            Self::WrongOwner(_) => "no call was made to it; is this the system bus (`DBUS_SYSTEM_BUS_ADDRESS`)?",
            Self::Silent(_) => "see whether it hangs: `systemctl status airpods-helper`",
            Self::Refused(refusal) => hint_for(refusal.kind()),
            Self::Interrupted => "`airpods net clamp status` shows what is in force",
            Self::Strange(_) => "client and helper may have different versions: `airpods version` shows both",
        }))
    }
}

/// The exit code for each of the helper's errors.
fn exit_for(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::InvalidLinkName | ErrorKind::InvalidOption | ErrorKind::InvalidArgs => Exit::Usage,
        ErrorKind::NotVpnLink => Exit::NotVpn,
        ErrorKind::AccessDenied | ErrorKind::InteractiveAuthorizationRequired => Exit::Denied,
        ErrorKind::AuthDismissed => Exit::Dismissed,
        ErrorKind::AuthUnavailable => Exit::AuthUnavailable,
        ErrorKind::TooManyClamps | ErrorKind::Busy | ErrorKind::ShuttingDown | ErrorKind::LimitsExceeded => Exit::Busy,
        ErrorKind::KernelUnsupported | ErrorKind::NotPermitted => Exit::Unsupported,
        ErrorKind::ApplyFailed | ErrorKind::TableConflict | ErrorKind::NetlinkFailed => Exit::Failed,
    }
}

/// The next action for each of the helper's errors.
fn hint_for(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidLinkName => "`ip link` shows the names of the links",
        ErrorKind::InvalidOption | ErrorKind::InvalidArgs => {
            "`airpods net clamp on --help` has the options and their ranges"
        }
        ErrorKind::NotVpnLink => "to clamp it anyway, add `--any-link`",
        ErrorKind::AccessDenied => {
            "ask an administrator, or have one install a polkit rule: docs/dbus-api.md says where one for a group is"
        }
        ErrorKind::InteractiveAuthorizationRequired => {
            "a password is needed, and no prompt is possible: run this in a terminal, without `--no-ask`"
        }
        ErrorKind::AuthDismissed => "nothing was changed; run it again for another prompt",
        ErrorKind::AuthUnavailable => "start polkit (`systemctl start polkit`), or run this as root",
        ErrorKind::TooManyClamps => "`airpods net clamp status` shows them; turn one off first",
        ErrorKind::Busy | ErrorKind::LimitsExceeded => "wait until the open call or prompt has ended",
        ErrorKind::ShuttingDown => "run it again: the bus starts a new helper",
        ErrorKind::KernelUnsupported => {
            "the kernel needs nf_tables with its rt and exthdr expressions; the helper's log names what is missing"
        }
        ErrorKind::NotPermitted => "in a container, run this on its host; the helper's log has more",
        ErrorKind::ApplyFailed | ErrorKind::NetlinkFailed => {
            "nothing was changed; the helper's log has the step: `journalctl -u airpods-helper`"
        }
        ErrorKind::TableConflict => "`nft list table inet airpods` shows it; end the program that made it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_helper_has_a_sentence_a_hint_and_a_code_that_is_not_success() {
        for &kind in ErrorKind::ALL {
            let error = HelperError::Refused(kind.because("no such thing"));
            assert_eq!(error.to_string(), format!("no such thing ({})", kind.short_name()));
            assert!(error.hint().is_some_and(|hint| !hint.ends_with('.')), "{kind:?}");
            assert_ne!(error.exit(), Exit::Done, "{kind:?}");
        }
    }

    #[test]
    fn the_kinds_of_absence_are_distinguished() {
        let name = |name: &str| from_name(name, Some("why")).map(|error| error.to_string());
        let absent = "the helper `airpods-helper` is not installed";
        let failed = "the helper `airpods-helper` could not be started: why";
        assert_eq!(name("org.freedesktop.DBus.Error.ServiceUnknown").as_deref(), Some(absent));
        assert_eq!(name("org.freedesktop.DBus.Error.Spawn.ChildExited").as_deref(), Some(failed));
        assert_eq!(name("org.freedesktop.DBus.Error.Spawn.ExecFailed").as_deref(), Some(failed));
        assert_eq!(name("org.freedesktop.systemd1.NoSuchUnit").as_deref(), Some(failed));
        assert_eq!(name("org.freedesktop.DBus.Error.UnknownMethod"), None);
    }
}
