//! Names: of services, of what podman keeps, and on a network.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text has no characters.
    #[error("a name cannot be empty")]
    Empty,
    /// podman's own rule, `define.NameRegex` in `libpod/define/config.go`.
    #[error("a name begins with a letter or a digit and has only letters, digits, `_`, `.` and `-`")]
    Podman,
    /// RFC 1035, section 2.3.4: 63 bytes for one label, 253 for the whole.
    #[error("a name on a network has labels of 1 to 63 letters, digits, `-` and `_`, separated by `.`")]
    Dns,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name! {
    /// The key of a service in the configuration, such as `open-webui`.
    ServiceName, podman_name
}

name! {
    /// The name of a container, a pod, a network or a volume in podman.
    ObjectName, podman_name
}

name! {
    /// A name by which the other services of the network find a service.
    NetworkAlias, dns_name
}

impl ServiceName {
    /// The container of a service that names none: `NAME-0`, which users of the earlier tool know.
    #[must_use]
    pub fn default_container(&self) -> ObjectName {
        ObjectName(format!("{}-0", self.0))
    }
}

fn podman_name(text: &str) -> Result<(), InvalidName> {
    let mut bytes = text.bytes();
    let first = bytes.next().ok_or(InvalidName::Empty)?;
    let rest_fits = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first.is_ascii_alphanumeric() && rest_fits { Ok(()) } else { Err(InvalidName::Podman) }
}

fn dns_name(text: &str) -> Result<(), InvalidName> {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match text {
        "" => Err(InvalidName::Empty),
        _ if text.len() <= 253 && text.split('.').all(label_fits) => Ok(()),
        _ => Err(InvalidName::Dns),
    }
}
