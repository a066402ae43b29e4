//! The helper's errors.

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::names::ERROR_PREFIX;

/// The prefix of the errors that the bus itself defines.
const STANDARD_PREFIX: &str = "org.freedesktop.DBus.Error";

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident in $prefix:ident,)*) => {
        /// The kinds of error, one for each error name on the bus.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// All kinds, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The last part of the error's name, such as `NotVpnLink`.
            #[must_use]
            pub fn short_name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }

            fn prefix(self) -> &'static str {
                match self { $(Self::$kind => $prefix,)* }
            }
        }
    };
}

error_kinds! {
    /// The link name breaks a rule of [`crate::LinkName`].
    InvalidLinkName in ERROR_PREFIX,
    /// The link exists and is no VPN, but `any-link` was not given.
    NotVpnLink in ERROR_PREFIX,
    /// An option is unknown, has the wrong type, or is out of range.
    InvalidOption in ERROR_PREFIX,
    /// [`crate::names::MAX_CLAMPS`] clamps are on already.
    TooManyClamps in ERROR_PREFIX,
    /// The kernel refused the change; the rules are as they were.
    ApplyFailed in ERROR_PREFIX,
    /// Another running process owns a table `inet airpods` (owner flag).
    TableConflict in ERROR_PREFIX,
    /// The kernel lacks `nf_tables` or an expression the rules need.
    KernelUnsupported in ERROR_PREFIX,
    /// The helper lacks `CAP_NET_ADMIN` over its network namespace.
    NotPermitted in ERROR_PREFIX,
    /// A netlink exchange with the kernel failed.
    NetlinkFailed in ERROR_PREFIX,
    /// The bus did not identify the caller in time, or another password prompt is open. The caller
    /// can try again.
    Busy in ERROR_PREFIX,
    /// polkit does not answer, or the helper is still starting. Without polkit only root is served.
    AuthUnavailable in ERROR_PREFIX,
    /// The user dismissed the password prompt.
    AuthDismissed in ERROR_PREFIX,
    /// The helper is stopping.
    ShuttingDown in ERROR_PREFIX,
    /// polkit denied the action or failed to judge it, or the caller has left the bus.
    AccessDenied in STANDARD_PREFIX,
    /// The action needs a password. Either the message does not allow a prompt, or no
    /// authentication agent is running.
    InteractiveAuthorizationRequired in STANDARD_PREFIX,
    /// The arguments have the wrong types.
    InvalidArgs in STANDARD_PREFIX,
    /// Too many calls are open (of one person or in all), or the call is too long.
    LimitsExceeded in STANDARD_PREFIX,
}

impl ErrorKind {
    /// The error's whole name on the bus, such as `org.airpods.Helper1.Error.NotVpnLink`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}.{}", self.prefix(), self.short_name())
    }

    /// The kind with this name on the bus, if it is one of the contract's.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// An error of this kind, with a sentence that gives the reason.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Error {
        Error { kind: self, message: message.into() }
    }
}

/// An error reply: its kind, which determines the name on the bus, and a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence for the user.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The contract's error inside an error from the bus; `None` if the contract has no such error.
    #[must_use]
    pub fn from_bus(error: &zbus::Error) -> Option<Self> {
        match error {
            zbus::Error::MethodError(name, message, _) => {
                let kind = ErrorKind::from_name(name.as_str())?;
                Some(kind.because(message.clone().unwrap_or_default()))
            }
            zbus::Error::FDO(inner) => {
                let inner: &dyn zbus::DBusError = inner.as_ref();
                let kind = ErrorKind::from_name(inner.name().as_str())?;
                Some(kind.because(inner.description().unwrap_or_default()))
            }
            _ => None,
        }
    }
}

impl zbus::DBusError for Error {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&(&self.message,))
    }

    fn name(&self) -> ErrorName<'_> {
        // A test parses every name, so the checked constructor could not fail.
        ErrorName::from_string_unchecked(self.kind.name())
    }

    fn description(&self) -> Option<&str> {
        Some(&self.message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_has_a_valid_name_that_leads_back_to_it() {
        for &kind in ErrorKind::ALL {
            let name = kind.name();
            assert!(ErrorName::try_from(name.as_str()).is_ok(), "{name}");
            assert_eq!(ErrorKind::from_name(&name), Some(kind));
        }
        assert_eq!(ErrorKind::from_name("org.airpods.Helper1.Error.Nope"), None);
    }

    #[test]
    fn own_errors_have_our_prefix_and_standard_ones_the_bus_prefix() {
        assert_eq!(ErrorKind::NotVpnLink.name(), "org.airpods.Helper1.Error.NotVpnLink");
        assert_eq!(ErrorKind::AccessDenied.name(), "org.freedesktop.DBus.Error.AccessDenied");
    }
}
