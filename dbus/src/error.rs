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
            /// Every kind there is, in the order of the documentation.
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
    /// The link exists and is no VPN, and `any-link` was not given.
    NotVpnLink in ERROR_PREFIX,
    /// An option is unknown, has the wrong type, or is out of range.
    InvalidOption in ERROR_PREFIX,
    /// [`crate::names::MAX_CLAMPS`] clamps are on already.
    TooManyClamps in ERROR_PREFIX,
    /// The kernel refused the change; the rules are as they were.
    ApplyFailed in ERROR_PREFIX,
    /// A table `inet airpods` belongs to another process, which is alive.
    TableConflict in ERROR_PREFIX,
    /// The kernel lacks `nf_tables` or an expression the rules need.
    KernelUnsupported in ERROR_PREFIX,
    /// The helper lacks `CAP_NET_ADMIN` over its network namespace.
    NotPermitted in ERROR_PREFIX,
    /// The conversation with the kernel broke down.
    NetlinkFailed in ERROR_PREFIX,
    /// Another change is still being made.
    Busy in ERROR_PREFIX,
    /// polkit cannot be asked; nobody but root is served then.
    AuthUnavailable in ERROR_PREFIX,
    /// The person at the prompt dismissed it.
    AuthDismissed in ERROR_PREFIX,
    /// The helper is stopping.
    ShuttingDown in ERROR_PREFIX,
    /// polkit says no, or the password was wrong.
    AccessDenied in STANDARD_PREFIX,
    /// polkit would ask for a password, and the message does not allow asking or nobody is there to ask.
    InteractiveAuthorizationRequired in STANDARD_PREFIX,
    /// The arguments have the wrong types.
    InvalidArgs in STANDARD_PREFIX,
    /// One caller has too many calls open.
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

    /// An error of this kind, with a sentence that says why.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Error {
        Error { kind: self, message: message.into() }
    }
}

/// An error reply: its kind, which decides the name on the bus, and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// Which error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The contract's error inside an error from the bus; `None` if it is none of the contract's.
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
        // Every name is made of constants that a test parses, so the checked constructor could not fail.
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
    fn the_bus_tells_ours_from_its_own() {
        assert_eq!(ErrorKind::NotVpnLink.name(), "org.airpods.Helper1.Error.NotVpnLink");
        assert_eq!(ErrorKind::AccessDenied.name(), "org.freedesktop.DBus.Error.AccessDenied");
    }
}
